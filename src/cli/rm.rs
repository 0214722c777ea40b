//! `rm`: objects go.

use clap::Args;
use serde::Serialize;

use super::out;
use super::target::Target;
use crate::client::Client;
use crate::error::{Error, Result};
use crate::model::Address;

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
    #[arg(short, long)]
    recursive: bool,
    /// One line of JSON a deleted address.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    address: &'a str,
}

impl Rm {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
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
                    self.delete(client, &Address::new(&target.collection, &item.key)?).await?;
                }
            }
            return Ok(());
        }
        let addresses = self.addresses.iter().map(|text| text.parse()).collect::<Result<Vec<Address>>>()?;
        for address in addresses {
            self.delete(client, &address).await?;
        }
        Ok(())
    }

    async fn delete(&self, client: &Client, address: &Address) -> Result<()> {
        client.delete(address).await?;
        if self.json { out::json(&Line { address: address.as_str() }) } else { Ok(()) }
    }
}
