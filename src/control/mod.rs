//! The control plane: what is to hold, decided here by plain structs that get a clock and a source of
//! randomness, and carried out on higher layers.

mod collections;
mod form;
mod keyfile;
mod policies;
mod rule_form;
mod rulings;
mod tokens;
mod verdict;

pub use collections::{Collection, Collections, to_record};
pub use form::{FIELDS, Field, bytes, from_json, time, to_json};
pub use keyfile::{Imported, KeyFile};
pub use policies::{Policies, Policy};
pub use rule_form::{rule_from_json, rule_to_json};
pub use rulings::Rulings;
pub use tokens::{NewToken, Secret, Tokens};
pub use verdict::Verdict;
