//! A real container in a process of its own: killed, traced, overloaded.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod harness;
mod kill;
mod stream;
mod trace;
