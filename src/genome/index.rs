//! Where each record of a FASTA text lies, and `.fai` files.

use super::fasta::BYTE_ORDER_MARK;
use super::source::{Source, file_error, io_error, read_error};
use super::{Opening, interrupted};
use crate::alphabet::{CODE_OF_BYTE, INVALID};
use crate::error::Result;
use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

/// Longest header line, or stretch of empty lines, between two records of an indexed file.
const MAX_GAP_BYTES: u64 = 1 << 20;

/// Records that are checked between two looks at whether that is to stop.
const INTERRUPT_RECORDS: usize = 1 << 10;

/// A record: its name, length and place in the text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// First word of the header line.
    pub name: String,
    /// Number of bases.
    pub length_bp: u64,
    /// Byte of the text where the first base stands.
    pub(super) offset: u64,
    /// Bases of every line but the last; 0 where there is no base.
    pub(super) line_bases: u64,
    /// Bytes of every line but the last, its end included.
    pub(super) line_width: u64,
}

impl Record {
    /// Byte of the text where a base of a record that has some stands.
    pub(super) fn byte_of(&self, position: u64) -> u64 {
        self.offset + position / self.line_bases * self.line_width + position % self.line_bases
    }

    /// Byte after the last base, unless the numbers are absurd.
    fn end(&self) -> Option<u64> {
        let Some(last) = self.length_bp.checked_sub(1) else { return Some(self.offset) };
        (last / self.line_bases)
            .checked_mul(self.line_width)?
            .checked_add(last % self.line_bases)?
            .checked_add(self.offset)?
            .checked_add(1)
    }
}

/// Reads the `.fai` beside `path`, where there is one, and checks it against the text.
pub(super) fn read_fai(path: &Path, source: &Source, opening: &Opening) -> Result<Option<Vec<Record>>> {
    let fai_path = path.with_added_extension("fai");
    let file = match File::open(&fai_path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(&fai_path, error)),
    };
    let records = parse_fai(&fai_path, BufReader::new(file))?;
    let mut names = HashSet::with_capacity(records.len());
    for Record { name, offset, .. } in &records {
        if !names.insert(name) {
            let what =
                format!("record '{name}' (sequence at byte {offset}) has the name of an earlier record");
            return Err(file_error(&fai_path, what));
        }
    }
    Checker { path, fai_path, source, opening }.check(&records)?;
    Ok(Some(records))
}

fn parse_fai(path: &Path, lines: impl BufRead) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for (number, line) in (1..).zip(lines.split(b'\n')) {
        let line = line.map_err(|error| read_error(path, "index", error))?;
        let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&line).trim_ascii_end();
        if line.is_empty() {
            continue;
        }
        let record = parse_fai_line(line).ok_or_else(|| {
            let expected = "name, length, offset, bases and bytes of a line between tabs";
            let shown = line[..line.len().min(80)].escape_ascii();
            file_error(path, format!("line {number} of the index must be {expected}, got {shown}"))
        })?;
        records.push(record);
    }
    if records.is_empty() {
        return Err(file_error(path, "the index holds no record"));
    }
    Ok(records)
}

fn parse_fai_line(line: &[u8]) -> Option<Record> {
    let mut fields = std::str::from_utf8(line).ok()?.split('\t');
    let name = fields.next().filter(|name| !name.is_empty())?.to_owned();
    let mut number = || fields.next()?.parse::<u64>().ok();
    let (length_bp, offset, line_bases, line_width) = (number()?, number()?, number()?, number()?);
    let is_whole = fields.next().is_none() && (length_bp == 0 || line_bases > 0);
    is_whole.then_some(Record { name, length_bp, offset, line_bases, line_width })
}

struct Checker<'a> {
    path: &'a Path,
    fai_path: PathBuf,
    source: &'a Source,
    opening: &'a Opening<'a>,
}

impl Checker<'_> {
    /// Between the records the text must hold exactly their header lines; after the last, nothing.
    fn check(&self, records: &[Record]) -> Result<()> {
        let size = self.source.size();
        let mut previous = None;
        for (index, record) in records.iter().enumerate() {
            if index % INTERRUPT_RECORDS == 0 {
                interrupted(self.path, self.opening)?;
            }
            let Record { offset, line_bases, line_width, .. } = *record;
            let header = match previous {
                None => self.read(record, 0, offset)?,
                Some((previous, end)) => self.read_after(previous, end, record, offset)?,
            };
            let is_at_end = record.length_bp == 0 && offset == size;
            if !is_header_of(&header, &record.name, is_at_end) {
                return self
                    .mismatch(record, &format!("its header line does not stand before byte {offset}"));
            }
            let Some(end) = record.end().filter(|&end| end <= size) else {
                return self.mismatch(record, &format!("it ends after the last byte, {size}"));
            };
            if record.length_bp > line_bases {
                let (start, end) = (offset.saturating_add(line_bases), offset.saturating_add(line_width));
                if !is_line_end(&self.read(record, start, end)?) {
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
        let num_bases = previous.length_bp.min(1);
        let mut bytes = self.read(record, end - num_bases, until)?;
        if bytes.iter().take(num_bases as usize).any(|&byte| CODE_OF_BYTE[byte as usize] == INVALID) {
            return self.mismatch(previous, &format!("its last base, byte {}, is no letter", end - 1));
        }
        let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n' | b' ' | b'\t');
        let blanks = bytes.iter().skip(num_bases as usize).take_while(is_blank).count();
        Ok(bytes.split_off((num_bases as usize + blanks).min(bytes.len())))
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

/// Whether that is how a line can end.
pub(super) fn is_line_end(bytes: &[u8]) -> bool {
    matches!(bytes, b"\n" | b"\r\n" | b"\r")
}

/// Whether this is one header line, of the record of this name; only at the end of the text may its end lack.
fn is_header_of(line: &[u8], name: &str, is_at_end: bool) -> bool {
    let line = line.trim_ascii_start();
    let line = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
    let Some(line) = line.strip_prefix(b">") else { return false };
    let (line, inner_end): (_, &[u8]) = match line {
        [line @ .., b'\n'] => (line, b"\n"),
        [line @ .., b'\r'] => (line, b"\r\n"),
        _ if is_at_end => (line, b"\n"),
        _ => return false,
    };
    let word = line.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    word == name.as_bytes() && !line.iter().any(|byte| inner_end.contains(byte))
}
