//! Genome files: windows of ids out of a FASTA file that is never loaded.
//!
//! | file | how a window is read |
//! |---|---|
//! | plain text | one positioned read |
//! | bgzip | the blocks that hold it are unpacked, through the block index |
//! | gzip | the file cannot be entered in its middle: [`Genome::open`] unpacks it once into an unlinked temporary file, one byte a base |
//!
//! Indexes beside the file are used: `<file>.fai`, checked against the text when the file is opened, and
//! `<file>.gzi`. Without `.fai` one streaming pass finds the records and checks every byte. A record whose
//! lines differ in length cannot be indexed; such a file is unpacked like a gzip file.
//!
//! A gzip file may be of several members, bgzip's among them, and padded with zeros. What is none of these is
//! told by its first bytes (`foreign`).
//!
//! Memory: the index (about a hundred bytes a record, 16 a bgzip block) and buffers of a few MiB, whatever
//! the genome's size. Temporary files lie where `TMPDIR` says.

#[cfg(feature = "python")]
pub mod binding;
mod fasta;
pub mod foreign;
mod index;
mod source;

pub use index::Record;

use crate::alphabet::{CODE_OF_BYTE, COMPLEMENT, INVALID, INVALID_FLAG, id_of_code, is_repeat};
use crate::error::{Error, Result};
use source::{Format, Source, file_error, gzip_stream, io_error, read_error};
use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

const OP: &str = "Genome.fetch";

/// Bases read at once, so that a whole chromosome needs no second buffer of its size.
const PIECE_BP: u64 = 1 << 20;

/// How a FASTA file is opened.
#[derive(Clone, Copy, Default)]
pub struct Opening<'a> {
    /// Where the bytes lie, if not at the path that messages name and indexes lie beside.
    pub contents: Option<&'a Path>,
    /// Leave out what cannot be read of the file as long as records can: those with a stray byte, without a
    /// name or with that of an earlier one. No `.fai` is used then, as it takes a pass to find them.
    pub skips_faults: bool,
    /// Asked about every MiB whether to stop, with an error of the kind `Interrupted`.
    pub is_interrupted: Option<&'a (dyn Fn() -> bool + Sync)>,
}

/// Fails if the caller says so.
fn interrupted(path: &Path, opening: &Opening) -> Result<()> {
    match opening.is_interrupted {
        Some(is_interrupted) if is_interrupted() => {
            Err(io_error(path, std::io::ErrorKind::Interrupted.into()))
        }
        _ => Ok(()),
    }
}

/// An open FASTA file.
pub struct Genome {
    path: PathBuf,
    source: Source,
    records: Vec<Record>,
    skipped: Vec<(String, String)>,
}

impl Genome {
    /// Opens a FASTA file, plain, bgzip or gzip, and finds or reads its index.
    pub fn open(path: &Path, opening: &Opening) -> Result<Self> {
        let contents = opening.contents.unwrap_or(path);
        // Before opening, because opening a pipe waits for its other end.
        let metadata = std::fs::metadata(contents).map_err(|error| io_error(path, error))?;
        if metadata.is_dir() {
            return Err(file_error(path, "it is a folder: give a FASTA file"));
        }
        if !metadata.is_file() {
            return Err(file_error(path, "not a regular file"));
        }
        if metadata.len() == 0 {
            return Err(file_error(path, "the file is empty"));
        }
        let file = File::open(contents).map_err(|error| io_error(path, error))?;
        let format = Format::detect(&file).map_err(|error| io_error(path, error))?;
        let source = match format {
            Format::Gzip => None,
            Format::Plain => {
                Some(Source::plain(path, file.try_clone().map_err(|error| io_error(path, error))?)?)
            }
            Format::Bgzf => Source::bgzf(path, &file, opening)?,
        };
        let Some(source) = source else { return Self::unpack(path, &mut gzip_stream(&file), opening) };
        let indexed = if opening.skips_faults { None } else { index::read_fai(path, &source, opening)? };
        if let Some(records) = indexed {
            return Ok(Self { path: path.to_owned(), source, records, skipped: Vec::new() });
        }
        let found = fasta::scan(path, &mut source.stream(), opening, &mut |_| Ok(()))?;
        if !found.is_regular {
            return Self::unpack(path, &mut source.stream(), opening);
        }
        Ok(Self { path: path.to_owned(), source, records: found.records, skipped: found.skipped })
    }

    /// Writes the letters alone to a temporary file without a name, which goes when it is closed.
    fn unpack(path: &Path, text: &mut dyn BufRead, opening: &Opening) -> Result<Self> {
        let folder = std::env::temp_dir();
        let file = tempfile::tempfile().map_err(|error| io_error(&folder, error))?;
        let mut writer = BufWriter::with_capacity(1 << 20, &file);
        let mut found = fasta::scan(path, text, opening, &mut |letters| {
            writer.write_all(letters).map_err(|error| io_error(&folder, error))
        })?;
        writer.flush().map_err(|error| io_error(&folder, error))?;
        drop(writer);
        for (record, letters_before) in found.records.iter_mut().zip(found.letters_before) {
            (record.offset, record.line_bases, record.line_width) =
                (letters_before, record.length_bp, record.length_bp);
        }
        let source = Source::plain(path, file)?;
        Ok(Self { path: path.to_owned(), source, records: found.records, skipped: found.skipped })
    }

    /// The records, in the file's order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Name and fault of each record that was left out.
    #[must_use]
    pub fn skipped(&self) -> &[(String, String)] {
        &self.skipped
    }

    /// Fails unless `range` lies in the record `record_index`.
    pub fn check_range(&self, record_index: i64, range: Range<i64>) -> Result<(usize, Range<u64>)> {
        let record = usize::try_from(record_index)
            .ok()
            .filter(|&index| index < self.records.len())
            .ok_or_else(|| {
                let expected = format!("from 0 to {}", self.records.len() - 1);
                Error::value(OP, "record_index", expected, record_index.to_string())
            })?;
        let Record { name, length_bp, .. } = &self.records[record];
        match (u64::try_from(range.start), u64::try_from(range.end)) {
            (Ok(start), Ok(end)) if start <= end && end <= *length_bp => Ok((record, start..end)),
            _ => Err(Error::value(
                OP,
                "start_bp, end_bp",
                format!("0 <= start_bp <= end_bp <= {length_bp} in record '{name}'"),
                format!("{}, {}", range.start, range.end),
            )),
        }
    }

    /// Writes ids and repeat flags of a range that [`Self::check_range`] has passed, on either strand.
    pub fn fetch(
        &self,
        record: usize,
        range: Range<u64>,
        reverse_complement: bool,
        ids: &mut [u8],
        repeats: &mut [bool],
    ) -> Result<()> {
        let record = &self.records[record];
        let mut raw = Vec::new();
        let mut start = range.start;
        while start < range.end {
            let end = range.end.min(start + PIECE_BP);
            let written = (start - range.start) as usize..(end - range.start) as usize;
            self.read_piece(record, start..end, &mut raw, &mut ids[written.clone()], &mut repeats[written])?;
            start = end;
        }
        if reverse_complement {
            ids.reverse();
            repeats.reverse();
            for id in ids {
                *id = COMPLEMENT[*id as usize];
            }
        }
        Ok(())
    }

    fn read_piece(
        &self,
        record: &Record,
        range: Range<u64>,
        raw: &mut Vec<u8>,
        ids: &mut [u8],
        repeats: &mut [bool],
    ) -> Result<()> {
        let first_byte = record.byte_of(range.start);
        raw.resize((record.byte_of(range.end - 1) + 1 - first_byte) as usize, 0);
        self.source.read_exact_at(raw, first_byte).map_err(|error| {
            read_error(&self.path, &format!("record '{}', byte {first_byte} of the text", record.name), error)
        })?;
        let (mut position, mut byte) = (range.start, 0);
        while position < range.end {
            let count = (record.line_bases - position % record.line_bases).min(range.end - position) as usize;
            let written = (position - range.start) as usize..(position - range.start) as usize + count;
            let letters = &raw[byte..byte + count];
            let mut union = 0;
            for ((&letter, id), repeat) in
                letters.iter().zip(&mut ids[written.clone()]).zip(&mut repeats[written])
            {
                let code = CODE_OF_BYTE[letter as usize];
                union |= code;
                (*id, *repeat) = (id_of_code(code), is_repeat(code));
            }
            let line_end = record.line_width.saturating_sub(record.line_bases) as usize;
            position += count as u64;
            byte += count;
            let is_line_over = position == range.end || index::is_line_end(&raw[byte..byte + line_end]);
            if union & INVALID_FLAG != 0 || !is_line_over {
                return Err(self.stray_byte(record, range, raw));
            }
            byte += line_end;
        }
        Ok(())
    }

    fn stray_byte(&self, record: &Record, mut range: Range<u64>, raw: &[u8]) -> Error {
        let first_byte = record.byte_of(range.start);
        let stray = range.find_map(|position| {
            let offset = record.byte_of(position);
            let byte = raw[(offset - first_byte) as usize];
            (CODE_OF_BYTE[byte as usize] == INVALID).then_some((position, offset, byte))
        });
        let Record { name, line_bases, .. } = record;
        match stray {
            Some((position, offset, byte)) => {
                let fault = fasta::stray_byte(position, offset, byte);
                file_error(&self.path, format!("record '{name}', {fault}"))
            }
            None => file_error(
                &self.path,
                format!(
                    "record '{name}', after byte {first_byte} of the text: a line has not {line_bases} bases, as the index says"
                ),
            ),
        }
    }
}
