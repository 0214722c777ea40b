//! The composition root: builds a container from its configuration, runs it, and takes it down.

mod admin;
mod authority;
mod boot;
mod bus;
mod core;
mod demo;
mod ground;
mod keys;
mod metrics;
mod overview;
mod pieces;
mod process;
mod running;
mod scrub;
mod serve;
mod shared;
mod simulate;
mod site;
mod tls;

pub use boot::{Container, Parts, Sizes};
pub use demo::demo;
pub use serve::serve;
pub use simulate::{Simulation, simulate};
