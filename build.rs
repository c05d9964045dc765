//! Bakes what `build_info` tells into the library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // torch-sys 0.24.0 refuses to build against any other torch.
    println!("cargo:rustc-env=DNACHUNK_TORCH_VERSION=2.11.0");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=DNACHUNK_TARGET={target}");
}
