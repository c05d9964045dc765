//! Mutated FASTA files and indexes against a plain reading of the same text.
//!
//! `FUZZ` is how many, 100 unless given, and `FUZZ_SEED` which. What is opened holds what the plain reading
//! finds, what is not has an error; nothing panics or takes more memory than ten times the input and a
//! constant.

// Its helpers are part of a test.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use dnachunk::alphabet::{CODE_OF_BYTE, COMPLEMENT, INVALID, id_of_code, is_repeat};
use dnachunk::error::Error;
use dnachunk::genome::{Genome, Opening};
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use flate2::{Compress, Compression, Crc, FlushCompress};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

/// Buffers of the readers, whatever the input.
const CONSTANT_MEMORY: usize = 8 << 20;
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
const END_OF_BGZIP: &[u8] = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0BC\x02\0\x1b\0\x03\0\0\0\0\0\0\0\0\0";

/// Counts what is in use, and the most that was.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is the system allocator's own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(IN_USE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those of `System`.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, Vec<u8>),
    Replace(Index, u8),
    Flip(Index, u8),
    Delete(Index, usize),
    Copy(Index, usize, Index),
    Truncate(Index),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Form {
    Plain,
    Gzip,
    Bgzip,
    BgzipThenGzip,
}

#[derive(Clone, Debug)]
struct Case {
    records: Vec<(String, Vec<u8>, usize)>,
    line_end: &'static str,
    text_edits: Vec<Edit>,
    form: Form,
    cut: Index,
    block_bytes: usize,
    padding: usize,
    packed_edits: Vec<Edit>,
    /// Number edits `(line, column, value)`, then edits of its bytes.
    fai: Option<(Vec<(Index, usize, u64)>, Vec<Edit>)>,
    gzi: Option<(Vec<(Index, u64)>, Vec<Edit>)>,
    skips_faults: bool,
    range: (Index, Index),
    reverse_complement: bool,
}

fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    let pieces: Vec<&[u8]> = vec![
        b">",
        b"\n",
        b"\r",
        b"\r\n",
        b"\n\n",
        b" ",
        b"\t",
        b"\0",
        b"*",
        b"-",
        b"A",
        b"n",
        b"\xff",
        b">a\n",
        b">\n",
        b"\n>b c\n",
        BYTE_ORDER_MARK,
        b"\xef",
        b";",
        b"\x1f\x8b",
        b"\0\0\0\0",
        b"\t0\t",
        b"99999999",
    ];
    let edit = prop_oneof![
        4 => (any::<Index>(), select(pieces)).prop_map(|(at, piece)| Edit::Insert(at, piece.to_vec())),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Replace(at, byte)),
        1 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (any::<Index>(), 1usize..30).prop_map(|(at, count)| Edit::Delete(at, count)),
        1 => (any::<Index>(), 1usize..30, any::<Index>())
            .prop_map(|(from, count, to)| Edit::Copy(from, count, to)),
        1 => any::<Index>().prop_map(Edit::Truncate),
    ];
    prop::collection::vec(edit, 0..=most)
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..60, select(vec![u64::MAX, u64::MAX - 1, 1 << 63, i64::MAX as u64, 1 << 32, 65_536])]
}

fn case() -> impl Strategy<Value = Case> {
    let letters = prop::collection::vec(select(b"ACGTNacgtnRYu".to_vec()), 0..40);
    let record = ("[a-d]{1,2}( [a-z]{0,4})?", letters, 1usize..12);
    let text = (
        prop::collection::vec(record, 0..5),
        prop_oneof![6 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r")],
        edits(3),
    );
    let forms =
        select(vec![Form::Plain, Form::Plain, Form::Gzip, Form::Bgzip, Form::Bgzip, Form::BgzipThenGzip]);
    let packed = (
        forms,
        any::<Index>(),
        1usize..40,
        prop_oneof![3 => Just(0), 1 => 1usize..600],
        prop_oneof![2 => Just(Vec::new()), 1 => edits(2)],
    );
    let maybe_edits = || prop_oneof![1 => Just(Vec::new()), 1 => edits(2)];
    let indexes = (
        prop::option::of((prop::collection::vec((any::<Index>(), 1usize..5, number()), 0..2), maybe_edits())),
        prop::option::of((prop::collection::vec((any::<Index>(), number()), 0..2), maybe_edits())),
    );
    let reading = (any::<bool>(), (any::<Index>(), any::<Index>()), any::<bool>());
    (text, packed, indexes, reading).prop_map(
        |(
            (records, line_end, text_edits),
            (form, cut, block_bytes, padding, packed_edits),
            (fai, gzi),
            (skips_faults, range, reverse_complement),
        )| Case {
            records,
            line_end,
            text_edits,
            form,
            cut,
            block_bytes,
            padding,
            packed_edits,
            fai,
            gzi,
            skips_faults,
            range,
            reverse_complement,
        },
    )
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let length = bytes.len();
        match edit {
            Edit::Insert(at, piece) => {
                let at = at.index(length + 1);
                bytes.splice(at..at, piece.iter().copied());
            }
            _ if length == 0 => {}
            Edit::Replace(at, byte) => bytes[at.index(length)] = *byte,
            Edit::Flip(at, bit) => bytes[at.index(length)] ^= 1 << bit,
            Edit::Delete(at, count) => {
                let at = at.index(length);
                bytes.drain(at..length.min(at + count));
            }
            Edit::Copy(from, count, to) => {
                let (from, to) = (from.index(length), to.index(length + 1));
                let piece = bytes[from..length.min(from + count)].to_vec();
                bytes.splice(to..to, piece);
            }
            Edit::Truncate(at) => bytes.truncate(at.index(length)),
        }
    }
    bytes
}

fn text_of(case: &Case) -> Vec<u8> {
    let mut text = Vec::new();
    for (header, letters, line_bases) in &case.records {
        text.extend(format!(">{header}{}", case.line_end).bytes());
        for line in letters.chunks(*line_bases) {
            text.extend(line);
            text.extend(case.line_end.bytes());
        }
    }
    edited(text, &case.text_edits)
}

fn bgzip_block(text: &[u8]) -> Vec<u8> {
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut packed = Vec::with_capacity(text.len() + 100);
    deflate.compress_vec(text, &mut packed, FlushCompress::Finish).unwrap();
    let mut sum = Crc::new();
    sum.update(text);
    let mut block = END_OF_BGZIP[..16].to_vec();
    block.extend(u16::try_from(packed.len() + 25).unwrap().to_le_bytes());
    block.extend(packed);
    block.extend(sum.sum().to_le_bytes());
    block.extend(u32::try_from(text.len()).unwrap().to_le_bytes());
    block
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// The packed text and its block index.
fn packed_of(case: &Case, text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let cut = case.cut.index(text.len() + 1);
    let mut packed = Vec::new();
    let mut blocks = Vec::new();
    let mut bgzip = |text: &[u8], packed: &mut Vec<u8>| {
        for (index, block) in text.chunks(case.block_bytes).enumerate() {
            if index > 0 {
                blocks.push([packed.len() as u64, (index * case.block_bytes) as u64]);
            }
            packed.extend(bgzip_block(block));
        }
        packed.extend(END_OF_BGZIP);
    };
    match case.form {
        Form::Plain => packed.extend(text),
        Form::Gzip => {
            packed.extend(gzip(&text[..cut]));
            packed.extend(vec![0; case.padding]);
            packed.extend(gzip(&text[cut..]));
        }
        Form::Bgzip => bgzip(text, &mut packed),
        Form::BgzipThenGzip => {
            bgzip(&text[..cut], &mut packed);
            packed.extend(gzip(&text[cut..]));
        }
    }
    if case.form != Form::Plain {
        packed.extend(vec![0; case.padding]);
    }
    let (numbers, edits) = case.gzi.as_ref().map_or((&[][..], &[][..]), |(numbers, edits)| (numbers, edits));
    let mut gzi = vec![blocks.len() as u64];
    gzi.extend(blocks.concat());
    for (at, value) in numbers {
        let at = at.index(gzi.len());
        gzi[at] = *value;
    }
    let gzi = edited(gzi.iter().flat_map(|value| value.to_le_bytes()).collect(), edits);
    (edited(packed, &case.packed_edits), gzi)
}

/// What a plain reading finds: the records that can be read, and how many cannot; None if it is no FASTA.
struct Plain {
    records: Vec<(String, Vec<u8>)>,
    num_faults: usize,
}

fn line_end_of(text: &[u8]) -> u8 {
    let ends: Vec<u8> = text.iter().copied().skip_while(|byte| !b"\r\n".contains(byte)).collect();
    if ends.is_empty() || ends.iter().find(|&&byte| byte != b'\r') == Some(&b'\n') { b'\n' } else { b'\r' }
}

fn read_plainly(text: &[u8]) -> Option<Plain> {
    let line_end = line_end_of(text);
    if line_end == b'\r' && text.contains(&b'\n') {
        return None;
    }
    let mut open: Option<(Option<String>, Vec<u8>)> = None;
    let mut found = Plain { records: Vec::new(), num_faults: 0 };
    let mut names = HashSet::new();
    let end = |open: Option<(Option<String>, Vec<u8>)>, found: &mut Plain, names: &mut HashSet<String>| {
        match open {
            Some((Some(name), letters)) => {
                names.insert(name.clone());
                found.records.push((name, letters));
            }
            Some((None, _)) => found.num_faults += 1,
            None => {}
        }
    };
    for line in text.split(|&byte| byte == line_end) {
        let unmarked = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if let Some(header) = unmarked.strip_prefix(b">") {
            end(open.take(), &mut found, &mut names);
            let name = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty() && name.len() <= 4096);
            let name = name.filter(|name| !names.contains(*name)).map(str::to_owned);
            open = Some((name, Vec::new()));
            continue;
        }
        if line == BYTE_ORDER_MARK {
            continue;
        }
        let is_letter = |byte: &u8| !b" \t\r".contains(byte);
        let line = &line[..line.iter().rposition(is_letter).map_or(0, |last| last + 1)];
        if line.is_empty() {
            continue;
        }
        let (name, letters) = open.as_mut()?;
        letters.extend(line);
        if line.iter().any(|&byte| CODE_OF_BYTE[byte as usize] == INVALID) {
            *name = None;
        }
    }
    end(open, &mut found, &mut names);
    Some(found)
}

/// The index as `samtools faidx` makes it of a text without faults; lines of other lengths are not told.
fn fai_of(case: &Case, text: &[u8]) -> Vec<u8> {
    let line_end = line_end_of(text);
    let mut rows: Vec<(String, [u64; 4])> = Vec::new();
    let mut offset = 0;
    for line in text.split_inclusive(|&byte| byte == line_end) {
        offset += line.len() as u64;
        let unmarked = line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line);
        if let Some(header) = unmarked.strip_prefix(b">") {
            let name = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
            rows.push((String::from_utf8_lossy(name).into_owned(), [0, offset, 0, 0]));
        } else if let Some((_, [length_bp, _, line_bases, line_width])) = rows.last_mut() {
            let letters = line.trim_ascii_end().len() as u64;
            *length_bp += letters;
            if *line_bases == 0 {
                (*line_bases, *line_width) = (letters, line.len() as u64);
            }
        }
    }
    let Some((numbers, edits)) = &case.fai else { return Vec::new() };
    for (row, column, value) in numbers {
        if !rows.is_empty() {
            let row = row.index(rows.len());
            rows[row].1[*column - 1] = *value;
        }
    }
    let lines = rows.iter().map(|(name, [a, b, c, d])| format!("{name}\t{a}\t{b}\t{c}\t{d}\n"));
    edited(lines.collect::<String>().into_bytes(), edits)
}

/// Letters of a record, or the error.
fn letters_of(genome: &Genome, record: usize) -> Result<(Vec<u8>, Vec<bool>), Error> {
    let length_bp = genome.records()[record].length_bp;
    let (record, range) = genome.check_range(record as i64, 0..length_bp as i64)?;
    let (mut ids, mut repeats) = (vec![0; length_bp as usize], vec![false; length_bp as usize]);
    genome.fetch(record, range, false, &mut ids, &mut repeats)?;
    Ok((ids, repeats))
}

fn check(case: &Case, path: &Path) -> Result<(), TestCaseError> {
    let text = text_of(case);
    let (packed, gzi) = packed_of(case, &text);
    let fai = fai_of(case, &text);
    let (fai_path, gzi_path) = (path.with_added_extension("fai"), path.with_added_extension("gzi"));
    std::fs::write(path, &packed).unwrap();
    for (index_path, index, is_there) in
        [(&fai_path, &fai, case.fai.is_some()), (&gzi_path, &gzi, case.gzi.is_some())]
    {
        if is_there {
            std::fs::write(index_path, index).unwrap();
        } else {
            let _ = std::fs::remove_file(index_path);
        }
    }
    let size = packed.len().max(text.len()) + fai.len() + gzi.len();
    let before = IN_USE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let opening = Opening { skips_faults: case.skips_faults, ..Opening::default() };
    let opened = Genome::open(path, &opening);
    prop_assert!(PEAK.load(Relaxed) - before <= CONSTANT_MEMORY + 10 * size, "memory");

    let mut unpacked = Vec::new();
    let is_packed = packed.starts_with(b"\x1f\x8b");
    let is_whole = if !is_packed {
        unpacked.clone_from(&packed);
        true
    } else if case.packed_edits.is_empty() {
        unpacked.clone_from(&text);
        true
    } else {
        MultiGzDecoder::new(&*packed).read_to_end(&mut unpacked).is_ok()
    };
    let plain = read_plainly(&unpacked)
        .filter(|plain| !plain.records.is_empty() && (case.skips_faults || plain.num_faults == 0));
    let has_index = case.gzi.is_some() || case.fai.is_some() && !case.skips_faults;
    let must_open = is_whole && plain.is_some() && !has_index && case.packed_edits.is_empty();
    let genome = match opened {
        Ok(genome) => genome,
        Err(error) => {
            prop_assert!(!must_open, "{error}");
            prop_assert!(matches!(&error, Error::File { .. }), "{error:?}");
            prop_assert!(error.to_string().len() < 1000);
            return Ok(());
        }
    };
    let read: Vec<_> = (0..genome.records().len()).map(|record| letters_of(&genome, record)).collect();
    let is_read = read.iter().all(Result::is_ok);
    prop_assert!(is_read || has_index, "what a pass has checked is read");
    // Several numbers that are wrong and agree make an index of other text.
    let may_mislead = case.gzi.as_ref().is_some_and(|(_, edits)| !edits.is_empty());
    if !is_read || !is_whole || may_mislead {
        return Ok(());
    }
    let Some(plain) = plain else {
        prop_assert!(has_index, "what a plain reading refuses is opened");
        return Ok(());
    };
    let names: Vec<&String> = genome.records().iter().map(|record| &record.name).collect();
    prop_assert_eq!(names, plain.records.iter().map(|(name, _)| name).collect::<Vec<_>>());
    if case.skips_faults {
        prop_assert_eq!(genome.skipped().len(), plain.num_faults);
    }
    for (index, ((_, letters), read)) in plain.records.iter().zip(read).enumerate() {
        let (ids, repeats) = read.unwrap();
        let codes: Vec<u8> = letters.iter().map(|&letter| CODE_OF_BYTE[letter as usize]).collect();
        prop_assert_eq!(&ids, &codes.iter().map(|&code| id_of_code(code)).collect::<Vec<_>>());
        prop_assert_eq!(&repeats, &codes.iter().map(|&code| is_repeat(code)).collect::<Vec<_>>());
        let start = case.range.0.index(ids.len() + 1);
        let end = start + case.range.1.index(ids.len() - start + 1);
        let (mut part, mut flags) = (vec![0; end - start], vec![false; end - start]);
        let range = start as u64..end as u64;
        // Reading on from an earlier block passes by a wrong index.
        if let Err(error) = genome.fetch(index, range, case.reverse_complement, &mut part, &mut flags) {
            prop_assert!(has_index, "{error}");
            continue;
        }
        if case.reverse_complement {
            part.reverse();
            flags.reverse();
            for id in &mut part {
                *id = COMPLEMENT[*id as usize];
            }
        }
        prop_assert_eq!(&part, &ids[start..end]);
        prop_assert_eq!(&flags, &repeats[start..end]);
    }
    Ok(())
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn mutated_genomes() {
    let (cases, seed) = (setting("FUZZ", 100), setting("FUZZ_SEED", 0));
    eprintln!("{cases} genomes, FUZZ_SEED={seed}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        Config { cases: u32::try_from(cases).unwrap(), failure_persistence: None, ..Config::default() };
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.fa");
    let start = Instant::now();
    let result = TestRunner::new_with_rng(config, rng).run(&case(), |case| check(&case, &path));
    if let Err(error) = result {
        panic!("FUZZ_SEED={seed}: {error}");
    }
    eprintln!("{cases} genomes in {:.0?}", start.elapsed());
}
