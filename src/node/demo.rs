//! `meshstore demo`: a container that shows what it can do, and measures it.

use crate::error::{Error, Result};

/// Runs the demo; `keep` leaves its data folder behind.
pub fn demo(_keep: bool) -> Result<()> {
    Err(Error::internal("being written"))
}
