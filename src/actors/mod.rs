//! The conversation of the actors. Nothing outside this folder and `node/` names actix.

mod body;
mod request;

pub use body::{Body, BodySender, PullBody};
pub use request::{Delete, Deleted, Found, List, Listed, Page, Pull, Pulled, Push, Pushed};
