//! The properties that must hold whatever bytes come in, one module a target. The fuzzer looks for bytes that break
//! them (`make fuzz`); the library's own tests hold the seeds in `corpus/` against them (`make test`).
//!
//! Inputs are read as they lie there, line by line where the format has lines: a seed can be written by hand, and
//! a finding can be read.

pub mod address;
pub mod batch;
pub mod common;
pub mod config;
pub mod frame;
pub mod headers;
pub mod journal;
pub mod keyring;
pub mod range;
pub mod row;
pub mod token;

/// A target's name and the check of one input.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 10] = [
    ("address", address::check),
    ("batch", batch::check),
    ("config", config::check),
    ("frame", frame::check),
    ("headers", headers::check),
    ("journal", journal::check),
    ("keyring", keyring::check),
    ("range", range::check),
    ("row", row::check),
    ("token", token::check),
];
