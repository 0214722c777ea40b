//! The control plane: what is to hold, decided here and carried out by the actors.

mod collections;
mod form;

pub use collections::{Collection, Collections};
pub use form::{FIELDS, Field, from_json, time, to_json};
