//! `meshstore simulate`: a mesh of many sites in one process, to see what a site pays for the others: bytes on its link,
//! memory, questions. Each site is a container as it always is; only the servers between them are not there.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::{join_all, try_join_all};
use serde::Serialize;
use serde_json::json;

use super::ground::{Folder, Ground, Member};
use super::process::resident_bytes;
use crate::Kind;
use crate::bus::{KINDS, Link};
use crate::client::{PushOptions, Upload};
use crate::error::{Error, Result};
use crate::model::{Address, Condition};

/// Each way, between a site and the hub's.
const LINK: Duration = Duration::from_millis(25);

/// Of each container: as little as one takes.
const SETTINGS: [(&str, &str); 4] =
    [("memory.budget_bytes", "64MiB"), ("http.workers", "1"), ("nfr.workers", "1"), ("cloud.url", "none")];

/// How long something may take to be known everywhere.
const PATIENCE: Duration = Duration::from_secs(300);

/// Seconds until what was pushed may be settled everywhere.
const SETTLES_MAX: usize = 30;

/// Misses whose questions are counted.
const MISSES: u64 = 10;

/// What is to be simulated.
#[derive(Clone, Copy, Debug)]
pub struct Simulation {
    /// Sites, the hub's among them.
    pub sites: usize,
    /// Objects that each of them pushes into a collection that all of them use.
    pub objects: usize,
    /// How long it is looked what goes over links while nothing happens.
    pub seconds: u64,
    /// JSON instead of text.
    pub json: bool,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Report {
    sites: usize,
    /// Until each site knew all others.
    met_ms: u128,
    /// Over the link of a site that is not the hub, both ways, while nothing happened; the mean of all.
    idle_bytes_per_s: f64,
    idle_messages_per_s: f64,
    /// Pushed in all; until all of them were listed everywhere.
    objects: usize,
    known_ms: u128,
    /// Over the link of such a site for each object that was pushed anywhere.
    bytes_per_object: f64,
    /// For each miss in a collection that all sites have, and in one that one site has.
    questions_per_miss_of_all: f64,
    questions_per_miss_of_one: f64,
    /// Of this process for each site, before there were others to know and at the end.
    memory_alone_bytes: u64,
    memory_bytes: u64,
}

/// Runs the simulation and says what came of it.
pub fn simulate(simulation: Simulation) -> Result<()> {
    if !(2..=1000).contains(&simulation.sites) {
        return Err(Error::invalid("a simulation has 2 to 1000 sites").with("sites", simulation.sites));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Error::internal("cannot start the runtime").because(error))?;
    let folder = Folder::make("simulate", false)?;
    let report = runtime.block_on(run(simulation, &folder.path))?;
    let text = if simulation.json { to_json(&report)? } else { told(&report) };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").map_err(|error| Error::unavailable("cannot write to stdout").because(error))
}

async fn run(simulation: Simulation, folder: &Path) -> Result<Report> {
    let Simulation { sites, objects, seconds, .. } = simulation;
    let hub_ground = Ground::new(folder.join("hub"), "hub", None, &SETTINGS)?;
    let hub = hub_ground.join("c1").await?;
    let (mut grounds, mut links, mut members) = (vec![hub_ground], Vec::new(), vec![hub]);
    let before = resident_bytes().unwrap_or_default();
    // Not linked yet: what a site takes that knows no other one.
    for number in 1..sites {
        let invitation = members.first().map(Member::invitation).transpose()?;
        let ground = Ground::new(folder.join(number.to_string()), &format!("site-{number}"), invitation, &SETTINGS)?;
        members.push(ground.join("c1").await?);
        grounds.push(ground);
    }
    let memory_alone_bytes = resident_bytes().unwrap_or_default().saturating_sub(before) / (sites as u64 - 1);
    let meeting = Instant::now();
    if let Some((hub, others)) = grounds.split_first() {
        links.extend(others.iter().map(|ground| ground.link(hub, LINK)));
    }
    until("the other sites", &members, async |site| Ok(site.sites_alive().await? == sites)).await?;
    let met_ms = meeting.elapsed().as_millis();

    let quiet = carried(&links);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let idle = quiet.until(&carried(&links));

    // One object each makes the collection one that all use; what follows are news.
    push_at_all(&members, "first", 1).await?;
    until("the first objects", &members, async |site| Ok(count(site).await? == sites)).await?;
    let (pushing, start) = (carried(&links), Instant::now());
    push_at_all(&members, "more", objects).await?;
    until("the objects", &members, async |site| Ok(count(site).await? == sites * (objects + 1))).await?;
    let known_ms = start.elapsed().as_millis();
    let news = pushing.until(&carried(&links));

    let memory_bytes = resident_bytes().unwrap_or_default().saturating_sub(before) / (sites as u64 - 1);
    let [asker, other, ..] = members.as_slice() else { return Err(Error::internal("there are no two sites")) };
    let own: Address = "of-one/object".parse()?;
    push(other, &own).await?;
    until("the collection of one site", std::slice::from_ref(asker), async |site| {
        Ok(site.door.pull(&own, None).await.is_ok())
    })
    .await?;
    let of_all = questions_per_miss(asker, &links, "common").await?;
    let of_one = questions_per_miss(asker, &links, "of-one").await?;
    let edges = links.len() as f64;
    let pushed = (sites * objects).max(1) as f64;
    let report = Report {
        sites,
        met_ms,
        idle_bytes_per_s: idle.bytes as f64 / edges / seconds.max(1) as f64,
        idle_messages_per_s: idle.messages as f64 / edges / seconds.max(1) as f64,
        objects: sites * objects,
        known_ms,
        bytes_per_object: news.bytes as f64 / edges / pushed,
        questions_per_miss_of_all: of_all,
        questions_per_miss_of_one: of_one,
        memory_alone_bytes,
        memory_bytes,
    };
    try_join_all(members.into_iter().map(Member::leave)).await?;
    Ok(report)
}

/// What has gone over all links.
#[derive(Clone, Copy, Default)]
struct Carried {
    messages: u64,
    bytes: u64,
    questions: u64,
}

impl Carried {
    fn until(&self, later: &Carried) -> Carried {
        Carried {
            messages: later.messages - self.messages,
            bytes: later.bytes - self.bytes,
            questions: later.questions - self.questions,
        }
    }
}

fn carried(links: &[Link]) -> Carried {
    links.iter().fold(Carried::default(), |mut sum, link| {
        for ([messages, bytes], kind) in link.carried().into_iter().zip(KINDS) {
            (sum.messages, sum.bytes) = (sum.messages + messages, sum.bytes + bytes);
            sum.questions += if kind == "mesh.ask." { messages } else { 0 };
        }
        sum
    })
}

/// Waits until nobody asks anybody by itself, or for as long as that may take.
async fn settle(links: &[Link]) {
    for _ in 0..SETTLES_MAX {
        let before = carried(links);
        tokio::time::sleep(Duration::from_secs(1)).await;
        if before.until(&carried(links)).questions == 0 {
            return;
        }
    }
}

/// Questions that go over links for each pull of what is nowhere.
async fn questions_per_miss(asker: &Member, links: &[Link], collection: &str) -> Result<f64> {
    settle(links).await;
    let before = carried(links);
    for number in 0..MISSES {
        let address = format!("{collection}/nowhere-{number}").parse()?;
        match asker.door.pull(&address, None).await {
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => return Err(error),
            Ok(_) => return Err(Error::internal("what is nowhere was found")),
        }
    }
    Ok(before.until(&carried(links)).questions as f64 / MISSES as f64)
}

async fn push_at_all(members: &[Member], what: &str, objects: usize) -> Result<()> {
    for number in 0..objects {
        let address = |site: usize| format!("common/{what}-{number:04}-of-{site:04}").parse::<Address>();
        let pushes =
            members.iter().enumerate().map(|(site, member)| async move { push(member, &address(site)?).await });
        try_join_all(pushes).await?;
    }
    Ok(())
}

async fn push(member: &Member, address: &Address) -> Result<()> {
    let options = PushOptions { condition: Condition::Always, ..PushOptions::default() };
    member.door.push(address, Upload::bytes(Bytes::from_static(b"an object")), &options).await.map(drop)
}

async fn count(site: &Member) -> Result<usize> {
    let (mut lister, mut count) = (site.door.list_all(&"common".parse()?, ""), 0);
    while lister.next().await?.is_some() {
        count += 1;
    }
    Ok(count)
}

/// Waits until something holds at all sites. Who has come so far is not asked again.
async fn until(what: &'static str, sites: &[Member], holds: impl AsyncFn(&Member) -> Result<bool>) -> Result<()> {
    let (begun, mut left): (_, Vec<&Member>) = (Instant::now(), sites.iter().collect());
    while !left.is_empty() {
        if begun.elapsed() > PATIENCE {
            return Err(Error::deadline("something did not come to all sites in time")
                .with("what", what)
                .with("sites", left.len()));
        }
        let looked = join_all(left.iter().map(|site| holds(site))).await;
        left = left
            .into_iter()
            .zip(looked)
            .filter(|(_, holds)| !matches!(holds, Ok(true)))
            .map(|(site, _)| site)
            .collect();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

fn to_json(report: &Report) -> Result<String> {
    let value = json!({ "simulation": report });
    serde_json::to_string(&value).map_err(|error| Error::internal("cannot write JSON").because(error))
}

fn told(report: &Report) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
    let rows = [
        ("sites", report.sites.to_string()),
        ("each knows all others after", format!("{} ms", report.met_ms)),
        (
            "over a site's link while nothing happens",
            format!("{:.0} bytes, {:.1} messages a second", report.idle_bytes_per_s, report.idle_messages_per_s),
        ),
        ("objects pushed, in a collection that all use", report.objects.to_string()),
        ("all of them are listed everywhere after", format!("{} ms", report.known_ms)),
        ("over a site's link for each of them", format!("{:.0} bytes", report.bytes_per_object)),
        (
            "questions for a miss where all sites have the collection",
            format!("{:.1}", report.questions_per_miss_of_all),
        ),
        ("questions for a miss where one site has it", format!("{:.1}", report.questions_per_miss_of_one)),
        ("memory of a site that knows no other", mib(report.memory_alone_bytes)),
        ("memory of a site that knows all, and their objects", mib(report.memory_bytes)),
    ];
    rows.map(|(what, value)| format!("{what:<58} {value}")).join("\n")
}
