//! `collection`: what is asked for the objects of a collection.
//!
//! Values are sent as they were typed: the container reads them, so that it alone decides what they mean,
//! and its answer names everything that is wrong at once.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::out;
use super::push::pair;
use super::remove::Removal;
use super::table::{self, Cell, Column};
use crate::client::{Client, Collection};
use crate::control::FIELDS;
use crate::error::{Error, Kind, Result};
use crate::model::Name;

/// `collection …`.
#[derive(Debug, Subcommand)]
pub enum CollectionCommand {
    /// Make a collection; fields that are not named are as by default.
    #[command(after_help = fields_help("  meshstore collection create meteo ttl_s=7d quota_bytes=10GiB"))]
    Create(Create),
    /// Show a collection's policy and what it holds.
    Show(Show),
    /// Change fields of a collection's policy; the others stay. It holds for what comes after.
    #[command(after_help = fields_help("  meshstore collection set meteo quota_bytes=20GiB ttl_s=null"))]
    Set(Set),
    /// List the collections.
    Ls(List),
    /// Remove a collection.
    #[command(after_help = "Examples:
  meshstore collection rm meteo                 only if it holds no objects
  meshstore collection rm -r meteo              with all its objects")]
    Rm(Remove),
}

/// `collection create NAME [FIELD=VALUE…]`.
#[derive(Debug, Args)]
pub struct Create {
    /// The collection.
    name: Name,
    /// Fields of its policy.
    #[arg(value_name = "FIELD=VALUE", value_parser = pair)]
    fields: Vec<(String, String)>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `collection set NAME FIELD=VALUE…`.
#[derive(Debug, Args)]
pub struct Set {
    /// The collection.
    name: Name,
    /// The fields to change.
    #[arg(required = true, value_name = "FIELD=VALUE", value_parser = pair)]
    fields: Vec<(String, String)>,
    /// Only if the policy is still at this revision.
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(u64).range(1..))]
    if_match: Option<u64>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `collection show NAME`.
#[derive(Debug, Args)]
pub struct Show {
    /// The collection.
    name: Name,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `collection ls`.
#[derive(Debug, Args)]
pub struct List {
    /// One line of JSON a collection.
    #[arg(long)]
    json: bool,
}

/// `collection rm NAME`.
#[derive(Debug, Args)]
pub struct Remove {
    /// The collection.
    name: Name,
    /// Delete its objects first.
    #[arg(short, long)]
    recursive: bool,
    /// Say in JSON what was removed.
    #[arg(long)]
    json: bool,
}

/// What `create` and `set` say about fields, from where they are declared.
fn fields_help(example: &str) -> String {
    let fields = FIELDS.iter().map(|field| format!("  {:<14} {}; takes {}\n", field.name, field.help, field.takes));
    format!("Fields:\n{}\nExample:\n{example}", fields.collect::<String>())
}

impl CollectionCommand {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        match self {
            CollectionCommand::Create(create) => create.run(client).await,
            CollectionCommand::Set(set) => set.run(client).await,
            CollectionCommand::Show(show) => {
                let collection = client.collection(&show.name).await?;
                if show.json { out::json(&collection) } else { describe(&collection) }
            }
            CollectionCommand::Ls(ls) => {
                let all = client.collections().await?;
                if ls.json { all.iter().try_for_each(out::json) } else { overview(&all) }
            }
            CollectionCommand::Rm(rm) => rm.run(client).await,
        }
    }
}

/// The fields as a JSON object; the container reads texts as it reads numbers and lists.
fn typed(fields: &[(String, String)]) -> Result<Map<String, Value>> {
    let mut out = Map::new();
    for (name, value) in fields {
        if out.insert(name.clone(), value.clone().into()).is_some() {
            return Err(Error::invalid("a field is named twice; name it once").with("field", name.escape_default()));
        }
    }
    Ok(out)
}

impl Create {
    async fn run(&self, client: &Client) -> Result<()> {
        let (made, _) = client.put_collection(&self.name, &typed(&self.fields)?, Some(0)).await?;
        if self.json { out::json(&made) } else { out::line(&format!("{}  revision {}", made.name, made.revision)) }
    }
}

impl Set {
    async fn run(&self, client: &Client) -> Result<()> {
        let fields = typed(&self.fields)?;
        let now = client.collection(&self.name).await?;
        let mut policy = now.policy;
        policy.extend(fields);
        // Whoever changed it after we read it decided on something else: never written over, never tried again.
        let expected = self.if_match.unwrap_or(now.revision);
        let (after, _) = client.put_collection(&self.name, &policy, Some(expected)).await?;
        if self.json { out::json(&after) } else { out::line(&format!("{}  revision {}", after.name, after.revision)) }
    }
}

impl Remove {
    async fn run(&self, client: &Client) -> Result<()> {
        let removal = Removal::default();
        let outcome = async {
            if self.recursive {
                removal.empty(client, &self.name).await?;
            }
            client.remove_collection(&self.name, None).await
        };
        let outcome = outcome.await.map_err(|error| match error.kind() {
            Kind::PreconditionFailed if self.recursive => Error::new(
                error.kind(),
                "objects came in while the collection was being emptied; stop what pushes, and try again",
            )
            .with("collection", &self.name),
            _ => error,
        });
        outcome
            .map_err(|error| if self.recursive { error.with("objects_deleted", removal.deleted()) } else { error })?;
        match (self.json, self.recursive) {
            (true, _) => out::json(&serde_json::json!({ "name": self.name.as_str(), "objects": removal.deleted() })),
            (false, true) => {
                out::line(&format!("{}: {} objects deleted, collection removed", self.name, removal.deleted()))
            }
            (false, false) => Ok(()),
        }
    }
}

/// A value for people: lists between commas, nothing as `-`.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(shown).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn describe(collection: &Collection) -> Result<()> {
    let line = |name: &str, value: &str| out::line(&format!("{name:<14} {value}"));
    line("collection", &collection.name)?;
    line("revision", &collection.revision.to_string())?;
    line("created", &collection.created)?;
    line("changed", &collection.changed)?;
    line("objects", &collection.objects.to_string())?;
    line("bytes", &format!("{} ({})", collection.bytes, out::size(collection.bytes)))?;
    line("owed", &format!("{} objects ({})", collection.owed.objects, out::size(collection.owed.bytes)))?;
    out::line("")?;
    let known = || FIELDS.iter().map(|field| field.name);
    // In the order of their declaration; then those that only a newer container knows.
    for name in known().filter(|name| collection.policy.contains_key(*name)) {
        line(name, &collection.policy.get(name).map(shown).unwrap_or_default())?;
    }
    let newer = collection.policy.iter().filter(|(name, _)| known().all(|known| known != name.as_str()));
    newer.into_iter().try_for_each(|(name, value)| line(name, &shown(value)))
}

const OVERVIEW: [Column; 6] = [
    ("NAME", "name", Cell::Text),
    ("OBJECTS", "objects", Cell::Number),
    ("SIZE", "bytes", Cell::Bytes),
    ("DURABILITY", "policy.durability", Cell::Text),
    ("TTL_S", "policy.ttl_s", Cell::Number),
    ("REVISION", "revision", Cell::Number),
];

/// A row for each collection; nothing where there is none, as other lists do.
fn overview(all: &[Collection]) -> Result<()> {
    if all.is_empty() {
        return Ok(());
    }
    let rows = all.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    table::print(&OVERVIEW, &rows.map_err(|error| Error::internal("cannot write JSON").because(error))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_in_the_help() {
        let help = fields_help("");
        FIELDS
            .iter()
            .for_each(|field| assert!(help.contains(field.name) && help.contains(field.help), "{}", field.name));
    }

    #[test]
    fn a_field_is_named_once() {
        let fields = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "1".to_owned())).collect::<Vec<_>>();
        assert_eq!(typed(&fields(&["ttl_s", "quota_bytes"])).unwrap().len(), 2);
        assert_eq!(typed(&fields(&["ttl_s", "ttl_s"])).unwrap_err().context("field"), Some("ttl_s"));
    }

    #[test]
    fn values_are_shown_as_they_can_be_typed() {
        let value = |text: &str| shown(&serde_json::from_str(text).unwrap());
        assert_eq!(value(r#"["ram","disk"]"#), "ram,disk");
        assert_eq!(
            (value("null"), value("7"), value("true"), value(r#""age:5""#)),
            ("-".into(), "7".into(), "true".into(), "age:5".into())
        );
    }
}
