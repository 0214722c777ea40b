//! `version`: what this binary is.

use clap::Args;
use serde::Serialize;

use super::out;
use crate::error::Result;

/// `version`.
#[derive(Debug, Args)]
pub struct Version {
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document {
    name: &'static str,
    version: &'static str,
}

impl Version {
    pub(super) fn run(&self) -> Result<()> {
        let document = Document { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") };
        if self.json { out::json(&document) } else { out::line(&format!("{} {}", document.name, document.version)) }
    }
}
