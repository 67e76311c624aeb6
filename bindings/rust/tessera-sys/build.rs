//! Finds libtessera: in TESSERA_LIB_DIR, else by pkg-config. It must not need another crate.

use std::env;
use std::process::Command;

fn main() {
    for name in ["TESSERA_LIB_DIR", "PKG_CONFIG", "PKG_CONFIG_PATH"] {
        println!("cargo:rerun-if-env-changed={}", name);
    }
    println!("cargo:rerun-if-changed=build.rs");
    match env::var("TESSERA_LIB_DIR") {
        Ok(folder) => {
            println!("cargo:rustc-link-search=native={}", folder);
            // The crate `tessera` makes a run path of it for its own tests and examples.
            println!("cargo:lib_dir={}", folder);
        }
        Err(_) => by_pkg_config(),
    }
    println!("cargo:rustc-link-lib=dylib=tessera");
}

fn by_pkg_config() {
    let program = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let found = Command::new(&program).args(["--libs-only-L", "tessera >= 0.1"]).output();
    match found {
        Ok(output) if output.status.success() => {
            for flag in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                if let Some(folder) = flag.strip_prefix("-L") {
                    println!("cargo:rustc-link-search=native={}", folder);
                }
            }
        }
        // Documentation and `cargo check` need no library; a program that links says what is missing.
        _ => println!(
            "cargo:warning=libtessera was not found by {}: install it, or set TESSERA_LIB_DIR to the folder of \
             libtessera.so",
            program
        ),
    }
}
