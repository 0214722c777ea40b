//! The servers that are measured: the container, and those it stands beside. One file each.

pub mod bare;
pub mod flow;
pub mod mesh;
pub mod nats;
pub mod nginx;
pub mod object_store;
pub mod redis;
pub mod tcp;

/// Threads that serve HTTP, the same number for all: what the container takes by default.
pub fn http_workers() -> usize {
    crate::machine::cores().min(4)
}
