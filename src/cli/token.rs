//! `token`: who may use the containers of a site.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::out;
use super::table::{self, Cell, Column};
use crate::client::Client;
use crate::control::time;
use crate::error::{Error, Result};
use crate::model::{Scope, TokenId};

/// `token …`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it; it is shown this once.
    Create(Create),
    /// List the tokens, without their secrets.
    Ls(List),
    /// End a token at once.
    Revoke(Revoke),
}

/// `token create`.
#[derive(Debug, Args)]
#[command(
    after_help = "A scope is read, write or admin, for all collections or for one, or metrics; none includes another.

Examples:
  meshstore token create --subject ada --scope read --scope write:meteo --expires 30d
  MESHSTORE_TOKEN=$(meshstore token create --subject job-7 --scope read:meteo --expires 2h) ./job"
)]
pub struct Create {
    /// Whom the token is for.
    #[arg(long)]
    subject: String,
    /// A group of the subject; may be repeated.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// What it allows: read, write:COLLECTION, admin, metrics; may be repeated.
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<Scope>,
    /// How long it counts, such as 90m, 12h or 30d; without it until it is revoked.
    #[arg(long, value_name = "DURATION", value_parser = time)]
    expires: Option<u64>,
    /// All that is known of it as JSON.
    #[arg(long)]
    json: bool,
}

/// `token ls`.
#[derive(Debug, Args)]
pub struct List {
    /// One line of JSON a token.
    #[arg(long)]
    json: bool,
}

/// `token revoke ID`.
#[derive(Debug, Args)]
pub struct Revoke {
    /// The token's id, as `token ls` shows it.
    // Read here and not by the parser, which would repeat a whole token that was given in its place.
    id: String,
}

impl TokenCommand {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        match self {
            TokenCommand::Create(create) => create.run(client).await,
            TokenCommand::Ls(list) => list.run(client).await,
            TokenCommand::Revoke(revoke) => {
                let id: TokenId = revoke.id.parse()?;
                client.admin_end(&format!("tokens/{id}")).await
            }
        }
    }
}

impl Create {
    async fn run(&self, client: &Client) -> Result<()> {
        let scopes: Vec<String> = self.scopes.iter().map(ToString::to_string).collect();
        let mut asked = json!({ "subject": self.subject, "groups": self.groups, "scopes": scopes });
        if let (Some(seconds), Some(asked)) = (self.expires, asked.as_object_mut()) {
            asked.insert("expires_in_s".to_owned(), json!(seconds));
        }
        let told = client.admin_do("tokens", &asked).await?;
        if self.json {
            return out::json(&told);
        }
        let token = told.get("token").and_then(Value::as_str);
        out::line(token.ok_or_else(|| Error::internal("the container made a token and did not tell it"))?)
    }
}

const COLUMNS: [Column; 5] = [
    ("ID", "id", Cell::Text),
    ("STATE", "state", Cell::Text),
    ("EXPIRES", "expires", Cell::Text),
    ("SUBJECT", "subject", Cell::Text),
    ("SCOPES", "scopes", Cell::Text),
];

impl List {
    async fn run(&self, client: &Client) -> Result<()> {
        let told = client.admin("tokens").await?;
        let items = told.get("tokens").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if self.json {
            return items.iter().try_for_each(out::json);
        }
        table::print(&COLUMNS, items)
    }
}
