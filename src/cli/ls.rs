//! `ls`: the keys of a collection.

use clap::Args;
use serde::Serialize;

use super::out;
use super::target::Target;
use crate::client::{Client, Item};
use crate::error::Result;

/// `ls COLLECTION[/prefix]`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore ls meteo
  meshstore ls -l meteo/2024-               keys that start with 2024-
  meshstore ls --json meteo | jq .size")]
pub struct Ls {
    /// The collection, and what its keys start with.
    #[arg(value_name = "COLLECTION[/PREFIX]")]
    target: String,
    /// Also size, level, time and type.
    #[arg(short, long)]
    long: bool,
    /// What you have seen so far, as --json of push, pull or rm told it; the list is not older.
    #[arg(long, value_name = "TOKEN")]
    session: Option<String>,
    /// One line of JSON a key.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    address: String,
    #[serde(flatten)]
    item: &'a Item,
}

impl Ls {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let target: Target = self.target.parse()?;
        let mut lister = client.list_all(&target.collection, &target.prefix).in_session(self.session.clone());
        let mut found = false;
        while let Some(item) = lister.next().await? {
            found = true;
            if self.json {
                out::json(&Line { address: format!("{}/{}", target.collection, item.key), item: &item })?;
            } else if self.long {
                let kind = item.content_type.as_deref().unwrap_or("-");
                let size = out::size(item.size);
                out::line(&format!("{size:>12}  {:<4}  {}  {kind}  {}", item.level, item.modified, item.key))?;
            } else {
                out::line(&item.key)?;
            }
        }
        if lister.incomplete() {
            eprintln!("warning: the container lost records, so keys may be missing; see `meshstore admin repair`");
        }
        // An empty list of a collection that is there is an answer; a slip of the name is none.
        if found { Ok(()) } else { client.collection(&target.collection).await.map(drop) }
    }
}
