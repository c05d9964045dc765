//! The Rust core of dnachunk: kernels on slices in [`ops`], genome files in `genome`, bgzip files to write in
//! [`bgzip`], and, with the feature `python`, the module `dnachunk._rust`.

pub mod alphabet;
pub mod bgzip;
pub mod error;
pub mod flag;
pub mod float;
pub mod genome;
pub mod groups;
pub mod indexed_rows;
mod library;
pub mod ops;
pub mod parallel;
pub mod rows;
pub mod runs;
pub mod simd;
#[cfg(feature = "python")]
pub mod tensor;
#[cfg(feature = "python")]
mod torch_abi;
pub mod windows;

#[cfg(feature = "python")]
#[pyo3::pymodule(name = "_rust")]
mod python {
    #[pymodule_export]
    use crate::bgzip::binding::PyBgzipWriter;
    #[pymodule_export]
    use crate::genome::binding::{PyGenome, foreign_file};
    #[pymodule_export]
    use crate::ops::basic_units::binding::basic_units_forward;
    #[pymodule_export]
    use crate::ops::boundary_routing::binding::{boundary_routing_backward, boundary_routing_forward};
    #[pymodule_export]
    use crate::ops::causal_conv::binding::{causal_conv_backward, causal_conv_forward};
    #[pymodule_export]
    use crate::ops::chunk_pool::binding::{chunk_pool_backward, chunk_pool_forward};
    #[pymodule_export]
    use crate::ops::dechunk::binding::{dechunk_backward, dechunk_forward};
    #[pymodule_export]
    use crate::ops::decode_dna::binding::decode_dna;
    #[pymodule_export]
    use crate::ops::deformable_conv::binding::{deformable_conv_backward, deformable_conv_forward};
    #[pymodule_export]
    use crate::ops::encode_dna::binding::encode_dna;
    #[pymodule_export]
    use crate::ops::global_match::binding::global_match_forward;
    #[pymodule_export]
    use crate::ops::neighbor_cosine::binding::{neighbor_cosine_backward, neighbor_cosine_forward};
    #[pymodule_export]
    use crate::ops::neighbor_match::binding::neighbor_match_forward;
    #[pymodule_export]
    use crate::ops::rms_norm::binding::{rms_norm_backward, rms_norm_forward};
    #[pymodule_export]
    use crate::ops::rotary::binding::{rotary_backward, rotary_forward};
    #[pymodule_export]
    use crate::ops::selective_scan::binding::{selective_scan_backward, selective_scan_forward};
    #[pymodule_export]
    use crate::ops::soft_assignment::binding::{soft_assignment_backward, soft_assignment_forward};
    #[pymodule_export]
    use crate::ops::soft_merge::binding::{soft_merge_backward, soft_merge_forward};
    #[pymodule_export]
    use crate::ops::swiglu::binding::{swiglu_backward, swiglu_forward};
    #[pymodule_export]
    use crate::ops::token_merge::binding::{token_merge_backward, token_merge_forward};
    #[pymodule_export]
    use crate::ops::token_sum::binding::token_sum_forward;
    #[pymodule_export]
    use crate::ops::token_unmerge::binding::token_unmerge_forward;
    #[pymodule_export]
    use crate::ops::unit_gather::binding::{unit_gather_backward, unit_gather_forward};
    #[pymodule_export]
    use crate::ops::unit_scatter::binding::{unit_scatter_backward, unit_scatter_forward};
    #[pymodule_export]
    use crate::ops::window_attention::binding::{window_attention_backward, window_attention_forward};
    #[pymodule_export]
    use crate::ops::window_center::binding::window_center_forward;

    #[pymodule_init]
    fn init(module: &pyo3::Bound<'_, pyo3::types::PyModule>) -> pyo3::PyResult<()> {
        crate::parallel::note_process();
        crate::torch_abi::load(module.py())
    }

    /// What this library was built from: `version`, `profile`, `target`, and the range of `torch` it runs with.
    #[pyo3::pyfunction]
    fn build_info() -> std::collections::BTreeMap<&'static str, String> {
        let (major, minor) = crate::torch_abi::OLDEST_TORCH;
        std::collections::BTreeMap::from([
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("torch", format!(">={major}.{minor}")),
            ("profile", if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned()),
            ("target", env!("DNACHUNK_TARGET").to_owned()),
        ])
    }
}
