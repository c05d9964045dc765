//! CPU kernel of [`decode_dna`](super).

use crate::alphabet::{CASE, FIRST_BASE_ID, LETTERS, N_ID, SPECIAL_TOKENS};
use crate::flag::Flag;

/// Writes ids as text, lower case where `repeat_mask` is set, or finds the first that is no id.
pub fn decode(ids: &[u8], repeat_mask: Option<&[Flag]>) -> Result<String, usize> {
    let mut text = Vec::with_capacity(ids.len());
    for (position, &id) in ids.iter().enumerate() {
        match id {
            FIRST_BASE_ID..=N_ID => {
                let case = if repeat_mask.is_some_and(|flags| flags[position].is_set()) { CASE } else { 0 };
                text.push(LETTERS[(id - FIRST_BASE_ID) as usize] | case);
            }
            0..FIRST_BASE_ID => text.extend_from_slice(SPECIAL_TOKENS[id as usize].as_bytes()),
            _ => return Err(position),
        }
    }
    // SAFETY: letters and special tokens are ASCII.
    Ok(unsafe { String::from_utf8_unchecked(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decode_names_the_first_id_that_is_none() {
        assert_eq!(decode(&[5, 4, 9], Some(&[true, true, false].map(Flag::new))), Ok("a[MASK]N".to_owned()));
        assert_eq!(decode(&[5, 10, 11], None), Err(1));
    }
}
