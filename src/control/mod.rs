//! The control plane: what is to hold, decided here by plain structs that get a clock and a source of
//! randomness, and carried out on higher layers.

mod collections;
mod form;
mod keyfile;
mod tokens;

pub use collections::{Collection, Collections, to_record};
pub use form::{FIELDS, Field, bytes, from_json, time, to_json};
pub use keyfile::{Imported, KeyFile};
pub use tokens::{NewToken, Secret, Tokens};
