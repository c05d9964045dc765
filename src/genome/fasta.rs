//! One pass over a FASTA text: checks every byte and notes where each record lies.

use super::index::Record;
use super::source::{file_error, read_error};
use crate::alphabet::{describe_byte, first_invalid};
use crate::error::{Error, Result};
use std::io::BufRead;
use std::path::Path;

/// Longest record name; what is longer is no FASTA file.
const MAX_NAME_BYTES: usize = 4096;

/// What a pass found.
pub(super) struct Scan {
    pub(super) records: Vec<Record>,
    /// All lines of each record but its last are of one length, so a base's place can be computed.
    pub(super) is_regular: bool,
}

/// Reads `text` to its end and hands the letters, without line ends, to `sink`.
pub(super) fn scan(
    path: &Path,
    text: &mut dyn BufRead,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Scan> {
    let mut scanner = Scanner {
        path,
        sink,
        offset: 0,
        line: Line::Start,
        name: Vec::new(),
        is_name_complete: false,
        record: None,
        found: Scan { records: Vec::new(), is_regular: true },
    };
    loop {
        let buffer = text
            .fill_buf()
            .map_err(|error| read_error(path, &format!("at byte {} of the text", scanner.offset), error))?;
        if buffer.is_empty() {
            return scanner.finish();
        }
        let mut rest = buffer;
        while !rest.is_empty() {
            let line_end = memchr::memchr(b'\n', rest);
            let (piece, after) = rest.split_at(line_end.unwrap_or(rest.len()));
            scanner.piece(piece)?;
            rest = after;
            if line_end.is_some() {
                scanner.end_line(1)?;
                rest = &after[1..];
            }
        }
        let length = buffer.len();
        text.consume(length);
    }
}

/// The part of a line that has been read.
#[derive(Clone, Copy)]
enum Line {
    Start,
    Header,
    Bases { count: u64, ends_in_return: bool },
}

struct OpenRecord {
    record: Record,
    /// A line shorter than the first has come: no letter may follow it.
    is_last_line_over: bool,
}

struct Scanner<'a> {
    path: &'a Path,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    offset: u64,
    line: Line,
    name: Vec<u8>,
    is_name_complete: bool,
    record: Option<OpenRecord>,
    found: Scan,
}

impl Scanner<'_> {
    /// Takes a stretch of one line, its end not included.
    fn piece(&mut self, piece: &[u8]) -> Result<()> {
        let Some(&first) = piece.first() else { return Ok(()) };
        match self.line {
            Line::Start if first == b'>' => {
                self.line = Line::Header;
                self.name.clear();
                self.is_name_complete = false;
                self.header(&piece[1..])?;
            }
            Line::Start => self.bases(piece, 0, false)?,
            Line::Header => self.header(piece)?,
            Line::Bases { count, ends_in_return } => self.bases(piece, count, ends_in_return)?,
        }
        self.offset += piece.len() as u64;
        Ok(())
    }

    fn header(&mut self, piece: &[u8]) -> Result<()> {
        if self.is_name_complete {
            return Ok(());
        }
        let end = piece.iter().position(u8::is_ascii_whitespace);
        self.is_name_complete = end.is_some();
        self.name.extend_from_slice(&piece[..end.unwrap_or(piece.len()).min(MAX_NAME_BYTES + 1)]);
        if self.name.len() > MAX_NAME_BYTES {
            return Err(self.error(&format!("a record name is longer than {MAX_NAME_BYTES} bytes")));
        }
        Ok(())
    }

    fn bases(&mut self, piece: &[u8], count: u64, ends_in_return: bool) -> Result<()> {
        let Some(open) = &mut self.record else {
            let first = describe_byte(piece[0]);
            return Err(self.error(&format!("not a FASTA file: expected '>', got byte {first}")));
        };
        let letters = piece.strip_suffix(b"\r").unwrap_or(piece);
        let stray =
            if ends_in_return { Some((0, b'\r')) } else { first_invalid(letters).map(|i| (i, letters[i])) };
        if let Some((index, byte)) = stray {
            let offset = self.offset + index as u64 - u64::from(ends_in_return);
            return Err(stray_byte(
                self.path,
                &open.record.name,
                open.record.length_bp + index as u64,
                offset,
                byte,
            ));
        }
        open.record.length_bp += letters.len() as u64;
        self.found.is_regular &= letters.is_empty() || !open.is_last_line_over;
        self.line =
            Line::Bases { count: count + letters.len() as u64, ends_in_return: letters.len() < piece.len() };
        (self.sink)(letters)
    }

    /// Ends a line with `newline_bytes`, 1, or 0 at the end of the text.
    fn end_line(&mut self, newline_bytes: u64) -> Result<()> {
        self.offset += newline_bytes;
        match (std::mem::replace(&mut self.line, Line::Start), &mut self.record) {
            (Line::Header, _) => self.begin_record()?,
            (_, None) => return Err(self.error("not a FASTA file: expected '>', got an empty line")),
            (Line::Start, Some(open)) => {
                self.found.is_regular &= open.record.line_bases > 0;
                open.is_last_line_over = true;
            }
            (Line::Bases { count, ends_in_return }, Some(open)) => {
                let width = count + u64::from(ends_in_return) + newline_bytes;
                let record = &mut open.record;
                if record.line_bases == 0 {
                    (record.line_bases, record.line_width) = (count, width);
                    self.found.is_regular &= count > 0;
                } else {
                    self.found.is_regular &= count < record.line_bases
                        || count == record.line_bases && (width == record.line_width || newline_bytes == 0);
                    open.is_last_line_over |= count < record.line_bases;
                }
            }
        }
        Ok(())
    }

    fn begin_record(&mut self) -> Result<()> {
        let name = match std::str::from_utf8(&self.name) {
            Ok("") => return Err(self.error("the header line before has no record name")),
            Ok(name) => name.to_owned(),
            Err(_) => return Err(self.error("the record name of the header line before is not UTF-8")),
        };
        let record = Record { name, length_bp: 0, offset: self.offset, line_bases: 0, line_width: 0 };
        let previous = self.record.replace(OpenRecord { record, is_last_line_over: false });
        self.found.records.extend(previous.map(|open| open.record));
        Ok(())
    }

    fn finish(mut self) -> Result<Scan> {
        if !matches!(self.line, Line::Start) {
            self.end_line(0)?;
        }
        self.found.records.extend(self.record.map(|open| open.record));
        Ok(self.found)
    }

    fn error(&self, message: &str) -> Error {
        file_error(self.path, format!("at byte {} of the text: {message}", self.offset))
    }
}

/// The error for a byte that is no letter; `position` counts bases from 0, the message from 1.
pub(super) fn stray_byte(path: &Path, record: &str, position: u64, offset: u64, byte: u8) -> Error {
    file_error(
        path,
        format!(
            "record '{record}', base {} (byte {offset} of the text): byte {} is no nucleotide letter",
            position + 1,
            describe_byte(byte)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Scans with a buffer of this size; gives the records' numbers, the letters and the regularity.
    fn scan_text(text: &[u8], buffer: usize) -> std::result::Result<(Vec<Record>, Vec<u8>, bool), String> {
        let mut letters = Vec::new();
        let found = scan(Path::new("x.fa"), &mut BufReader::with_capacity(buffer, text), &mut |piece| {
            letters.extend_from_slice(piece);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        Ok((found.records, letters, found.is_regular))
    }

    fn record(name: &str, length_bp: u64, offset: u64, line_bases: u64, line_width: u64) -> Record {
        Record { name: name.to_owned(), length_bp, offset, line_bases, line_width }
    }

    #[test]
    fn regular_records_for_every_buffer_size() {
        let text = b">one first record\nACGT\nacgt\nNN\n>two\tx\r\nACR\r\nA\r\n\r\n>three\nT";
        let records = [record("one", 10, 18, 4, 5), record("two", 4, 39, 3, 5), record("three", 1, 56, 1, 1)];
        for buffer in 1..=text.len() + 1 {
            let (found, letters, is_regular) = scan_text(text, buffer).unwrap();
            assert_eq!(found, records, "buffer {buffer}");
            assert_eq!(letters, b"ACGTacgtNNACRAT");
            assert!(is_regular);
        }
    }

    #[test]
    fn ragged_records_are_told() {
        let ragged: [&[u8]; 6] = [
            b">a\nAC\nACG\n",
            b">a\nACG\nAC\nACG\n",
            b">a\nACG\n\nACG\n",
            b">a\n\nACG\n",
            b">a\nACG\r\nACG\nA\n",
            b">a\nA\n>b\nAC\nA\nA\n",
        ];
        for text in ragged {
            for buffer in [1, 2, 3, 100] {
                let (_, letters, is_regular) = scan_text(text, buffer).unwrap();
                assert!(!is_regular, "{}", text.escape_ascii());
                assert!(letters.iter().all(u8::is_ascii_uppercase));
            }
        }
    }

    #[test]
    fn faults_for_every_buffer_size() {
        let faults: [(&[u8], &str); 8] = [
            (b"ACGT\n", "x.fa: at byte 0 of the text: not a FASTA file: expected '>', got byte 0x41 'A'"),
            (b"\n>a\nA\n", "at byte 1 of the text: not a FASTA file: expected '>', got an empty line"),
            (
                b">a\nAC\nA-C\n",
                "record 'a', base 4 (byte 7 of the text): byte 0x2d '-' is no nucleotide letter",
            ),
            (b">a\nAC G\n", "record 'a', base 3 (byte 5 of the text): byte 0x20 is no nucleotide letter"),
            (b">a\nAC\rG\n", "record 'a', base 3 (byte 5 of the text): byte 0x0d is no nucleotide letter"),
            (b">a\nAC\r\r\n", "record 'a', base 3 (byte 5 of the text): byte 0x0d is no nucleotide letter"),
            (b">a\nAC\n> b\nA\n", "at byte 10 of the text: the header line before has no record name"),
            (b">\xff\nAC\n", "at byte 3 of the text: the record name of the header line before is not UTF-8"),
        ];
        for (text, message) in faults {
            for buffer in 1..=text.len() + 1 {
                let error = scan_text(text, buffer).unwrap_err();
                assert!(error.ends_with(message), "buffer {buffer}: {error}");
            }
        }
    }

    #[test]
    fn a_name_without_end_is_no_name() {
        let text = format!(">{}", "a".repeat(100_000)).into_bytes();
        for buffer in [1, 64, 1 << 20] {
            assert!(scan_text(&text, buffer).unwrap_err().contains("longer than 4096 bytes"));
        }
    }
}
