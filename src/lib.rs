//! MeshStore: one binary per host that gives functions at the edge, in the fog and in the cloud
//! a shared, fast, private place for data and state.
//!
//! `ARCHITECTURE.md` has the map. A module may use only modules of lower layers;
//! `tests/architecture.rs` reads every path in this tree and fails on a wrong arrow.

// Layer 0: words, errors, limits, configuration. No input or output.
pub mod config;
pub mod error;
pub mod limits;
pub mod model;
mod private;
pub mod sys;
pub mod telemetry;
pub mod wire;

// Layer 1: mechanisms that know nothing of each other (tiers may use the store).
pub mod bus;
pub mod client;
pub mod nfr;
pub mod store;
pub mod tiers;

// Layer 2: what is decided above the mechanisms.
pub mod control;

// Layer 3: the conversation of the actors, and that of the containers of a site.
pub mod actors;
pub mod site;

// Layer 5: doors.
pub mod cli;
pub mod gateway;

// Layer 6: the composition root.
pub mod node;

// The fuzz targets' properties, so that `make test` holds the seeds against them; see docs/fuzzing.md.
#[cfg(test)]
extern crate self as meshstore;
#[cfg(test)]
#[path = "../tests/common/nats_server.rs"]
mod nats_server;
#[cfg(test)]
mod seeds;

pub use error::{Error, Kind, Result};
