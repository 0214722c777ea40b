//! `stat`: what is known of one object.

use clap::Args;
use serde::Serialize;

use super::out;
use crate::client::{Client, Object, ReadOptions};
use crate::error::Result;
use crate::model::{Address, Session, Version};

/// `stat ADDRESS`.
#[derive(Debug, Args)]
pub struct Stat {
    /// The object: collection/key.
    address: Address,
    /// This version, also after it was replaced or deleted, for as long as the collection keeps it.
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,
    /// What you have seen so far, as --json told it; the answer is not older.
    #[arg(long, value_name = "TOKEN")]
    session: Option<String>,
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
        let fresh = || self.json.then(|| Session::default().to_string());
        let session = self.session.clone().or_else(fresh);
        let options = ReadOptions { version: self.version, session, ..ReadOptions::default() };
        let object = client.stat_with(&self.address, &options).await?;
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
        if let Some(end) = &object.expires {
            out::line(&format!("expires     {end}"))?;
        }
        object.meta.iter().try_for_each(|(name, value)| out::line(&format!("meta        {name}={value}")))
    }
}
