//! A container as its users meet it: a process of its own with an HTTP door and a command line.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

mod admin;
mod cloud;
mod collections;
mod conditions;
mod doors;
mod durability;
mod harness;
mod kill;
mod limits;
mod safety;
mod streaming;
mod tls;
mod upheaval;
