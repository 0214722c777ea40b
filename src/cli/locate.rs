//! `locate`: every copy of one object in the site.

use clap::Args;
use serde_json::json;

use super::out;
use super::table::{self, Cell, Column};
use crate::client::Client;
use crate::error::Result;
use crate::model::Address;

/// `locate ADDRESS`.
#[derive(Debug, Args)]
#[command(after_help = "States of a copy:
  kept         the durable copy of its keeper
  owed         the same, and the cloud is still to get it
  dirty        in memory alone; it is written to disk before it leaves
  cached       may go at any time
  old          of a version that was replaced or deleted, readable for the collection's retention
  quarantined  its bytes failed their check, and are not read
  away         known of, at a container that cannot be asked now")]
pub struct Locate {
    /// The object: collection/key.
    address: Address,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

const COPIES: [Column; 6] = [
    ("VERSION", "version", Cell::Text),
    ("SITE", "site", Cell::Text),
    ("CONTAINER", "container", Cell::Text),
    ("LEVEL", "level", Cell::Text),
    ("STATE", "state", Cell::Text),
    ("COST MS", "cost_ms", Cell::Number),
];

impl Locate {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let located = client.locate(&self.address).await?;
        if self.json {
            return out::json(&located);
        }
        let copies = located.versions.iter().flat_map(|one| one.copies.iter().map(|copy| (&one.version, copy)));
        let rows: Vec<_> = copies
            .map(|(version, copy)| {
                json!({
                    "version": version,
                    "site": copy.site,
                    "container": copy.container,
                    "level": copy.level,
                    "state": copy.state,
                    "cost_ms": copy.cost_ms,
                })
            })
            .collect();
        table::print(&COPIES, &rows)?;
        if !located.unasked.is_empty() {
            eprintln!("did not answer, and may have more: {}", out::plain(&located.unasked.join(", ")));
        }
        Ok(())
    }
}
