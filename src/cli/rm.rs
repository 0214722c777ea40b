//! `rm`: objects go.

use clap::Args;
use serde::Serialize;

use super::options::if_match;
use super::out;
use super::target::Target;
use crate::client::{Client, DeleteOptions};
use crate::error::{Error, Result};
use crate::model::{Address, Condition};

/// `rm ADDRESS…`.
#[derive(Debug, Args)]
#[command(after_help = "Deleting what is not there succeeds.

Examples:
  meshstore rm meteo/today.csv meteo/yesterday.csv
  meshstore rm -r meteo/2024                    all keys below meteo/2024/")]
pub struct Rm {
    /// The objects: collection/key; with -r folders of keys.
    #[arg(required = true, value_name = "ADDRESS")]
    addresses: Vec<String>,
    /// Delete all keys below each address.
    #[arg(short, long, conflicts_with = "if_match")]
    recursive: bool,
    /// Only if the object is this version now; * for any.
    #[arg(long, value_name = "VERSION|*", value_parser = if_match)]
    if_match: Option<Condition>,
    /// What you have seen so far, as --json told it; the answer adds to it.
    #[arg(long, value_name = "TOKEN")]
    session: Option<String>,
    /// One line of JSON a deleted address; the last line's session covers them all.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    address: &'a str,
    /// That of the delete; `None` when there was nothing to delete.
    version: Option<&'a str>,
    session: Option<&'a str>,
}

impl Rm {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let condition = self.if_match.clone().unwrap_or_default();
        let mut options = DeleteOptions { condition, session: self.session.clone(), peer: None };
        // All are read before the first one goes: a typing error must not leave half the work done.
        if self.recursive {
            let targets = self.addresses.iter().map(|text| text.parse()).collect::<Result<Vec<Target>>>()?;
            for target in targets {
                let mut lister = client.list_all(&target.collection, &target.folder());
                while let Some(item) = lister.next().await? {
                    // A container that lists what was not asked for must not make us delete it.
                    if !item.key.starts_with(&target.folder()) {
                        return Err(Error::internal("the container lists a key outside of what was asked for")
                            .with("key", item.key));
                    }
                    self.delete(client, &Address::new(&target.collection, &item.key)?, &mut options).await?;
                }
            }
            return Ok(());
        }
        let addresses = self.addresses.iter().map(|text| text.parse()).collect::<Result<Vec<Address>>>()?;
        for address in addresses {
            self.delete(client, &address, &mut options).await?;
        }
        Ok(())
    }

    async fn delete(&self, client: &Client, address: &Address, options: &mut DeleteOptions) -> Result<()> {
        let deleted = client.delete_with(address, options).await?;
        if self.json {
            let (version, session) = (deleted.version.as_deref(), deleted.session.as_deref());
            out::json(&Line { address: address.as_str(), version, session })?;
            options.session = deleted.session;
        }
        Ok(())
    }
}
