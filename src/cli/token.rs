//! `token`: who may use the containers of a site.

use clap::{Args, Subcommand};

use super::out;
use crate::client::{Client, TokenWanted};
use crate::error::{Error, Result};
use crate::model::Scope;

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
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
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
    /// The token's id, as `token ls` shows it. Read here and not by the parser, which would repeat a
    /// whole token that was given in its place.
    id: String,
}

impl TokenCommand {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        match self {
            TokenCommand::Create(create) => create.run(client).await,
            TokenCommand::Ls(list) => list.run(client).await,
            TokenCommand::Revoke(revoke) => client.revoke_token(revoke.id.parse()?).await,
        }
    }
}

impl Create {
    async fn run(&self, client: &Client) -> Result<()> {
        let wanted = TokenWanted {
            subject: self.subject.clone(),
            groups: self.groups.clone(),
            scopes: self.scopes.iter().map(ToString::to_string).collect(),
            expires_in_s: self.expires,
        };
        let told = client.create_token(&wanted).await?;
        if self.json {
            return out::json(&told);
        }
        out::line(&told.token.ok_or_else(|| Error::internal("the container made a token and did not tell it"))?)
    }
}

impl List {
    async fn run(&self, client: &Client) -> Result<()> {
        for token in client.tokens().await? {
            if self.json {
                out::json(&token)?;
                continue;
            }
            let until = token.expires.as_deref().unwrap_or("-");
            let scopes = token.scopes.join(",");
            out::line(&format!("{}  {:<8} {until:<24}  {:<20} {scopes}", token.id, token.state, token.subject))?;
        }
        Ok(())
    }
}

/// Seconds of a whole number with a unit: s, m, h or d.
fn seconds(text: &str) -> Result<u64> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86_400)];
    let named = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    named
        .filter(|(digits, _)| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|(digits, seconds)| digits.parse::<u64>().ok()?.checked_mul(seconds))
        .filter(|seconds| *seconds > 0)
        .ok_or_else(|| {
            Error::invalid("a duration is a whole number with s, m, h or d").with("given", text.escape_default())
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!((seconds("90m").unwrap(), seconds("30d").unwrap(), seconds("1s").unwrap()), (5400, 2_592_000, 1));
        for bad in ["", "d", "0d", "1", "1w", "-1d", "1.5h", "99999999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
