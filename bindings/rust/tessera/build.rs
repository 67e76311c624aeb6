//! Lets this crate's own tests and examples find the library that TESSERA_LIB_DIR named, without
//! LD_LIBRARY_PATH. Programs that use the crate find an installed one as any program does.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if let Ok(folder) = std::env::var("DEP_TESSERA_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder);
    }
}
