//! The operations, one folder each: `mod.rs` the contract, `cpu.rs` the kernel on slices, `binding.rs` the
//! Python entry points. None uses another: what two share is a module beside this one.

pub mod basic_units;
pub mod boundary_routing;
pub mod causal_conv;
pub mod chunk_pool;
pub mod dechunk;
pub mod decode_dna;
pub mod deformable_conv;
pub mod encode_dna;
pub mod global_match;
pub mod neighbor_cosine;
pub mod neighbor_match;
pub mod rms_norm;
pub mod rotary;
pub mod selective_scan;
pub mod soft_assignment;
pub mod soft_merge;
pub mod swiglu;
pub mod token_merge;
pub mod token_sum;
pub mod token_unmerge;
pub mod unit_gather;
pub mod unit_scatter;
pub mod window_attention;
pub mod window_center;

#[cfg(test)]
mod tests {
    use super::decode_dna::cpu::decode;
    use super::encode_dna::cpu::Layout;
    use crate::flag::Flag;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decoding_gives_back_what_was_encoded(
            texts in proptest::collection::vec("([ACGTNacgtn]|\\[PAD\\]|\\[UNK\\]|\\[CLS\\]|\\[SEP\\]|\\[MASK\\]){0,80}", 0..6),
            threads in 1..4_usize,
        ) {
            let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
            let layout = Layout::new(&bytes, threads);
            let (mut ids, mut repeat_mask) = (vec![77; layout.total()], vec![true; layout.total()]);
            layout.encode(&mut ids, &mut repeat_mask).unwrap();
            for (text, range) in texts.iter().zip(layout.offsets.windows(2)) {
                let range = range[0]..range[1];
                let flags: Vec<Flag> = repeat_mask[range.clone()].iter().copied().map(Flag::new).collect();
                prop_assert_eq!(&decode(&ids[range], Some(&flags)).unwrap(), text);
            }
        }
    }
}
