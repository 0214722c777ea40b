//! The doors: HTTP, and the same operations on the subjects of a bus (`subjects/`). Requests become the structs of
//! `actors/`, and answers HTTP or messages.
//!
//! Nothing outside this folder names actix-web, and nothing in here decides what an answer is: that
//! is the [`Core`]'s part. Only `node/` builds the door. It parses paths, checks who may ask, bounds
//! heads, bodies and waits, and maps every error by one `match` in `problem.rs`.

mod access;
pub mod admin;
mod api;
mod audit;
mod authority;
mod batch;
mod collections;
mod core;
mod date;
mod deadline;
mod digest;
mod events;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod headers;
mod health;
mod linger;
mod locate;
mod metrics;
mod objects;
mod path;
mod places;
mod policies;
mod problem;
mod rate;
mod reply;
mod route;
mod server;
mod subjects;
mod ticket;
mod tls;
mod transfers;
mod visit;

pub use self::core::Core;
pub use admin::Admin;
pub use authority::Authority;
pub use server::{Door, GatewayOptions, serve};
pub use subjects::{BusThread, Names, Subjects};
pub use tls::Tls;
