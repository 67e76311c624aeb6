//! Declarations of Tessera's C API, as `tessera.h` has them: its comments are here too. Programs use the crate
//! `tessera`, which is safe; this one knows nothing of it.
#![no_std]
#![allow(non_camel_case_types)]
#![warn(missing_docs)]

extern crate std;

mod bindings;

pub use bindings::*;
