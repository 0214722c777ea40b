//! Three sites as one mesh, each with a keyring and a bus of its own: what is pushed at one is pulled at any, a policy said
//! at one holds at all, and one that is cut off goes on and agrees again.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use super::super::ground::{Ground, Member};
use super::site::{keys, pull, push, shown, told, until};
use super::{SETTINGS, expect, median, say};
use crate::Kind;
use crate::error::{Error, Result};
use crate::model::{Address, Condition, Rng, SeededRng};

/// Each way, between a site and the cloud's.
const LINK: Duration = Duration::from_millis(25);

const OBJECTS: u64 = 12;
const OBJECT_BYTES: usize = 100_000;

/// Objects that each side pushes while they are cut off from each other.
const APART: u64 = 20;

/// Shows what other sites change: for those who push and pull, nothing but the way.
pub async fn of_three(folder: &Path) -> Result<()> {
    say(
        "7  a mesh: sites cloud, edge and fog, each with a keyring and a bus of its own; edge and fog dial the cloud, 25 ms away",
    )?;
    let cloud_ground = Ground::new(folder.join("cloud"), "cloud", None, &SETTINGS)?;
    let cloud = cloud_ground.join("c1").await?;
    let invited = Some(cloud.invitation()?);
    let (edge_ground, fog_ground) = (
        Ground::new(folder.join("edge"), "edge", invited.clone(), &SETTINGS)?,
        Ground::new(folder.join("fog"), "fog", invited, &SETTINGS)?,
    );
    let link = edge_ground.link(&cloud_ground, LINK);
    let _other = fog_ground.link(&cloud_ground, LINK);
    let entering = Instant::now();
    let (edge, fog) = (edge_ground.join("c1").await?, fog_ground.join("c1").await?);
    for site in [&cloud, &edge, &fog] {
        until("the other sites", async || Ok(site.sites_alive().await? == 3)).await?;
    }
    say(&format!("   both enter by the cloud's invitation; after {} each of them knows all", told(entering)))?;
    across(&cloud, &edge, &fog).await?;
    ruled(&cloud, &edge, &fog).await?;

    let (read, unread) = (address("read")?, address("unread")?);
    for address in [&read, &unread] {
        push(&edge.door, address, body(1), Condition::Always).await?;
    }
    pull(&cloud.door, &read).await?;
    until("the news", async || Ok(keys(&cloud.door).await?.contains(&"unread".to_owned()))).await?;
    let cutting = Instant::now();
    link.cut();
    until("the silence", async || Ok(cloud.sites_alive().await? == 2)).await?;
    say(&format!("   the edge's link is cut; after {} the cloud says so, and both go on", told(cutting)))?;
    apart(&cloud, &edge, (&read, &unread)).await?;
    let healing = Instant::now();
    link.mend();
    until("agreement", async || {
        Ok(keys(&cloud.door).await? == keys(&edge.door).await? && keys(&fog.door).await? == keys(&edge.door).await?)
    })
    .await?;
    let took = told(healing);
    let all = keys(&edge.door).await?;
    for key in &all {
        let (there, here) = (pull(&edge.door, &address(key)?).await?.0, pull(&cloud.door, &address(key)?).await?.0);
        expect(there == here, "two sites have other bytes at one address")?;
    }
    say(&format!(
        "   the link is back; after {took} all three list the same {} objects, and read the same bytes",
        all.len()
    ))?;
    fog.leave().await?;
    edge.leave().await?;
    cloud.leave().await
}

/// What is pushed at the edge is known and read at the others.
async fn across(cloud: &Member, edge: &Member, fog: &Member) -> Result<()> {
    let (mut first, mut again, mut known) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..OBJECTS {
        let (key, start) = (format!("object-{number:02}"), Instant::now());
        push(&edge.door, &address(&key)?, body(number), Condition::Always).await?;
        until("the news", async || Ok(keys(&fog.door).await?.contains(&key))).await?;
        // The collection has to be in use before its news come by themselves.
        if number > 0 {
            known.push(start.elapsed());
        }
        for (times, levels) in [(&mut first, &["disk", "peer"][..]), (&mut again, &["ram", "disk"][..])] {
            let start = Instant::now();
            let (bytes, level) = pull(&cloud.door, &address(&key)?).await?;
            times.push(start.elapsed());
            expect(bytes == body(number) && levels.contains(&level.as_str()), "another site did not give the object")?;
        }
    }
    say(&format!("   pushed at the edge, listed at the fog, two links away      p50 {:>9}", median(known)))?;
    say(&format!("   pulled at the cloud, 100 KB: the first time                p50 {:>9}", median(first)))?;
    say(&format!("                                again, from what was left     p50 {:>9}", median(again)))?;
    let located = cloud.door.locate(&address("object-00")?).await?;
    say(&format!("   locate, asked at the cloud: {}", shown(&located)))
}

/// A policy that one site sets holds at all.
async fn ruled(cloud: &Member, edge: &Member, fog: &Member) -> Result<()> {
    let name = "patients".parse()?;
    let rule = json!({ "collections": ["patient-*"], "push": ["edge"], "open": ["edge", "fog"] });
    fog.door.put_policy(&name, rule.as_object().unwrap_or(&serde_json::Map::new()), None).await?;
    for site in [cloud, edge] {
        until("the policy", async || Ok(site.door.policies().await?.len() == 1)).await?;
    }
    let record: Address = "patient-7/record".parse()?;
    push(&edge.door, &record, body(7), Condition::Always).await?;
    expect(pull(&fog.door, &record).await?.0 == body(7), "who may read did not get the object")?;
    let error = pull(&cloud.door, &record).await.err();
    let error = error.ok_or_else(|| Error::internal("a policy was not heeded"))?;
    expect(error.kind() == Kind::Forbidden, "a refusal is called something else")?;
    say("   a policy is set at the fog, and heeded at all; of patient-7/record the cloud says:")?;
    say(&format!("     {}", error.message()))
}

/// Both sides go on while they do not hear each other.
async fn apart(cloud: &Member, edge: &Member, (read, unread): (&Address, &Address)) -> Result<()> {
    for number in 0..APART {
        push(&edge.door, &address(&format!("of-edge-{number:02}"))?, body(number), Condition::Always).await?;
        push(&cloud.door, &address(&format!("of-cloud-{number:02}"))?, body(number), Condition::Always).await?;
    }
    for site in [edge, cloud] {
        push(&site.door, &address("of-both")?, body(99), Condition::Always).await?;
    }
    expect(pull(&cloud.door, read).await?.0 == body(1), "what was read before cannot be read any more")?;
    let error = pull(&cloud.door, unread).await.err();
    let error = error.ok_or_else(|| Error::internal("what is out of reach was served"))?;
    expect(error.kind() == Kind::Unavailable, "what is out of reach counts as something else")?;
    say(&format!(
        "   {} pushes at both; what the cloud read before it still serves; of what it has not it says:",
        2 * APART + 2
    ))?;
    say(&format!("     {}", error.message()))
}

fn address(key: &str) -> Result<Address> {
    format!("demo/{key}").parse()
}

fn body(seed: u64) -> Bytes {
    let mut data = vec![0; OBJECT_BYTES];
    SeededRng::new(7 << 32 | seed).fill(&mut data);
    data.into()
}
