//! Two containers as one site: each answers for what the other keeps, one of them decides, and one leaves.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;

use crate::Kind;
use crate::client::{Client, Copy, Located, PushOptions, Upload};
use crate::error::{Error, Result};
use crate::model::{Address, Condition, Rng, SeededRng, Version};

use super::super::ground::Ground;
use super::{SETTINGS, SITE, expect, median, say};

const OBJECTS: u64 = 16;
const OBJECT_BYTES: usize = 1 << 20;

/// Who want to change one object at the same time.
const RIVALS: usize = 8;

/// Keys that are tried for one that the other container decides: it decides every second one.
const TRIES: usize = 64;

/// How long something may take to be known everywhere; far above what it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Shows what a second container changes: for those who push and pull, nothing.
pub async fn of_two(folder: &Path) -> Result<()> {
    say("6  a site: containers a and b, in this process, on one bus and with one keyring")?;
    let ground = Ground::new(folder.to_owned(), SITE, None, &SETTINGS)?;
    let a = ground.join("a").await?;
    let joining = Instant::now();
    let b = ground.join("b").await?;
    let known = all_known(&a.door, &b.door).await?;
    say(&format!("   b joins, and after {} it knows all {known} objects that a keeps", told(joining)))?;
    pulled_elsewhere(&a.door, &b.door).await?;
    decided_elsewhere(&b.door).await?;

    let (of_a, of_b) = (address("of-a")?, address("of-b")?);
    push(&a.door, &of_a, body(1000), Condition::Always).await?;
    push(&b.door, &of_b, body(1001), Condition::Always).await?;
    let leaving = Instant::now();
    a.leave().await?;
    say(&format!("   a leaves, in {}; b still serves what it keeps, and what it has read", told(leaving)))?;
    gone(&b.door, &of_a, &of_b).await?;
    let returning = Instant::now();
    let a = ground.join("a").await?;
    until("what a keeps", async || Ok(b.door.pull(&of_a, None).await.is_ok())).await?;
    expect(pull(&b.door, &of_a).await?.0 == body(1000), "what came back with its keeper has changed")?;
    say(&format!("   a comes back; after {} b serves that as well", told(returning)))?;
    b.leave().await?;
    a.leave().await
}

/// Waits until one container knows every object of another.
async fn all_known(from: &Client, to: &Client) -> Result<usize> {
    let wanted = keys(from).await?;
    until("the news of what there is", async || Ok(keys(to).await? == wanted)).await?;
    Ok(wanted.len())
}

pub(super) async fn keys(door: &Client) -> Result<Vec<String>> {
    let (mut lister, mut keys) = (door.list_all(&"demo".parse()?, ""), Vec::new());
    while let Some(item) = lister.next().await? {
        keys.push(item.key);
    }
    Ok(keys)
}

/// What is pushed at one door is pulled at the other, which keeps a copy in memory.
async fn pulled_elsewhere(at: &Client, elsewhere: &Client) -> Result<()> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for number in 0..OBJECTS {
        let address = address(&number.to_string())?;
        push(at, &address, body(number), Condition::Always).await?;
        let start = Instant::now();
        let (bytes, level) = pull(elsewhere, &address).await?;
        first.push(start.elapsed());
        expect(bytes == body(number) && level == "peer", "the other container did not give the object")?;
        until("a copy in memory", async || {
            let start = Instant::now();
            let (bytes, level) = pull(elsewhere, &address).await?;
            again.push(start.elapsed());
            expect(bytes == body(number), "a copy is not what it is a copy of")?;
            if level != "ram" {
                again.pop();
            }
            Ok(level == "ram")
        })
        .await?;
    }
    say("   pushed at a, pulled at b over HTTP, 1 MB each:")?;
    say(&format!("     the first time, from a (Mesh-Level: peer)      pull p50 {:>9}", median(first)))?;
    say(&format!("     again, from b's own memory (Mesh-Level: ram)   pull p50 {:>9}", median(again)))?;
    let located = elsewhere.locate(&address("0")?).await?;
    say(&format!("   locate, asked at b: {}", shown(&located)))
}

/// A condition is decided by one container, whichever is asked: of many who change one version, one does.
async fn decided_elsewhere(door: &Client) -> Result<()> {
    let (address, version) = first_of(door, "a").await?;
    let start = Instant::now();
    let condition = || Condition::OneOf(vec![version]);
    let rival = |number| push(door, &address, Bytes::from(format!("rival {number}")), condition());
    let rivals = join_all((0..RIVALS).map(rival)).await;
    let took = told(start);
    let done = rivals.iter().filter(|outcome| outcome.is_ok()).count();
    let late = |outcome: &&Result<Version>| matches!(outcome, Err(error) if error.kind() == Kind::PreconditionFailed);
    let late = rivals.iter().filter(late).count();
    expect(done == 1 && late == RIVALS - 1, "not exactly one of many changed a version")?;
    say(&format!(
        "   {RIVALS} change one version at b at once (If-Match); a decides: {done} wins, {late} hear 412, in {took}"
    ))
}

/// A new object, pushed here on condition that there is none, that the container of this name decides: who decides
/// keeps it.
async fn first_of(door: &Client, decider: &str) -> Result<(Address, Version)> {
    for number in 0..TRIES {
        let address = address(&format!("first-{number}"))?;
        let version = push(door, &address, Bytes::from_static(b"the first"), Condition::Absent).await?;
        let located = door.locate(&address).await?;
        let copies = || located.versions.iter().flat_map(|version| &version.copies);
        if copies().any(|copy| copy.container == decider && matches!(copy.state.as_str(), "kept" | "owed")) {
            return Ok((address, version));
        }
    }
    Err(Error::internal("one container decides everything"))
}

/// What the container that stays says of an object whose keeper left, while it serves all else.
async fn gone(door: &Client, of_other: &Address, own: &Address) -> Result<()> {
    expect(pull(door, own).await?.0 == body(1001), "what it keeps itself is not what was pushed")?;
    expect(pull(door, &address("0")?).await?.0 == body(0), "what it has read is not what was pushed")?;
    let error = door.pull(of_other, None).await.err();
    let error = error.ok_or_else(|| Error::internal("what nobody here has was served"))?;
    expect(error.kind() == Kind::Unavailable, "an object whose keeper is away counts as something else")?;
    say(&format!("   of what a alone has, b says: {error}"))?;
    let located = door.locate(of_other).await?;
    say(&format!("   locate, asked at b: {}", shown(&located)))
}

pub(super) async fn push(door: &Client, address: &Address, data: Bytes, condition: Condition) -> Result<Version> {
    let options = PushOptions { condition, ..PushOptions::default() };
    Ok(door.push(address, Upload::bytes(data), &options).await?.version)
}

/// The bytes, and the level that gave them.
pub(super) async fn pull(door: &Client, address: &Address) -> Result<(Bytes, String)> {
    let pulled = door.pull(address, None).await?;
    let level = pulled.object.level.clone().unwrap_or_default();
    Ok((pulled.bytes().await?, level))
}

pub(super) async fn until(what: &'static str, mut holds: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !holds().await? {
        if begun.elapsed() > PATIENCE {
            return Err(Error::internal("something did not come in time").with("what", what));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// The copies of the newest version, for people.
pub(super) fn shown(located: &Located) -> String {
    let copy = |copy: &Copy| {
        let site = if copy.site == SITE { String::new() } else { format!("{}/", copy.site) };
        format!("{site}{} {} ({})", copy.container, copy.level, copy.state)
    };
    let copies = located.versions.first().map(|version| version.copies.iter().map(copy).collect::<Vec<_>>());
    copies.unwrap_or_default().join(", ")
}

pub(super) fn told(since: Instant) -> String {
    format!("{} ms", since.elapsed().as_millis())
}

fn address(key: &str) -> Result<Address> {
    format!("demo/site/{key}").parse()
}

fn body(seed: u64) -> Bytes {
    let mut data = vec![0; OBJECT_BYTES];
    SeededRng::new(6 << 32 | seed).fill(&mut data);
    data.into()
}
