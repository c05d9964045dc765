//! CPU kernels of [`encode_dna`](super).

use crate::alphabet::{CASE, CODE_OF_BYTE, INVALID, SPECIAL_TOKENS, id_of_code, is_repeat};
use crate::parallel::{self, Disjoint};
use crate::simd::vectorized;
use macro_rules_attribute::apply;

/// Bytes of a sequence that one task encodes.
const CHUNK: usize = 1 << 18;

/// Bytes whose ids, flags and text stay in the first-level cache.
const BLOCK: usize = 8192;

/// Fewer bytes than this are encoded before a second thread has started.
const MIN_PARALLEL: usize = 1 << 15;

/// A byte that is neither a letter of the alphabet nor part of a special token.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Index of the sequence.
    pub sequence: usize,
    /// Index of the byte in the sequence.
    pub position: usize,
    /// The byte.
    pub byte: u8,
}

/// Where every sequence's ids go, known before the first is written.
pub struct Layout<'a> {
    sequences: &'a [&'a [u8]],
    chunks: Vec<Chunk>,
    threads: usize,
    /// `[B + 1]`: sequence `b` becomes the ids `offsets[b]..offsets[b + 1]`.
    pub offsets: Vec<usize>,
}

struct Chunk {
    sequence: usize,
    text: std::ops::Range<usize>,
    ids: std::ops::Range<usize>,
}

impl<'a> Layout<'a> {
    /// Counts the ids of every sequence.
    #[must_use]
    pub fn new(sequences: &'a [&'a [u8]], threads: usize) -> Self {
        let total_bytes: usize = sequences.iter().map(|text| text.len()).sum();
        let threads = if total_bytes < MIN_PARALLEL { 1 } else { threads };
        let mut chunks = Vec::with_capacity(sequences.len() + total_bytes / CHUNK);
        for (sequence, text) in sequences.iter().enumerate() {
            let mut start = 0;
            while start < text.len() {
                let end =
                    if text.len() - start > CHUNK { cut_before(text, start + CHUNK) } else { text.len() };
                chunks.push(Chunk { sequence, text: start..end, ids: 0..0 });
                start = end;
            }
        }
        {
            let tasks = chunks.len();
            let shared = Disjoint::new(&mut chunks);
            parallel::for_each(threads, tasks, |index| {
                // SAFETY: each task takes the chunk of its own index.
                let chunk = unsafe { &mut shared.part(index..index + 1)[0] };
                chunk.ids = 0..count_ids(&sequences[chunk.sequence][chunk.text.clone()]);
            });
        }
        let mut offsets = vec![0; sequences.len() + 1];
        let mut total = 0;
        for chunk in &mut chunks {
            chunk.ids = total..total + chunk.ids.len();
            total = chunk.ids.end;
            offsets[chunk.sequence + 1] = total;
        }
        for index in 1..offsets.len() {
            offsets[index] = offsets[index].max(offsets[index - 1]);
        }
        Self { sequences, chunks, threads, offsets }
    }

    /// Number of ids of all sequences.
    #[must_use]
    pub fn total(&self) -> usize {
        self.chunks.last().map_or(0, |chunk| chunk.ids.end)
    }

    /// Writes all ids and repeat flags, or finds the first unreadable byte.
    pub fn encode(&self, ids: &mut [u8], repeat_mask: &mut [bool]) -> Result<(), Unreadable> {
        let mut failures = vec![None; self.chunks.len()];
        {
            let failures = Disjoint::new(&mut failures);
            let (ids, repeat_mask) = (Disjoint::new(ids), Disjoint::new(repeat_mask));
            parallel::for_each(self.threads, self.chunks.len(), |index| {
                let chunk = &self.chunks[index];
                let text = &self.sequences[chunk.sequence][chunk.text.clone()];
                // SAFETY: the chunks' ids are disjoint, and so are the tasks' indices.
                let (ids, repeat_mask, failure) = unsafe {
                    let failure = &mut failures.part(index..index + 1)[0];
                    (ids.part(chunk.ids.clone()), repeat_mask.part(chunk.ids.clone()), failure)
                };
                *failure = encode_text(text, ids, repeat_mask).err();
            });
        }
        let first = self.chunks.iter().zip(failures).find_map(|(chunk, failure)| Some((chunk, failure?)));
        first.map_or(Ok(()), |(chunk, offset)| {
            let position = chunk.text.start + offset;
            let byte = self.sequences[chunk.sequence][position];
            Err(Unreadable { sequence: chunk.sequence, position, byte })
        })
    }
}

/// The nearest place, at or before `position`, where a cut leaves every special token whole.
fn cut_before(text: &[u8], position: usize) -> usize {
    const LONGEST: usize = SPECIAL_TOKENS[4].len();
    let window = position - (LONGEST - 1)..position;
    text[window.clone()].iter().rposition(|&byte| byte == b'[').map_or(position, |found| window.start + found)
}

/// Start, id and number of bytes of the first special token.
fn first_special(text: &[u8]) -> Option<(usize, u8, usize)> {
    // `contains` compares many bytes at once, `position` one by one.
    if !text.contains(&b'[') {
        return None;
    }
    let mut from = 0;
    while let Some(found) = text[from..].iter().position(|&byte| byte == b'[') {
        let start = from + found;
        let rest = &text[start..];
        if let Some(id) = SPECIAL_TOKENS.iter().position(|token| rest.starts_with(token.as_bytes())) {
            return Some((start, id as u8, SPECIAL_TOKENS[id].len()));
        }
        from = start + 1;
    }
    None
}

fn count_ids(mut text: &[u8]) -> usize {
    let mut count = 0;
    while let Some((start, _, len)) = first_special(text) {
        count += start + 1;
        text = &text[start + len..];
    }
    count + text.len()
}

fn encode_text(text: &[u8], ids: &mut [u8], repeat_mask: &mut [bool]) -> Result<(), usize> {
    let (mut read, mut written) = (0, 0);
    while let Some((start, id, len)) = first_special(&text[read..]) {
        let letters = written..written + start;
        encode_letters(
            &text[read..read + start],
            &mut ids[letters.clone()],
            &mut repeat_mask[letters.clone()],
        )
        .map_err(|offset| read + offset)?;
        ids[letters.end] = id;
        repeat_mask[letters.end] = false;
        read += start + len;
        written = letters.end + 1;
    }
    encode_letters(&text[read..], &mut ids[written..], &mut repeat_mask[written..])
        .map_err(|offset| read + offset)
}

fn encode_letters(text: &[u8], ids: &mut [u8], repeat_mask: &mut [bool]) -> Result<(), usize> {
    let blocks = text.chunks(BLOCK).zip(ids.chunks_mut(BLOCK)).zip(repeat_mask.chunks_mut(BLOCK));
    for (index, ((text, ids), repeat_mask)) in blocks.enumerate() {
        if !encode_common(text, ids, repeat_mask) {
            encode_any(text, ids, repeat_mask).map_err(|offset| index * BLOCK + offset)?;
        }
    }
    Ok(())
}

/// Encodes the letters that nearly every sequence is made of; false if there were others.
///
/// Compares and selects on bytes, with no loop over the letters, compile to whole vector registers (8 GB/s on
/// a core against 0.3); a look-up in a table goes one byte at a time.
#[apply(vectorized!)]
fn encode_common(text: &[u8], ids: &mut [u8], repeat_mask: &mut [bool]) -> bool {
    let mut others = 0;
    for ((&byte, id), repeat) in text.iter().zip(ids).zip(repeat_mask) {
        let upper = byte & !CASE;
        let if_is = |letter: u8| if upper == letter { CODE_OF_BYTE[letter as usize] } else { 0 };
        let found = if_is(b'A') | if_is(b'C') | if_is(b'G') | if_is(b'T') | if_is(b'U') | if_is(b'N');
        others |= u8::from(found == 0);
        *id = found;
        *repeat = byte & CASE != 0;
    }
    others == 0
}

fn encode_any(text: &[u8], ids: &mut [u8], repeat_mask: &mut [bool]) -> Result<(), usize> {
    for (position, ((&byte, id), repeat)) in text.iter().zip(ids).zip(repeat_mask).enumerate() {
        let code = CODE_OF_BYTE[byte as usize];
        if code == INVALID {
            return Err(position);
        }
        *id = id_of_code(code);
        *repeat = is_repeat(code);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Encoded = (Vec<u8>, Vec<bool>, Vec<usize>);

    fn encode(sequences: &[&[u8]], threads: usize) -> Result<Encoded, Unreadable> {
        let layout = Layout::new(sequences, threads);
        let (mut ids, mut repeat_mask) = (vec![77; layout.total()], vec![true; layout.total()]);
        layout.encode(&mut ids, &mut repeat_mask)?;
        Ok((ids, repeat_mask, layout.offsets))
    }

    #[test]
    fn letters_case_and_special_tokens() {
        let (ids, repeat_mask, offsets) = encode(&[b"AcGU", b"", b"n[MASK]r[CLS]"], 1).unwrap();
        assert_eq!(ids, [5, 6, 7, 8, 9, 4, 9, 2]);
        assert_eq!(repeat_mask, [false, true, false, false, true, false, true, false]);
        assert_eq!(offsets, [0, 4, 4, 8]);
    }

    #[test]
    fn the_first_unreadable_byte_is_named() {
        let mut long = vec![b'a'; 3 * CHUNK];
        long[2 * CHUNK + 5] = b'-';
        long[3 * CHUNK - 1] = b'!';
        let failure = encode(&[b"ACGT", &long, b"?"], 2).unwrap_err();
        assert_eq!(failure, Unreadable { sequence: 1, position: 2 * CHUNK + 5, byte: b'-' });
        let failure = encode(&[b"[MASK]AC[mask]"], 1).unwrap_err();
        assert_eq!(failure, Unreadable { sequence: 0, position: 8, byte: b'[' });
    }

    #[test]
    fn special_tokens_across_the_cut_of_a_chunk_stay_whole() {
        for shift in 0..8 {
            let mut text = vec![b'C'; CHUNK - 7 + shift];
            text.extend_from_slice(b"[MASK][PAD][SEP]");
            text.extend(vec![b't'; CHUNK]);
            let (ids, repeat_mask, offsets) = encode(&[&text], 2).unwrap();
            let at = CHUNK - 7 + shift;
            assert_eq!(ids[at - 1..at + 4], [6, 4, 0, 3, 8], "{shift}");
            assert_eq!(repeat_mask[at - 1..at + 4], [false, false, false, false, true]);
            assert_eq!(offsets, [0, at + 3 + CHUNK]);
        }
    }
}
