//! Bytes to ids and back: the one table of the alphabet, in Rust.
//!
//! Ids are `[PAD]=0 [UNK]=1 [CLS]=2 [SEP]=3 [MASK]=4 A=5 C=6 G=7 T=8 N=9`. Upper and lower case read alike,
//! `U` as `T`, the other IUPAC codes as `N`; lower case is soft-masking and sets [`REPEAT_FLAG`].

/// Special tokens as they are written in a string; the index is the id.
pub const SPECIAL_TOKENS: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

/// Letters of the bases; the first has the id [`FIRST_BASE_ID`].
pub const LETTERS: [u8; 5] = *b"ACGTN";

/// Id of `A`; `C`, `G`, `T`, `N` follow.
pub const FIRST_BASE_ID: u8 = 5;

/// Id of `N`, the last one.
pub const N_ID: u8 = 9;

/// The bit in which lower and upper case differ.
pub const CASE: u8 = b'a' ^ b'A';

/// Number of ids.
pub const NUM_IDS: usize = 10;

/// Bit of a code that says the base was written in lower case.
pub const REPEAT_FLAG: u8 = 0x80;

/// Bit of a code that only [`INVALID`] has: the union of many codes tells whether one of them was invalid.
pub const INVALID_FLAG: u8 = 0x40;

/// Code of a byte that is no letter of the alphabet.
pub const INVALID: u8 = INVALID_FLAG;

/// Code of every byte: a base's id, with [`REPEAT_FLAG`] for lower case, or [`INVALID`].
pub const CODE_OF_BYTE: [u8; 256] = code_of_byte();

/// Id of the complementary base: `T G C A N` for `A C G T N`; special ids are their own.
pub const COMPLEMENT: [u8; NUM_IDS] = [0, 1, 2, 3, 4, 8, 7, 6, 5, 9];

const fn code_of_byte() -> [u8; 256] {
    let mut codes = [INVALID; 256];
    let letters = b"ACGTUNRYSWKMBDHV";
    let ids = [5, 6, 7, 8, 8, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];
    let mut index = 0;
    while index < letters.len() {
        codes[letters[index] as usize] = ids[index];
        codes[letters[index].to_ascii_lowercase() as usize] = ids[index] | REPEAT_FLAG;
        index += 1;
    }
    codes
}

/// The id of a valid code.
#[inline(always)]
#[must_use]
pub const fn id_of_code(code: u8) -> u8 {
    code & !REPEAT_FLAG
}

/// Whether a valid code is of a lower-case letter.
#[inline(always)]
#[must_use]
pub const fn is_repeat(code: u8) -> bool {
    code & REPEAT_FLAG != 0
}

/// Position of the first byte that is no letter of the alphabet.
#[must_use]
pub fn first_invalid(bytes: &[u8]) -> Option<usize> {
    // No branch a byte: only a block that holds an invalid code is searched.
    const BLOCK: usize = 4096;
    bytes.chunks(BLOCK).enumerate().find_map(|(block, bytes)| {
        let union = bytes.iter().fold(0, |union, &byte| union | CODE_OF_BYTE[byte as usize]);
        if union & INVALID_FLAG == 0 {
            return None;
        }
        let position = bytes.iter().position(|&byte| CODE_OF_BYTE[byte as usize] == INVALID)?;
        Some(block * BLOCK + position)
    })
}

/// A byte for a message: its value, and its character where it has one.
#[must_use]
pub fn describe_byte(byte: u8) -> String {
    if byte.is_ascii_graphic() { format!("0x{byte:02x} '{}'", byte as char) } else { format!("0x{byte:02x}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &[u8]) -> Vec<u8> {
        text.iter().map(|&byte| id_of_code(CODE_OF_BYTE[byte as usize])).collect()
    }

    #[test]
    fn letters_and_their_cases() {
        assert_eq!(ids(b"ACGTUN"), [5, 6, 7, 8, 8, 9]);
        assert_eq!(ids(b"acgtun"), ids(b"ACGTUN"));
        assert_eq!(ids(b"RYSWKMBDHVryswkmbdhv"), [N_ID; 20]);
        assert!(b"acgtunr".iter().all(|&byte| is_repeat(CODE_OF_BYTE[byte as usize])));
        assert!(b"ACGTUNR".iter().all(|&byte| !is_repeat(CODE_OF_BYTE[byte as usize])));
    }

    #[test]
    fn every_other_byte_is_invalid() {
        let valid = b"ACGTUNRYSWKMBDHVacgtunryswkmbdhv";
        for byte in 0..=u8::MAX {
            assert_eq!(CODE_OF_BYTE[byte as usize] == INVALID, !valid.contains(&byte), "{byte}");
        }
    }

    #[test]
    fn complement_pairs_bases() {
        assert_eq!(COMPLEMENT.map(|id| COMPLEMENT[id as usize]), std::array::from_fn(|id| id as u8));
        let letter = |id: u8| LETTERS[(id - FIRST_BASE_ID) as usize];
        let pairs: Vec<u8> = ids(b"ACGTN").iter().map(|&id| letter(COMPLEMENT[id as usize])).collect();
        assert_eq!(pairs, b"TGCAN");
    }

    #[test]
    fn first_invalid_across_blocks() {
        let mut bytes = vec![b'a'; 10_000];
        assert_eq!(first_invalid(&bytes), None);
        bytes[9_999] = b'-';
        assert_eq!(first_invalid(&bytes), Some(9_999));
        bytes[4_096] = b'>';
        assert_eq!(first_invalid(&bytes), Some(4_096));
    }
}
