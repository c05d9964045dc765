//! Where each record of a FASTA text lies, and `.fai` files.

use super::source::{Source, file_error, io_error, read_error};
use crate::alphabet::{CODE_OF_BYTE, INVALID};
use crate::error::Result;
use noodles::fasta::fai;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

/// Longest header line, or stretch of empty lines, between two records of an indexed file.
const MAX_GAP_BYTES: u64 = 1 << 20;

/// A record: its name, length and place in the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// First word of the header line.
    pub name: String,
    /// Number of bases.
    pub length_bp: u64,
    /// Byte of the text where the first base stands.
    pub(super) offset: u64,
    /// Bases of every line but the last.
    pub(super) line_bases: u64,
    /// Bytes of every line but the last, its end included.
    pub(super) line_width: u64,
}

impl Record {
    /// Byte of the text where a base stands.
    pub(super) fn byte_of(&self, position: u64) -> u64 {
        self.offset + position / self.line_bases * self.line_width + position % self.line_bases
    }

    /// Byte after the last base, unless the numbers are absurd.
    fn end(&self) -> Option<u64> {
        let last = self.length_bp.checked_sub(1)?;
        (last / self.line_bases)
            .checked_mul(self.line_width)?
            .checked_add(last % self.line_bases)?
            .checked_add(self.offset)?
            .checked_add(1)
    }
}

/// Fails unless there is a record, every record has a base and no name occurs twice.
pub(super) fn check_records(path: &Path, records: &[Record]) -> Result<()> {
    if records.is_empty() {
        return Err(file_error(path, "the file holds no record"));
    }
    let mut names = HashSet::with_capacity(records.len());
    for Record { name, length_bp, offset, .. } in records {
        let complain =
            |what| Err(file_error(path, format!("record '{name}' (sequence at byte {offset}) {what}")));
        if *length_bp == 0 {
            return complain("has no sequence");
        }
        if !names.insert(name) {
            return complain("has the name of an earlier record");
        }
    }
    Ok(())
}

/// Reads the `.fai` beside `path`, where there is one, and checks it against the text.
pub(super) fn read_fai(path: &Path, source: &Source) -> Result<Option<Vec<Record>>> {
    let fai_path = path.with_added_extension("fai");
    let file = match File::open(&fai_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&fai_path, error)),
    };
    let index = fai::io::Reader::new(BufReader::new(file))
        .read_index()
        .map_err(|error| read_error(&fai_path, "index", error))?;
    let records: Vec<Record> = index
        .as_ref()
        .iter()
        .map(|record| Record {
            name: record.name().to_string(),
            length_bp: record.length(),
            offset: record.position(),
            line_bases: record.line_base_count().get(),
            line_width: record.line_width().get(),
        })
        .collect();
    check_records(&fai_path, &records)?;
    Checker { path, fai_path, source }.check(&records)?;
    Ok(Some(records))
}

struct Checker<'a> {
    path: &'a Path,
    fai_path: PathBuf,
    source: &'a Source,
}

impl Checker<'_> {
    /// Between the records the text must hold exactly their header lines; after the last, nothing.
    fn check(&self, records: &[Record]) -> Result<()> {
        let size = self.source.size();
        let mut previous = None;
        for record in records {
            let Record { offset, line_bases, line_width, .. } = *record;
            let header = match previous {
                None => self.read(record, 0, offset)?,
                Some((previous, end)) => self.read_after(previous, end, record, offset)?,
            };
            if !is_header_of(&header, &record.name) {
                return self
                    .mismatch(record, &format!("its header line does not stand before byte {offset}"));
            }
            let Some(end) = record.end().filter(|&end| end <= size) else {
                return self.mismatch(record, &format!("it ends after the last byte, {size}"));
            };
            if record.length_bp > line_bases {
                let (start, end) = (offset.saturating_add(line_bases), offset.saturating_add(line_width));
                if !matches!(&*self.read(record, start, end)?, b"\n" | b"\r\n") {
                    return self
                        .mismatch(record, &format!("its first line does not end after {line_bases} bases"));
                }
            }
            previous = Some((record, end));
        }
        if let Some((last, end)) = previous
            && !self.read_after(last, end, last, size)?.is_empty()
        {
            return self.mismatch(last, &format!("the text goes on after its end, byte {end}"));
        }
        Ok(())
    }

    /// What stands between the last base of `previous` and byte `until`, without the line ends before it.
    fn read_after(&self, previous: &Record, end: u64, record: &Record, until: u64) -> Result<Vec<u8>> {
        let mut bytes = self.read(record, end - 1, until)?;
        if bytes.first().is_none_or(|&byte| CODE_OF_BYTE[byte as usize] == INVALID) {
            return self.mismatch(previous, &format!("its last base, byte {}, is no letter", end - 1));
        }
        let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
        let line_ends = bytes[1..].iter().take_while(is_line_end).count();
        Ok(bytes.split_off(1 + line_ends))
    }

    fn read(&self, record: &Record, start: u64, end: u64) -> Result<Vec<u8>> {
        match end.checked_sub(start) {
            Some(length) if length <= MAX_GAP_BYTES && end <= self.source.size() => {
                let mut bytes = vec![0; length as usize];
                self.source
                    .read_exact_at(&mut bytes, start)
                    .map_err(|error| read_error(self.path, &format!("at byte {start} of the text"), error))?;
                Ok(bytes)
            }
            _ => self.mismatch(record, &format!("bytes {start} to {end} are not what lies beside it")),
        }
    }

    fn mismatch<T>(&self, record: &Record, reason: &str) -> Result<T> {
        let (path, name) = (self.path.display(), &record.name);
        let message =
            format!("the index does not match {path}: record '{name}': {reason}; make it anew or delete it");
        Err(file_error(&self.fai_path, message))
    }
}

fn is_header_of(line: &[u8], name: &str) -> bool {
    let Some(line) = line.strip_prefix(b">").and_then(|line| line.strip_suffix(b"\n")) else { return false };
    let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    word == name.as_bytes() && !line.contains(&b'\n')
}
