//! What a container tells of itself, if one answers.

use std::path::PathBuf;

use serde_json::Value;

use super::finding::Finding;
use super::local::Places;
use crate::cli::Remote;
use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::model::{Clock, SystemClock};

/// Share of the disk's budget from which pushes may soon be refused.
const FILL_MAX: f64 = 0.95;

/// How far the clocks of a container and of whoever asks may be apart.
const SKEW_MS_MAX: u64 = 60_000;
/// A queue that is fuller than this makes callers wait soon.
const QUEUE_PART_POOR: f64 = 0.9;

/// A container that answers.
pub(super) struct Running {
    /// Its process, if it is on this host.
    pub(super) pid: Option<u64>,
    /// What it works with, if that is on this host.
    pub(super) places: Option<Places>,
}

/// Looks at the container. That none answers is bad only where one was named.
pub(super) async fn look(remote: &Remote, named: bool, findings: &mut Vec<Finding>) -> Option<Running> {
    const CHECK: &str = "container";
    let client = match reach(remote).await {
        Ok(client) => client,
        Err(error) => {
            let remedy = match remote.url.starts_with("https:") {
                true => {
                    "start one with `meshstore serve`, or name it with --url or MESHSTORE_URL; where its certificate is not trusted, name its authority's with --ca, and make a self-signed one with `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE`"
                }
                false => "start one with `meshstore serve`, or name it with --url or MESHSTORE_URL",
            };
            let detail = format!("none answers at {}: {}", remote.url, error.message());
            findings.push(if named {
                Finding::bad(CHECK, detail, remedy)
            } else {
                Finding::poor(CHECK, detail, remedy)
            });
            return None;
        }
    };
    match ask(&client, findings).await {
        Ok(running) => Some(running),
        Err(error) => {
            findings.push(match error.kind() {
                Kind::Unauthorised | Kind::Forbidden => Finding::poor(
                    CHECK,
                    "it answers, but not about itself",
                    "put a token with the scope admin into MESHSTORE_TOKEN",
                ),
                _ => Finding::bad(CHECK, error.to_string(), "does --url name a container?"),
            });
            None
        }
    }
}

async fn reach(remote: &Remote) -> Result<Client> {
    let client = remote.client()?;
    client.health().await?;
    Ok(client)
}

async fn ask(client: &Client, findings: &mut Vec<Finding>) -> Result<Running> {
    let told = client.admin("containers").await?;
    let here = told.pointer("/containers/0").ok_or_else(|| Error::internal("it names no container"))?;
    findings.push(readiness(client.url(), here));
    findings.push(skew(here));
    findings.push(actors(&client.admin("actors").await?));
    findings.push(queues(&client.admin("queues").await?));
    let tiers = client.admin("tiers").await?;
    findings.push(damage(&client.admin("scrub").await?));
    findings.push(budget(&tiers));
    findings.push(losses(&client.admin("repair").await?));
    let config = client.admin("config").await?;
    let value = |key: &str| {
        let keys = config.get("config").and_then(Value::as_array)?;
        keys.iter().find(|item| item.get("key").and_then(Value::as_str) == Some(key))?.get("value")?.as_str()
    };
    let places = (|| {
        Some(Places {
            data: PathBuf::from(value("data.dir")?),
            keys: PathBuf::from(value("keys.file")?),
            requests_max: value("limits.requests_max")?.parse().ok()?,
        })
    })();
    // Another host may have the same paths; only one that names a process with our program is this one.
    let pid = number(here, "pid").filter(|pid| is_ours(*pid));
    Ok(Running { pid, places: places.filter(|_| pid.is_some()) })
}

fn is_ours(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "meshstore")
}

fn number(item: &Value, name: &str) -> Option<u64> {
    item.get(name)?.as_u64()
}

fn text<'a>(item: &'a Value, name: &str) -> &'a str {
    item.get(name).and_then(Value::as_str).unwrap_or("?")
}

fn readiness(url: &str, here: &Value) -> Finding {
    let detail = format!(
        "{} of site {} answers at {url} (version {})",
        text(here, "name"),
        text(here, "site"),
        text(here, "version")
    );
    if here.get("ready").and_then(Value::as_bool) == Some(true) {
        return Finding::good("container", detail);
    }
    Finding::bad("container", format!("{detail}, but takes no changes"), "it is drained or stopping: start it anew")
}

fn skew(here: &Value) -> Finding {
    let Some(theirs) = number(here, "clock_ms") else {
        return Finding::skipped("clocks", "the container does not tell");
    };
    let apart = theirs.abs_diff(SystemClock.now_ms());
    if apart > SKEW_MS_MAX {
        return Finding::poor(
            "clocks",
            format!("that of the container is {} s apart from this host's", apart / 1000),
            "set both by NTP",
        );
    }
    Finding::good("clocks", "the container's and this host's agree")
}

fn items<'a>(told: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    told.get(name).and_then(Value::as_array).into_iter().flatten()
}

fn actors(told: &Value) -> Finding {
    let died: Vec<String> = items(told, "actors")
        .filter(|actor| number(actor, "restarts").is_some_and(|restarts| restarts > 0))
        .map(|actor| {
            let why = actor.pointer("/last_error/text").and_then(Value::as_str).unwrap_or("unknown");
            format!("{} {} times ({why})", text(actor, "name"), number(actor, "restarts").unwrap_or_default())
        })
        .collect();
    if died.is_empty() {
        return Finding::good("actors", "none was ever restarted");
    }
    Finding::poor("actors", format!("restarted: {}", died.join(", ")), "read the log at that time, and report it")
}

fn queues(told: &Value) -> Finding {
    let full = |queue: &&Value| match (number(queue, "used"), number(queue, "bound")) {
        (Some(used), Some(bound)) => used as f64 > bound as f64 * QUEUE_PART_POOR,
        _ => false,
    };
    let names: Vec<&str> = items(told, "queues").filter(full).map(|queue| text(queue, "name")).collect();
    if names.is_empty() {
        return Finding::good("queues", "all have room");
    }
    Finding::poor(
        "queues",
        format!("nearly full: {}", names.join(", ")),
        "send less at once, or raise the limits in the configuration",
    )
}

fn losses(told: &Value) -> Finding {
    if told.get("incomplete").and_then(Value::as_bool) != Some(true) {
        return Finding::good("store", "nothing that was acknowledged is known to be lost");
    }
    Finding::bad(
        "store",
        "it was damaged, and not all of it could be brought back: what is not found may be lost",
        "see meshstore admin repair --show; restore what is missing, then accept the rest with admin repair",
    )
}

/// Nearly nothing can be pushed to a disk that holds as much as it should.
fn budget(told: &Value) -> Finding {
    let disk = items(told, "tiers").find(|tier| text(tier, "level") == "disk");
    let fill = disk.and_then(|disk| disk.get("fill")).and_then(Value::as_f64).unwrap_or_default();
    if fill < FILL_MAX {
        return Finding::good("disk budget", format!("{:.0} % of it are used", fill * 100.0));
    }
    Finding::poor(
        "disk budget",
        format!("{:.0} % of it are used", fill * 100.0),
        "delete objects, raise data.budget_bytes, or see with meshstore sync status what keeps objects from the cloud",
    )
}

/// An old version that is damaged keeps nobody from the object: it goes when its retention ends.
fn damage(told: &Value) -> Finding {
    const CHECK: &str = "objects";
    let all = number(told, "quarantined").unwrap_or_default();
    let is_old = |item: &&Value| item.get("newest").and_then(Value::as_bool) == Some(false);
    // Those that are not named may be the newest.
    let old = items(told, "quarantine").filter(is_old).count() as u64;
    match (all, all.saturating_sub(old)) {
        (0, _) => Finding::good(CHECK, "none is in quarantine"),
        (old, 0) => Finding::good(
            CHECK,
            format!("none is in quarantine but {old} old versions, which go when their retention ends"),
        ),
        (_, bad) => Finding::poor(
            CHECK,
            format!("{bad} failed their check and are in quarantine"),
            "push them again or restore them; check the disk",
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::doctor::finding::Verdict;

    #[test]
    fn damaged_old_versions_are_no_damaged_objects() {
        let told = |all: u64, newest: &[bool]| {
            let named: Vec<Value> = newest.iter().map(|newest| json!({ "newest": newest })).collect();
            damage(&json!({ "quarantined": all, "quarantine": named }))
        };
        assert_eq!(told(0, &[]).verdict, Verdict::Good);
        assert_eq!(told(2, &[false, false]).verdict, Verdict::Good);
        let poor = told(3, &[false, true, false]);
        assert!(poor.verdict == Verdict::Poor && poor.text().contains("1 failed"), "{}", poor.text());
        assert_eq!(told(2, &[false]).verdict, Verdict::Poor, "who is not named may be the newest");
    }
}
