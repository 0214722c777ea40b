//! `sync`: what the cloud is still to get.

use clap::{Args, Subcommand};
use serde_json::Value;

use super::out;
use super::table::{self, Cell, Column};
use crate::client::Client;
use crate::error::{Error, Result};

/// `sync …`.
#[derive(Debug, Subcommand)]
pub enum SyncCommand {
    /// Show what is owed, oldest first.
    Status(Scope),
    /// Send it now, and wait until it is there.
    Flush(Scope),
}

/// Which objects are meant.
#[derive(Debug, Args)]
pub struct Scope {
    /// Only this collection, or this object.
    #[arg(value_name = "COLLECTION[/KEY]")]
    which: Option<String>,
    /// JSON: a line for each debt, or the outcome.
    #[arg(long)]
    json: bool,
}

const COLUMNS: [Column; 5] = [
    ("ADDRESS", "address", Cell::Text),
    ("BYTES", "bytes", Cell::Bytes),
    ("TO", "to", Cell::Text),
    ("STATE", "state", Cell::Text),
    ("VERSION", "id", Cell::Text),
];

impl SyncCommand {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        match self {
            SyncCommand::Status(scope) => scope.status(client).await,
            SyncCommand::Flush(scope) => scope.flush(client).await,
        }
    }
}

impl Scope {
    fn parts(&self) -> (Option<&str>, Option<&str>) {
        match self.which.as_deref().map(|which| which.split_once('/').unwrap_or((which, ""))) {
            None => (None, None),
            Some((collection, key)) => (Some(collection), Some(key).filter(|key| !key.is_empty())),
        }
    }

    async fn status(&self, client: &Client) -> Result<()> {
        let (collection, key) = self.parts();
        let (mut rows, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let page = client.transfers(collection, key, after.as_deref()).await?;
            for item in &page.items {
                if self.json {
                    out::json(item)?;
                } else {
                    let row = serde_json::to_value(item);
                    rows.push(row.map_err(|error| Error::internal("cannot write JSON").because(error))?);
                }
            }
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        if self.json || rows.is_empty() { Ok(()) } else { table::print(&COLUMNS, &rows) }
    }

    async fn flush(&self, client: &Client) -> Result<()> {
        let (collection, key) = self.parts();
        let paid = client.sync(collection, key).await?;
        if self.json {
            return out::json(&paid);
        }
        let (sent, owed) = (paid.sent, paid.owed);
        let count = |number| out::count(number, "object", "objects");
        out::line(&format!(
            "{} ({}) sent; {} still owed",
            count(sent.objects),
            out::size(sent.bytes),
            count(owed.objects)
        ))
    }
}
