//! `admin`: what is inside a container, and what an operator may ask of it.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::out;
use super::table::{self, Cell, Column};
use super::target::Target;
use crate::client::Client;
use crate::control::bytes as size;
use crate::error::{Error, Kind, Result};

/// `admin …`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore admin tiers
  meshstore admin objects ram meteo/2024-
  meshstore admin evict --collection meteo --bytes 64MiB
  meshstore admin scrub
  meshstore admin drain --hand-over")]
pub struct Admin {
    #[command(subcommand)]
    task: Task,
    /// JSON as the container tells it; a line an object for `objects`.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// How full each level is and how it served.
    Tiers,
    /// How each actor is doing.
    Actors,
    /// What waits, the limits it waits at, and what was lost.
    Queues,
    /// Who administered what lately.
    Audit,
    /// The sites that are known.
    Sites,
    /// The containers of the site, this one first.
    Containers,
    /// How far each other container is ahead or behind, and what came of requests to it.
    Peers,
    /// Every key of the configuration in effect, and where it was said.
    Config,
    /// What a level holds.
    Objects(Objects),
    /// Let copies leave memory, or with --level disk the disk; what is nowhere else goes to the next level first.
    Evict(Evict),
    /// Take no more changes until started anew, and write out what memory alone holds.
    Drain(Drain),
    /// Read every sealed byte now, at the set pace; tells how far it is and what is in quarantine.
    Scrub(Scrub),
    /// Accept what a salvage of a damaged store lost: from then on, what is not found does not exist.
    Repair(Repair),
}

#[derive(Debug, Args)]
struct Repair {
    /// Only tell what was lost; accept nothing.
    #[arg(long)]
    show: bool,
}

#[derive(Debug, Args)]
struct Scrub {
    /// Only tell; begin nothing.
    #[arg(long)]
    show: bool,
}

#[derive(Debug, Args)]
struct Objects {
    /// The level: ram or disk.
    level: String,
    /// What addresses start with.
    #[arg(value_name = "COLLECTION[/PREFIX]", default_value = "")]
    prefix: String,
}

#[derive(Debug, Args)]
struct Drain {
    /// The container goes for good: the others of its site keep from now on what it keeps.
    #[arg(long)]
    hand_over: bool,
}

#[derive(Debug, Args)]
struct Evict {
    /// One object: collection/key.
    #[arg(value_name = "ADDRESS", conflicts_with_all = ["collection", "bytes"])]
    address: Option<String>,
    /// Only entries of this collection.
    #[arg(long)]
    collection: Option<String>,
    /// Stop once so many bytes are free, such as 64MiB; without it all entries go.
    #[arg(long, value_parser = size)]
    bytes: Option<u64>,
    /// The level: ram or disk.
    #[arg(long, default_value = "ram")]
    level: String,
}

const TIERS: [Column; 13] = [
    ("LEVEL", "level", Cell::Text),
    ("OBJECTS", "objects", Cell::Number),
    ("BYTES", "bytes", Cell::Bytes),
    ("BUDGET", "budget", Cell::Bytes),
    ("FILL", "fill", Cell::Percent),
    ("HITS", "hits", Cell::Number),
    ("MISSES", "misses", Cell::Number),
    ("HIT RATIO", "hit_ratio", Cell::Percent),
    ("EVICTIONS", "evictions", Cell::Number),
    ("DIRTY", "dirty_bytes", Cell::Bytes),
    ("PINNED", "pinned_bytes", Cell::Bytes),
    ("SPILLED", "spilled_bytes", Cell::Bytes),
    ("QUARANTINED", "quarantined", Cell::Number),
];
const ACTORS: [Column; 6] = [
    ("ACTOR", "name", Cell::Text),
    ("QUEUED", "queued", Cell::Number),
    ("BOUND", "bound", Cell::Number),
    ("RESTARTS", "restarts", Cell::Number),
    ("LAST ERROR AT", "last_error.at", Cell::Text),
    ("LAST ERROR", "last_error.text", Cell::Text),
];
const QUEUES: [Column; 5] = [
    ("QUEUE", "name", Cell::Text),
    ("USED", "used", Cell::Number),
    ("BOUND", "bound", Cell::Number),
    ("UNIT", "unit", Cell::Text),
    ("LOST", "lost", Cell::Number),
];
const SITES: [Column; 9] = [
    ("SITE", "name", Cell::Text),
    ("HERE", "here", Cell::Text),
    ("EPOCH", "epoch", Cell::Number),
    ("MEMBERS", "members", Cell::Number),
    ("ALIVE", "alive", Cell::Number),
    ("SILENT", "silent", Cell::Number),
    ("COLLECTIONS", "collections", Cell::Number),
    ("BUS", "bus.name", Cell::Text),
    ("CONNECTED", "bus.connected", Cell::Text),
];
const PEERS: [Column; 10] = [
    ("CONTAINER", "name", Cell::Text),
    ("SITE", "site", Cell::Text),
    ("ALIVE", "alive", Cell::Text),
    ("HEARD MS AGO", "heard_ms_ago", Cell::Number),
    ("AHEAD", "ahead", Cell::Number),
    ("BEHIND", "behind", Cell::Number),
    ("ASKED", "asked", Cell::Number),
    ("FAILED", "failed", Cell::Number),
    ("ROUND TRIP MS", "round_trip_ms", Cell::Number),
    ("LAST ERROR", "last_error", Cell::Text),
];
const AUDIT: [Column; 7] = [
    ("AT", "at", Cell::Text),
    ("SUBJECT", "subject", Cell::Text),
    ("PEER", "peer", Cell::Text),
    ("ACTION", "action", Cell::Text),
    ("ON", "on", Cell::Text),
    ("STATUS", "status", Cell::Number),
    ("NOTE", "note", Cell::Text),
];
const CONTAINERS: [Column; 11] = [
    ("CONTAINER", "name", Cell::Text),
    ("SITE", "site", Cell::Text),
    ("HERE", "here", Cell::Text),
    ("ALIVE", "alive", Cell::Text),
    ("TAKES CHANGES", "takes_changes", Cell::Text),
    ("DISK", "load.disk_bytes", Cell::Bytes),
    ("FILL", "load.utilisation", Cell::Percent),
    ("HEARD MS AGO", "heard_ms_ago", Cell::Number),
    ("VERSION", "version", Cell::Text),
    ("STARTED", "started", Cell::Text),
    ("URL", "url", Cell::Text),
];
const CONFIG: [Column; 3] = [("KEY", "key", Cell::Text), ("VALUE", "value", Cell::Text), ("FROM", "from", Cell::Text)];
const OBJECTS: [Column; 6] = [
    ("ADDRESS", "address", Cell::Text),
    ("SIZE", "size", Cell::Bytes),
    ("TAKES", "bytes", Cell::Bytes),
    ("CLASS", "durability", Cell::Text),
    ("DIRTY", "dirty", Cell::Text),
    ("MODIFIED", "modified", Cell::Text),
];
const ROUNDS: [Column; 7] = [
    ("STARTED", "started", Cell::Text),
    ("ENDED", "ended", Cell::Text),
    ("OBJECTS", "objects", Cell::Number),
    ("BYTES", "bytes", Cell::Bytes),
    ("DAMAGED", "damaged", Cell::Number),
    ("HEALED", "healed", Cell::Number),
    ("UNREADABLE", "unreadable", Cell::Number),
];
const QUARANTINE: [Column; 5] = [
    ("ADDRESS", "address", Cell::Text),
    ("VERSION", "version", Cell::Text),
    ("NEWEST", "newest", Cell::Text),
    ("FOUND", "at", Cell::Text),
    ("WHY", "why", Cell::Text),
];

impl Admin {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        match &self.task {
            Task::Tiers => self.list(client, "tiers", &TIERS).await,
            Task::Actors => self.list(client, "actors", &ACTORS).await,
            Task::Queues => self.list(client, "queues", &QUEUES).await,
            Task::Audit => self.list(client, "audit", &AUDIT).await,
            Task::Sites => self.list(client, "sites", &SITES).await,
            Task::Peers => self.list(client, "peers", &PEERS).await,
            Task::Containers => self.list(client, "containers", &CONTAINERS).await,
            Task::Config => self.list(client, "config", &CONFIG).await,
            Task::Objects(objects) => self.objects(client, objects).await,
            Task::Evict(evict) => {
                let told = client.admin_do("evict", &evict.body()?).await?;
                self.tell(&told, |count, bytes| format!("objects that left: {count}; bytes that are free now: {bytes}"))
            }
            Task::Repair(Repair { show }) => self.repair(client, !show).await,
            Task::Scrub(Scrub { show }) => self.scrub(client, !show).await,
            Task::Drain(Drain { hand_over }) => self.drain(client, *hand_over).await,
        }
    }

    async fn drain(&self, client: &Client, hand_over: bool) -> Result<()> {
        let mut written = (0, 0);
        loop {
            let mut told = client.admin_do("drain", &json!({ "hand_over": hand_over })).await?;
            let handed = told.get("handed_over").filter(|handed| handed.is_object());
            let number = |name: &str| handed.and_then(|handed| handed.get(name)).and_then(Value::as_u64).unwrap_or(0);
            let (objects, bytes) = (out::count(number("objects"), "object", "objects"), out::size(number("bytes")));
            let first = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or(0);
            // What memory alone held was written out when it was asked first.
            written = (written.0 + first("objects"), written.1 + first("bytes"));
            if handed.is_some_and(|handed| handed["ended"] != true) {
                let why = handed.and_then(|handed| handed["last_error"].as_str());
                let why = why.map_or_else(String::new, |why| format!("; {} not taken: {why}", number("left")));
                eprintln!("{}", out::plain(&format!("handed over so far: {objects} ({bytes}){why}")));
                continue;
            }
            let left = number("left");
            let handed = handed.cloned();
            if let Some(told) = told.as_object_mut() {
                told.insert("objects".to_owned(), written.0.into());
                told.insert("bytes".to_owned(), written.1.into());
            }
            self.tell(&told, |count, bytes| {
                format!("drained: {} ({bytes}) written out", out::count(count, "object", "objects"))
            })?;
            let Some(handed) = handed else { return Ok(()) };
            if !self.json {
                out::line(&format!("handed over: {objects} ({bytes})"))?;
            }
            if left == 0 {
                return Ok(());
            }
            let why = handed.get("last_error").and_then(Value::as_str).unwrap_or("nobody takes it");
            let left = out::count(left, "object is", "objects are");
            return Err(Error::new(Kind::Unavailable, format!("{left} still kept here: {why}")));
        }
    }

    async fn repair(&self, client: &Client, accept: bool) -> Result<()> {
        let told = if accept { client.admin_do("repair", &json!({})).await? } else { client.admin("repair").await? };
        if self.json {
            return out::json(&told);
        }
        let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
        let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or_default();
        if told.get("kept").is_none_or(Value::is_null) {
            return out::line("the store was never salvaged; nothing is to be repaired");
        }
        out::line(&format!(
            "salvaged {}: {}; the damaged store is kept as {}",
            text("salvaged"),
            text("why"),
            text("kept")
        ))?;
        let (rows, pages, lost) = (number("rows"), number("lost_pages"), number("lost_rows"));
        out::line(&format!("{rows} records were read; {pages} pages and {lost} single records could not be"))?;
        for address in items(&told, "missing")?.iter().filter_map(Value::as_str) {
            out::line(&format!("lost: {address}"))?;
        }
        out::line(match told.get("incomplete").and_then(Value::as_bool) {
            Some(true) => "until the losses are accepted, what is not found answers that it may be lost",
            _ if pages + lost == 0 => "no record was lost",
            _ => "the losses are accepted: what is not found does not exist",
        })
    }

    async fn scrub(&self, client: &Client, start: bool) -> Result<()> {
        let told = if start { client.admin_do("scrub", &json!({})).await? } else { client.admin("scrub").await? };
        if self.json {
            return out::json(&told);
        }
        let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or_default();
        match told.get("round").filter(|round| !round.is_null()) {
            Some(round) => {
                let done = round.get("bytes").and_then(Value::as_u64).unwrap_or_default();
                out::line(&format!(
                    "a round is under way: {} of {} read",
                    out::size(done),
                    out::size(number("bytes"))
                ))?;
            }
            None => out::line("no round is under way")?,
        }
        table::print(&ROUNDS, items(&told, "history")?)?;
        out::line(&format!("{} in quarantine", out::count(number("quarantined"), "copy", "copies")))?;
        table::print(&QUARANTINE, items(&told, "quarantine")?)
    }

    async fn list(&self, client: &Client, name: &str, columns: &[Column]) -> Result<()> {
        let told = client.admin(name).await?;
        if self.json {
            return out::json(&told);
        }
        table::print(columns, items(&told, name)?)
    }

    async fn objects(&self, client: &Client, Objects { level, prefix }: &Objects) -> Result<()> {
        let mut after: Option<String> = None;
        loop {
            let page = client.admin_objects(level, prefix, after.as_deref()).await?;
            let found = items(&page, "items")?;
            if self.json {
                found.iter().try_for_each(out::json)?;
            } else {
                table::print(&OBJECTS, found)?;
            }
            match page.get("next").and_then(Value::as_str) {
                Some(next) if after.as_deref() != Some(next) => after = Some(next.to_owned()),
                _ => return Ok(()),
            }
        }
    }

    fn tell(&self, told: &Value, text: impl FnOnce(u64, String) -> String) -> Result<()> {
        if self.json {
            return out::json(told);
        }
        let number = |name: &str| told.get(name).and_then(Value::as_u64).unwrap_or_default();
        out::line(&text(number("objects"), out::size(number("bytes"))))
    }
}

impl Evict {
    fn body(&self) -> Result<Value> {
        let mut body = json!({ "level": self.level });
        let mut put =
            |name: &str, value: Value| body.as_object_mut().and_then(|body| body.insert(name.to_owned(), value));
        if let Some(address) = &self.address {
            let target: Target = address.parse()?;
            if target.prefix.is_empty() {
                let why = "name one object as collection/key, or a whole collection with --collection";
                return Err(Error::invalid(why).with("address", address));
            }
            put("collection", json!(target.collection.as_str()));
            put("key", json!(target.prefix));
        } else if let Some(collection) = &self.collection {
            put("collection", json!(collection));
        }
        if let Some(bytes) = self.bytes {
            put("bytes", json!(bytes));
        }
        Ok(body)
    }
}

pub(super) fn items<'a>(told: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    told.get(name)
        .and_then(Value::as_array)
        .ok_or_else(|| Error::internal("the container told something else than a list; does --url name one?"))
}
