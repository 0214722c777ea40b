//! `/v1/objects`: one file an operation.

pub(super) mod body;
pub(super) mod delete;
pub(super) mod get;
pub(super) mod list;
pub(super) mod put;
pub(super) mod represent;
mod sealed;
