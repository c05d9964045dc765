//! What a file is that is none of those read here, by its first bytes, and what to do with it.

/// Bytes of a file's start that [`foreign_file`] and [`foreign_text`] look at.
pub const START_BYTES: usize = 512;

const TAR_MAGIC_AT: usize = 257;

/// `(first bytes, what begins so, what to do)`: files that are no text, or none that anyone would mean.
const FILES: &[(&[u8], &str, &str)] = &[
    (b"\x1f\x8b", "gzip, and packed twice", "gunzip it once"),
    (b"BZh", "bzip2", "bunzip2 it"),
    (b"\xfd7zXZ\0", "xz", "unxz it"),
    (b"\x28\xb5\x2f\xfd", "Zstandard", "unzstd it"),
    (b"\x04\x22\x4d\x18", "LZ4", "unlz4 it"),
    (b"\x1f\x9d", "compress (.Z)", "gunzip it"),
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "unzip it, or save its sheet as CSV"),
    (b"PK\x05\x06", "an empty zip archive", "fetch it anew"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it with 7z x"),
    (b"Rar!", "a RAR archive", "unpack it with unrar x"),
    (b"\x43\x27\x41\x1a", "UCSC 2bit", "make FASTA of it with twoBitToFa"),
    (b"\x1a\x41\x27\x43", "UCSC 2bit", "make FASTA of it with twoBitToFa"),
    (b"BAM\x01", "BAM", "make FASTA of it with samtools fasta"),
    (b"CRAM", "CRAM", "make FASTA of it with samtools fasta"),
    (b"BCF", "BCF", "make VCF of it with bcftools view"),
    (b"PAR1", "Parquet", "name it .parquet where a table is read"),
    (b"\x89HDF", "HDF5", "export its table as CSV"),
    (b"%PDF", "a PDF document", "find the file that its page links to"),
    (b"<!doctype html", "a web page (HTML)", "fetch the file itself, not the page that shows it"),
    (b"<html", "a web page (HTML)", "fetch the file itself, not the page that shows it"),
    (b"<?xml", "XML", "look whether it is an error message of the server that it was fetched from"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the file itself with git lfs pull"),
    (b"\xff\xfe", "UTF-16 text", "make UTF-8 of it with iconv -f UTF-16 -t UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "make UTF-8 of it with iconv -f UTF-16 -t UTF-8"),
];

/// The same of texts that are not FASTA.
const TEXTS: &[(&[u8], &str, &str)] = &[
    (b"@HD\t", "SAM", "make FASTA of it with samtools fasta"),
    (b"@SQ\t", "SAM", "make FASTA of it with samtools fasta"),
    (b"@", "FASTQ", "make FASTA of it with samtools import and samtools fasta, or seqtk seq -A"),
    (b"LOCUS ", "GenBank", "fetch the record as FASTA"),
    (b"ID   ", "EMBL", "fetch the record as FASTA"),
    (b"##gff", "GFF", "give the genome's FASTA file"),
    (b"##fileformat=vcf", "VCF", "give the genome's FASTA file"),
];

/// What a file or an unpacked text is, and what to do, where its start says that it cannot be read.
#[must_use]
pub fn foreign_file(start: &[u8]) -> Option<String> {
    let is_tar = start.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar"));
    if is_tar {
        return Some(told("a tar archive", "unpack it with tar xf"));
    }
    find(FILES, start)
}

/// The same for a text that should be FASTA.
#[must_use]
pub fn foreign_text(start: &[u8]) -> Option<String> {
    foreign_file(start).or_else(|| find(TEXTS, start))
}

fn find(known: &[(&[u8], &str, &str)], start: &[u8]) -> Option<String> {
    let begins = |magic: &[u8]| start.get(..magic.len()).is_some_and(|head| head.eq_ignore_ascii_case(magic));
    known.iter().find(|(magic, ..)| begins(magic)).map(|(_, what, advice)| told(what, advice))
}

fn told(what: &str, advice: &str) -> String {
    format!("it is {what}, which is not read: {advice}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_files_are() {
        assert_eq!(foreign_file(b"BZh91AY"), Some("it is bzip2, which is not read: bunzip2 it".to_owned()));
        assert!(foreign_file(b"<!DOCTYPE HTML>").is_some_and(|told| told.contains("a web page")));
        let mut tar = b"hg38/chr1.fa".to_vec();
        tar.resize(TAR_MAGIC_AT, 0);
        tar.extend(b"ustar\0");
        assert!(foreign_file(&tar).is_some_and(|told| told.contains("tar xf")));
        for start in [&b""[..], b">chr1\nACGT", b"B", b"sequence,label\nACGT,1"] {
            assert_eq!(foreign_text(start), None);
        }
    }

    #[test]
    fn what_texts_are() {
        assert!(foreign_text(b"@read1\nACGT\n+\nIIII").is_some_and(|told| told.contains("FASTQ")));
        assert!(foreign_text(b"@HD\tVN:1.6").is_some_and(|told| told.contains("SAM,")));
        assert_eq!(foreign_file(b"@read1\nACGT\n+\nIIII"), None);
    }
}
