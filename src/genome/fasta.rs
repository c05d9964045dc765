//! One pass over a FASTA text: checks every byte and notes where each record lies.
//!
//! What is read beside plain FASTA: lines that end in `\n`, `\r\n` or, where the first one does, `\r`; a byte
//! order mark before a header; empty lines, and blanks at the end of lines; records without a base.

use super::foreign::{START_BYTES, foreign_text};
use super::index::Record;
use super::source::{file_error, read_error};
use super::{Opening, interrupted};
use crate::alphabet::{describe_byte, first_invalid};
use crate::error::{Error, Result};
use std::collections::HashSet;
use std::io::{self, BufRead, Read};
use std::path::Path;

/// Longest record name; what is longer is no FASTA file.
const MAX_NAME_BYTES: usize = 4096;

/// Longest first line whose end is looked for before anything else is read; a longer one ends in `\n`.
const MAX_FIRST_LINE_BYTES: usize = 1 << 20;

/// Bytes between two looks at whether the pass is to stop.
const INTERRUPT_BYTES: u64 = 1 << 20;

/// What stands before the first line of a text that Windows programs wrote.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a pass found.
pub(super) struct Scan {
    pub(super) records: Vec<Record>,
    /// Of each record, how many letters the sink was handed before its first.
    pub(super) letters_before: Vec<u64>,
    /// Name and fault of each record that was left out.
    pub(super) skipped: Vec<(String, String)>,
    /// All lines of each record but its last are of one length, so a base's place can be computed.
    pub(super) is_regular: bool,
}

/// Reads `text` to its end and hands the letters, without line ends, to `sink`.
pub(super) fn scan(
    path: &Path,
    text: &mut dyn BufRead,
    opening: &Opening,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<Scan> {
    let first = first_line(text).map_err(|error| read_error(path, "at byte 0 of the text", error))?;
    let line_end = if ends_in_return(&first) { b'\r' } else { b'\n' };
    let mut scanner = Scanner {
        path,
        skips_faults: opening.skips_faults,
        start: &first,
        line_end,
        sink,
        offset: 0,
        line: Line::Start,
        name: Vec::new(),
        is_name_complete: false,
        record: None,
        num_letters: 0,
        names: HashSet::new(),
        found: Scan {
            records: Vec::new(),
            letters_before: Vec::new(),
            skipped: Vec::new(),
            is_regular: true,
        },
    };
    let mut text = first.chain(text);
    let mut next_look = 0;
    loop {
        if scanner.offset >= next_look {
            next_look = scanner.offset + INTERRUPT_BYTES;
            interrupted(path, opening)?;
        }
        let buffer = text
            .fill_buf()
            .map_err(|error| read_error(path, &format!("at byte {} of the text", scanner.offset), error))?;
        if buffer.is_empty() {
            return scanner.finish();
        }
        let mut rest = buffer;
        while !rest.is_empty() {
            let end = memchr::memchr(line_end, rest);
            let (piece, after) = rest.split_at(end.unwrap_or(rest.len()));
            scanner.piece(piece)?;
            rest = after;
            if end.is_some() {
                scanner.end_line(1)?;
                rest = &after[1..];
            }
        }
        let length = buffer.len();
        text.consume(length);
    }
}

/// The text's start, as far as it takes to see how its first line ends and what it is.
fn first_line(text: &mut dyn BufRead) -> io::Result<Vec<u8>> {
    let mut first = Vec::new();
    let mut line_bytes = 0;
    while first.len() < MAX_FIRST_LINE_BYTES {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            break;
        }
        // In small steps at first, for what is read here is copied.
        let count = buffer.len().min(first.len().max(START_BYTES));
        first.extend_from_slice(&buffer[..count]);
        text.consume(count);
        line_bytes = match memchr::memchr2(b'\r', b'\n', &first[line_bytes..]) {
            Some(end) => line_bytes + end,
            None => first.len(),
        };
        let is_told = first[line_bytes..].iter().any(|&byte| byte != b'\r');
        if is_told && first.len() >= START_BYTES {
            break;
        }
    }
    Ok(first)
}

/// Whether the first line ends in carriage returns alone.
fn ends_in_return(first: &[u8]) -> bool {
    memchr::memchr2(b'\r', b'\n', first)
        .is_some_and(|end| first[end..].iter().find(|&&byte| byte != b'\r') != Some(&b'\n'))
}

/// The part of a line that has been read.
#[derive(Clone, Copy)]
enum Line {
    Start,
    /// As many bytes of a byte order mark.
    Mark(usize),
    Header,
    /// Letters, and blanks after them.
    Bases {
        letters: u64,
        blanks: u64,
        first_blank: u8,
    },
    /// Part of a record that is left out.
    Skipped,
}

struct OpenRecord {
    record: Record,
    letters_before: u64,
    /// A line shorter than the first has come: no letter may follow it.
    is_last_line_over: bool,
    is_regular: bool,
    fault: Option<String>,
}

struct Scanner<'a> {
    path: &'a Path,
    skips_faults: bool,
    start: &'a [u8],
    line_end: u8,
    sink: &'a mut dyn FnMut(&[u8]) -> Result<()>,
    offset: u64,
    line: Line,
    name: Vec<u8>,
    is_name_complete: bool,
    record: Option<OpenRecord>,
    num_letters: u64,
    names: HashSet<String>,
    found: Scan,
}

impl Scanner<'_> {
    /// Takes a stretch of one line, its end not included.
    fn piece(&mut self, mut piece: &[u8]) -> Result<()> {
        if self.line_end == b'\r' && piece.contains(&b'\n') {
            return Err(
                self.error("a line ends in a line feed, and the first one in a carriage return alone")
            );
        }
        while let Some(&first) = piece.first() {
            let count = match self.line {
                Line::Start | Line::Mark(3) if first == b'>' => {
                    self.line = Line::Header;
                    self.name.clear();
                    self.is_name_complete = false;
                    1
                }
                Line::Start if first == BYTE_ORDER_MARK[0] => {
                    self.line = Line::Mark(1);
                    1
                }
                Line::Mark(count) if BYTE_ORDER_MARK.get(count) == Some(&first) => {
                    self.line = Line::Mark(count + 1);
                    1
                }
                Line::Mark(count) => {
                    self.stray(0, self.offset - count as u64, BYTE_ORDER_MARK[0])?;
                    0
                }
                Line::Start if self.record.as_ref().is_some_and(|open| open.fault.is_some()) => {
                    self.line = Line::Skipped;
                    0
                }
                Line::Start => {
                    self.line = Line::Bases { letters: 0, blanks: 0, first_blank: 0 };
                    0
                }
                Line::Header => {
                    self.header(piece);
                    piece.len()
                }
                Line::Bases { letters, blanks, first_blank } => {
                    self.bases(piece, letters, blanks, first_blank)?;
                    piece.len()
                }
                Line::Skipped => piece.len(),
            };
            self.offset += count as u64;
            piece = &piece[count..];
        }
        Ok(())
    }

    fn header(&mut self, piece: &[u8]) {
        if !self.is_name_complete {
            let end = piece.iter().position(u8::is_ascii_whitespace);
            let word = &piece[..end.unwrap_or(piece.len())];
            self.name.extend_from_slice(&word[..word.len().min(MAX_NAME_BYTES + 1)]);
            self.is_name_complete = end.is_some() || self.name.len() > MAX_NAME_BYTES;
        }
    }

    fn bases(&mut self, piece: &[u8], before: u64, blanks: u64, first_blank: u8) -> Result<()> {
        let is_letter = |byte: &u8| !matches!(byte, b' ' | b'\t' | b'\r');
        let letters = &piece[..piece.iter().rposition(is_letter).map_or(0, |last| last + 1)];
        if blanks > 0 && !letters.is_empty() {
            return self.stray(0, self.offset - blanks, first_blank);
        }
        let Some(open) = &mut self.record else {
            if let Some(&first) = letters.first() {
                return Err(self.no_fasta(first));
            }
            return Ok(());
        };
        if let Some(index) = first_invalid(letters) {
            return self.stray(index as u64, self.offset + index as u64, letters[index]);
        }
        self.line = Line::Bases {
            letters: before + letters.len() as u64,
            blanks: blanks + (piece.len() - letters.len()) as u64,
            first_blank: if blanks > 0 {
                first_blank
            } else {
                piece.get(letters.len()).copied().unwrap_or(0)
            },
        };
        open.record.length_bp += letters.len() as u64;
        open.is_regular &= letters.is_empty() || !open.is_last_line_over;
        self.num_letters += letters.len() as u64;
        (self.sink)(letters)
    }

    /// Ends a line with `newline_bytes`, 1, or 0 at the end of the text.
    fn end_line(&mut self, newline_bytes: u64) -> Result<()> {
        self.offset += newline_bytes;
        match (std::mem::replace(&mut self.line, Line::Start), &mut self.record) {
            (Line::Header, _) => self.begin_record()?,
            (Line::Mark(count), _) if count < BYTE_ORDER_MARK.len() => {
                self.stray(0, self.offset - newline_bytes - count as u64, BYTE_ORDER_MARK[0])?;
                self.line = Line::Start;
            }
            (Line::Skipped, _) | (_, None) => {}
            (Line::Bases { letters, blanks, first_blank }, Some(open)) if letters > 0 => {
                let width = letters + blanks + newline_bytes;
                let record = &mut open.record;
                let is_ended_well = blanks == 0 || blanks == 1 && first_blank == b'\r';
                if record.line_bases == 0 {
                    (record.line_bases, record.line_width) = (letters, width);
                    open.is_regular &= is_ended_well;
                } else {
                    open.is_regular &= letters < record.line_bases
                        || letters == record.line_bases
                            && is_ended_well
                            && (width == record.line_width || newline_bytes == 0);
                    open.is_last_line_over |= letters < record.line_bases;
                }
            }
            (_, Some(open)) => open.is_last_line_over = true,
        }
        Ok(())
    }

    fn begin_record(&mut self) -> Result<()> {
        self.end_record();
        let (name, fault) = match std::str::from_utf8(&self.name) {
            Ok("") => (String::new(), Some("the header line before has no record name".to_owned())),
            _ if self.name.len() > MAX_NAME_BYTES => (
                String::from_utf8_lossy(&self.name[..40]).into_owned(),
                Some(format!("a record name is longer than {MAX_NAME_BYTES} bytes")),
            ),
            Ok(name) => (name.to_owned(), None),
            Err(_) => (
                String::from_utf8_lossy(&self.name).into_owned(),
                Some("the record name of the header line before is not UTF-8".to_owned()),
            ),
        };
        let mut fault = fault.map(|fault| format!("at byte {} of the text: {fault}", self.offset));
        if fault.is_some() && !self.skips_faults {
            return Err(self.faulty(&fault.unwrap_or_default()));
        }
        if fault.is_none() && self.names.contains(&name) {
            let reason = format!("(sequence at byte {}) has the name of an earlier record", self.offset);
            if !self.skips_faults {
                return Err(self.faulty(&format!("record '{name}' {reason}")));
            }
            fault = Some(reason);
        }
        self.record = Some(OpenRecord {
            record: Record { name, length_bp: 0, offset: self.offset, line_bases: 0, line_width: 0 },
            letters_before: self.num_letters,
            is_last_line_over: false,
            is_regular: true,
            fault,
        });
        Ok(())
    }

    fn end_record(&mut self) {
        let Some(open) = self.record.take() else { return };
        if let Some(fault) = open.fault {
            self.found.skipped.push((open.record.name, fault));
        } else {
            self.names.insert(open.record.name.clone());
            self.found.is_regular &= open.is_regular;
            self.found.letters_before.push(open.letters_before);
            self.found.records.push(open.record);
        }
    }

    fn finish(mut self) -> Result<Scan> {
        if !matches!(self.line, Line::Start) {
            self.end_line(0)?;
        }
        self.end_record();
        if self.found.records.is_empty() {
            let what = match self.found.skipped.first() {
                None => "the file holds no record".to_owned(),
                Some((name, fault)) => format!("no record of the file can be read: '{name}', {fault}"),
            };
            return Err(file_error(self.path, what));
        }
        Ok(self.found)
    }

    /// A byte that is no letter, as many letters into the piece, at this byte of the text.
    fn stray(&mut self, letters: u64, offset: u64, byte: u8) -> Result<()> {
        let Some(open) = &mut self.record else { return Err(self.no_fasta(byte)) };
        let fault = stray_byte(open.record.length_bp + letters, offset, byte);
        if !self.skips_faults {
            let message = format!("record '{}', {fault}", open.record.name);
            return Err(self.faulty(&message));
        }
        open.fault.get_or_insert(fault);
        self.line = Line::Skipped;
        Ok(())
    }

    fn no_fasta(&self, byte: u8) -> Error {
        match foreign_text(self.start) {
            Some(foreign) => file_error(self.path, foreign),
            None => self.error(&format!("not a FASTA file: expected '>', got byte {}", describe_byte(byte))),
        }
    }

    fn error(&self, message: &str) -> Error {
        file_error(self.path, format!("at byte {} of the text: {message}", self.offset))
    }

    fn faulty(&self, message: &str) -> Error {
        file_error(self.path, format!("{message} (on_error='skip' leaves such records out)"))
    }
}

/// What is said of a byte that is no letter; `position` counts bases from 0, the text from 1.
pub(super) fn stray_byte(position: u64, offset: u64, byte: u8) -> String {
    format!(
        "base {} (byte {offset} of the text): byte {} is no nucleotide letter",
        position + 1,
        describe_byte(byte)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    /// Scans with a buffer of this size; gives what was found, and the letters.
    fn scan_with(
        text: &[u8],
        buffer: usize,
        skips_faults: bool,
    ) -> std::result::Result<(Scan, Vec<u8>), String> {
        let mut letters = Vec::new();
        let opening = Opening { skips_faults, ..Opening::default() };
        let mut text = BufReader::with_capacity(buffer, text);
        let found = scan(Path::new("x.fa"), &mut text, &opening, &mut |piece| {
            letters.extend_from_slice(piece);
            Ok(())
        })
        .map_err(|error| error.to_string())?;
        Ok((found, letters))
    }

    fn record(name: &str, length_bp: u64, offset: u64, line_bases: u64, line_width: u64) -> Record {
        Record { name: name.to_owned(), length_bp, offset, line_bases, line_width }
    }

    #[test]
    fn regular_records_for_every_buffer_size() {
        let text = b">one first record\nACGT\nacgt\nNN\n>two\tx\r\nACR\r\nA\r\n\r\n>three\nT";
        let records = [record("one", 10, 18, 4, 5), record("two", 4, 39, 3, 5), record("three", 1, 56, 1, 1)];
        for buffer in 1..=text.len() + 1 {
            let (found, letters) = scan_with(text, buffer, false).unwrap();
            assert_eq!(found.records, records, "buffer {buffer}");
            assert_eq!(letters, b"ACGTacgtNNACRAT");
            assert_eq!(found.letters_before, [0, 10, 14]);
            assert!(found.is_regular);
        }
    }

    #[test]
    fn what_other_programs_write() {
        let texts: [(&[u8], &[Record]); 7] = [
            (b"\xef\xbb\xbf>a\nAC\nA\n", &[record("a", 3, 6, 2, 3)]),
            (b"\n\r\n \n>a\nAC\n", &[record("a", 2, 8, 2, 3)]),
            (b">a x\rAC\rAC\rA\r\r>b\rC", &[record("a", 5, 5, 2, 3), record("b", 1, 17, 1, 1)]),
            (
                b">a\n>b\n\n>c\nAC\n>d",
                &[
                    record("a", 0, 3, 0, 0),
                    record("b", 0, 6, 0, 0),
                    record("c", 2, 10, 2, 3),
                    record("d", 0, 15, 0, 0),
                ],
            ),
            (b">a\nAC\n\xef\xbb\xbf>b\nA\n", &[record("a", 2, 3, 2, 3), record("b", 1, 12, 1, 2)]),
            (b">a\nAC\nAC \t\n", &[record("a", 4, 3, 2, 3)]),
            (b">a\nAC\r\r\nAC\r\r\n", &[record("a", 4, 3, 2, 5)]),
        ];
        for (text, records) in texts {
            for buffer in 1..=text.len() + 1 {
                let (found, letters) = scan_with(text, buffer, false).unwrap();
                assert_eq!(found.records, records, "{}, buffer {buffer}", text.escape_ascii());
                assert!(letters.iter().all(u8::is_ascii_uppercase));
                assert_eq!(found.is_regular, !text.contains(&b'\t') && !text.ends_with(b"\r\r\n"));
            }
        }
    }

    #[test]
    fn faulty_records_are_left_out() {
        let text = b">a\nAC\n>b\nA-C\nAAA\n>a x\nGG\n>\nT\n>\xff\nT\n>c\nNNN\n>b\nG";
        for buffer in 1..=text.len() + 1 {
            let (found, letters) = scan_with(text, buffer, true).unwrap();
            let records = [record("a", 2, 3, 2, 3), record("c", 3, 37, 3, 4), record("b", 1, 44, 1, 1)];
            assert_eq!(found.records, records, "buffer {buffer}");
            for (record, before) in found.records.iter().zip(found.letters_before) {
                let kept = &letters[before as usize..][..record.length_bp as usize];
                assert_eq!(kept, &text[record.offset as usize..][..record.length_bp as usize]);
            }
            let skipped = [
                ("b", "base 2 (byte 10 of the text): byte 0x2d '-' is no nucleotide letter"),
                ("a", "(sequence at byte 22) has the name of an earlier record"),
                ("", "at byte 27 of the text: the header line before has no record name"),
                (
                    "\u{fffd}",
                    "at byte 32 of the text: the record name of the header line before is not UTF-8",
                ),
            ];
            assert_eq!(found.skipped, skipped.map(|(name, fault)| (name.to_owned(), fault.to_owned())));
        }
        let error = scan_with(b">a\n*\n>b\nA*\n", 100, true).err().unwrap();
        assert!(error.contains("no record of the file can be read: 'a', base 1 (byte 3"), "{error}");
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
                let (found, letters) = scan_with(text, buffer, false).unwrap();
                assert!(!found.is_regular, "{}", text.escape_ascii());
                assert!(letters.iter().all(u8::is_ascii_uppercase));
            }
        }
    }

    #[test]
    fn faults_for_every_buffer_size() {
        let hint = " (on_error='skip' leaves such records out)";
        let faults: [(&[u8], &str, &str); 13] = [
            (b"ACGT\n", "x.fa: at byte 0 of the text: not a FASTA file: expected '>', got byte 0x41 'A'", ""),
            (b"\nAC\n", "at byte 1 of the text: not a FASTA file: expected '>', got byte 0x41 'A'", ""),
            (b"\xef\xbb>a\nA\n", "not a FASTA file: expected '>', got byte 0xef", ""),
            (
                b"@read\nA\n+\nI\n",
                "x.fa: it is FASTQ, which is not read: make FASTA of it with ",
                "seqtk seq -A",
            ),
            (
                b">a\nAC\nA-C\n",
                "record 'a', base 4 (byte 7 of the text): byte 0x2d '-' is no nucleotide letter",
                hint,
            ),
            (
                b">a\nAC G\n",
                "record 'a', base 3 (byte 5 of the text): byte 0x20 is no nucleotide letter",
                hint,
            ),
            (
                b">a\nAC\rG\n",
                "record 'a', base 3 (byte 5 of the text): byte 0x0d is no nucleotide letter",
                hint,
            ),
            (
                b">a\nAC\n\xef\xbb\xbfAC\n",
                "record 'a', base 3 (byte 6 of the text): byte 0xef is no nucleotide letter",
                hint,
            ),
            (
                b">a\rAC\n>b\rA\r",
                "text: a line ends in a line feed, and the first one in a carriage return alone",
                "",
            ),
            (b">a\nAC\n> b\nA\n", "at byte 10 of the text: the header line before has no record name", hint),
            (
                b">\xff\nAC\n",
                "at byte 3 of the text: the record name of the header line before is not UTF-8",
                hint,
            ),
            (
                b">a\nA\n>b\nA\n>a\nA\n",
                "record 'a' (sequence at byte 13) has the name of an earlier record",
                hint,
            ),
            (b"\n\n", "x.fa: the file holds no record", ""),
        ];
        for (text, message, end) in faults {
            for buffer in 1..=text.len() + 1 {
                let error = scan_with(text, buffer, false).err().unwrap();
                assert!(error.contains(message) && error.ends_with(end), "buffer {buffer}: {error}");
            }
        }
    }

    #[test]
    fn a_name_without_end_is_no_name() {
        let text = format!(">{}", "a".repeat(100_000)).into_bytes();
        for buffer in [1, 64, 1 << 20] {
            assert!(scan_with(&text, buffer, false).err().unwrap().contains("longer than 4096 bytes"));
        }
    }

    #[test]
    fn a_pass_is_interrupted() {
        let text = [b">a\n".as_slice(), &b"ACGT\n".repeat(1 << 20)].concat();
        let looks = std::sync::atomic::AtomicUsize::new(0);
        let is_interrupted = || looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2;
        let opening = Opening { is_interrupted: Some(&is_interrupted), ..Opening::default() };
        let mut letters = 0;
        let mut text = BufReader::with_capacity(1 << 16, text.as_slice());
        let result = scan(Path::new("x.fa"), &mut text, &opening, &mut |piece| {
            letters += piece.len();
            Ok(())
        });
        assert!(
            matches!(result, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::Interrupted)
        );
        assert!(letters < 4 << 20);
    }
}
