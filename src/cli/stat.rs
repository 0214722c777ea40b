//! `stat`: what is known of one object.

use clap::Args;
use serde::Serialize;

use super::out;
use crate::client::{Client, Object};
use crate::error::Result;
use crate::model::Address;

/// `stat ADDRESS`.
#[derive(Debug, Args)]
pub struct Stat {
    /// The object: collection/key.
    address: Address,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Document<'a> {
    address: &'a str,
    #[serde(flatten)]
    object: &'a Object,
}

impl Stat {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let object = client.stat(&self.address).await?;
        if self.json {
            return out::json(&Document { address: self.address.as_str(), object: &object });
        }
        let optional = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        out::line(&format!("address     {}", self.address))?;
        out::line(&format!("size        {} ({})", object.size, out::size(object.size)))?;
        out::line(&format!("version     {}", object.version))?;
        out::line(&format!("digest      {}", object.digest))?;
        out::line(&format!("durability  {}", optional(&object.durability)))?;
        out::line(&format!("level       {}", optional(&object.level)))?;
        out::line(&format!("type        {}", optional(&object.content_type)))?;
        out::line(&format!("modified    {}", optional(&object.modified)))?;
        object.meta.iter().try_for_each(|(name, value)| out::line(&format!("meta        {name}={value}")))
    }
}
