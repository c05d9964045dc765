//! Bakes what `build_info` tells into the library.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // The functions under `tch` are this library's own, whatever else in the process is built on `tch`.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
    let target = std::env::var("TARGET").unwrap_or_default();
    println!("cargo:rustc-env=DNACHUNK_TARGET={target}");
}
