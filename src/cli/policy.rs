//! `policy`: what the sites of the mesh may do with which collections, from a file that lives in version control.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::out;
use super::table::{self, Cell, Column};
use crate::client::{Client, MeshPolicy, PolicyVersion};
use crate::control::{rule_from_json, rule_to_json};
use crate::error::{Error, Result};
use crate::model::{Name, Rule, Version};

const FILE: &str = "A file of policies:
  [policy.patients]
  collections = [\"patient-*\"]        # names, or how they begin
  note = \"stays in the hospital\"     # told to whoever is refused
  push = [\"edge\"]                    # the sites that take pushes and deletes
  hold = [\"edge\", \"fog\"]             # the sites where copies may rest
  open = [\"edge\", \"fog\"]             # the sites that may read
  subscribe = [\"fog\"]                # the sites that hear of every change, asked for or not
  copies = \"small\"                   # what a pull leaves: none, small or all
  cloud = false                      # whether objects may go to a cloud tier
  evict = false                      # whether what the cloud has may leave the disk
  object_bytes = \"1GiB\"              # the largest object
  quota_bytes = \"10GiB\"              # of a collection, at each container
  quota_objects = 100000
What is left out is free. Where several policies are about a collection, all of them hold.";

/// `policy …`.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Show what a file of policies would change.
    #[command(after_help = FILE)]
    Plan(Plan),
    /// Make the policies of the mesh those of a file; they hold at all sites.
    #[command(after_help = FILE)]
    Apply(Apply),
    /// Show the policies that rule, and those that two sites changed while they did not hear each other.
    Show(Show),
    /// Show the past of a policy.
    Log(Log),
}

/// `policy plan FILE`.
#[derive(Debug, Args)]
pub struct Plan {
    /// The file (TOML).
    file: PathBuf,
    /// Remove policies that the file does not name.
    #[arg(long)]
    prune: bool,
    /// One line of JSON a change.
    #[arg(long)]
    json: bool,
}

/// `policy apply FILE`.
#[derive(Debug, Args)]
pub struct Apply {
    /// The file (TOML).
    #[arg(required_unless_present = "take", conflicts_with = "take")]
    file: Option<PathBuf>,
    /// Remove policies that the file does not name.
    #[arg(long, conflicts_with = "take")]
    prune: bool,
    /// Make a version rule again that another one has replaced, or overruled.
    #[arg(long, value_name = "POLICY@VERSION", value_parser = taken)]
    take: Option<(Name, Version)>,
    /// One line of JSON a change.
    #[arg(long)]
    json: bool,
}

/// `policy show [NAME]`.
#[derive(Debug, Args)]
pub struct Show {
    /// A policy; as it would stand in a file.
    name: Option<Name>,
    /// JSON.
    #[arg(long)]
    json: bool,
}

/// `policy log NAME`.
#[derive(Debug, Args)]
pub struct Log {
    /// The policy.
    name: Name,
    /// One line of JSON a version.
    #[arg(long)]
    json: bool,
}

fn taken(text: &str) -> Result<(Name, Version)> {
    let (name, version) =
        text.split_once('@').ok_or_else(|| Error::invalid("name a policy and a version, as in patients@VERSION"))?;
    Ok((name.parse()?, version.parse()?))
}

/// A change that a plan comes to.
#[derive(Serialize)]
struct Step {
    policy: Name,
    #[serde(rename = "do")]
    what: What,
    /// The version that rules now.
    replaces: Option<String>,
    /// What is to hold.
    rule: Option<Map<String, Value>>,
    /// What holds now.
    #[serde(skip)]
    now: Option<Map<String, Value>>,
    /// Versions that were made apart, and that the change decides against.
    others: Vec<PolicyVersion>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum What {
    Add,
    Change,
    Remove,
    /// It is not in the file, and stays.
    Leave,
    Keep,
}

impl PolicyCommand {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        match self {
            PolicyCommand::Plan(plan) => {
                let steps = steps(client, &plan.file, plan.prune).await?;
                tell(&steps, plan.json)?;
                if plan.json { Ok(()) } else { summary(&steps, "to") }
            }
            PolicyCommand::Apply(Apply { take: Some((name, version)), json, .. }) => {
                take(client, name, *version, *json).await
            }
            PolicyCommand::Apply(apply) => {
                let file = apply.file.as_deref().ok_or_else(|| Error::invalid("name a file of policies"))?;
                let steps = steps(client, file, apply.prune).await?;
                for step in &steps {
                    step.carry_out(client).await?;
                }
                tell(&steps, apply.json)?;
                if apply.json { Ok(()) } else { summary(&steps, "was") }
            }
            PolicyCommand::Show(Show { name: None, json }) => overview(&client.policies().await?, *json),
            PolicyCommand::Show(Show { name: Some(name), json }) => {
                let policy = client.policy(name).await?;
                if *json { out::json(&policy) } else { as_in_file(&policy) }
            }
            PolicyCommand::Log(log) => {
                let versions = client.policy(&log.name).await?.log;
                if log.json { versions.iter().try_for_each(out::json) } else { past(&versions) }
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    policy: BTreeMap<String, Map<String, Value>>,
}

/// The policies of a file; everything that is wrong is said with the policy that it is in.
fn read(text: &str) -> Result<BTreeMap<Name, Rule>> {
    let strange = |error: toml::de::Error| {
        Error::invalid("the file cannot be read as policies; `meshstore policy plan --help` shows one").because(error)
    };
    let file: File = toml::from_str(text).map_err(strange)?;
    let rule = |(name, fields): (String, Map<String, Value>)| {
        let parsed = name.parse::<Name>().and_then(|parsed| Ok((parsed, rule_from_json(fields)?)));
        parsed.map_err(|error| error.with("policy", name))
    };
    file.policy.into_iter().map(rule).collect()
}

async fn steps(client: &Client, file: &Path, prune: bool) -> Result<Vec<Step>> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Error::invalid("the file cannot be read").with("path", file.display()).because(error))?;
    let wanted = read(&text).map_err(|error| error.with("path", file.display()))?;
    let mut now: BTreeMap<String, MeshPolicy> =
        client.policies().await?.into_iter().map(|policy| (policy.name.clone(), policy)).collect();
    warn_of_sites(client, &wanted).await;
    let mut steps = Vec::new();
    for (policy, rule) in wanted {
        let (known, rule) = (now.remove(policy.as_str()), rule_to_json(&rule));
        let others = known.as_ref().map(|known| known.others.clone()).unwrap_or_default();
        let ruling = known.and_then(|known| Some((known.ruling.version, known.ruling.rule?)));
        let what = match &ruling {
            None => What::Add,
            Some((_, now)) if *now == rule && others.is_empty() => What::Keep,
            Some(_) => What::Change,
        };
        let (replaces, now) = ruling.unzip();
        steps.push(Step { policy, what, replaces, rule: Some(rule), now, others });
    }
    for (name, policy) in now {
        let what = if prune { What::Remove } else { What::Leave };
        let (replaces, now, others) = (Some(policy.ruling.version), policy.ruling.rule, policy.others);
        // One that was removed already, and that another site has changed: whoever prunes means both.
        let replaces = replaces.filter(|_| now.is_some());
        steps.push(Step { policy: name.parse()?, what, replaces, rule: None, now, others });
    }
    Ok(steps)
}

/// Sites that are not of the mesh yet may be meant; a slip of the pen is more likely.
async fn warn_of_sites(client: &Client, wanted: &BTreeMap<Name, Rule>) {
    // Who may not ask is not warned.
    let Ok(told) = client.admin("sites").await else { return };
    let known: Vec<&str> = told
        .get("sites")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|site| site.get("name")?.as_str())
        .collect();
    for (policy, rule) in wanted {
        for site in rule.sites().filter(|site| !known.contains(&site.as_str())) {
            eprintln!("warning: policy {policy} names site {site}, which is not one of the mesh (yet)");
        }
    }
}

impl Step {
    async fn carry_out(&self, client: &Client) -> Result<()> {
        let replaces = self.replaces.as_deref();
        match (self.what, &self.rule) {
            (What::Add | What::Change, Some(rule)) => client.put_policy(&self.policy, rule, replaces).await.map(drop),
            (What::Remove, _) => client.remove_policy(&self.policy, replaces).await,
            _ => Ok(()),
        }
    }
}

fn tell(steps: &[Step], json: bool) -> Result<()> {
    if json {
        return steps.iter().try_for_each(out::json);
    }
    for step in steps {
        let sign = match step.what {
            What::Add => "+",
            What::Change => "~",
            What::Remove => "-",
            What::Leave => "?",
            What::Keep => "=",
        };
        let note = if step.what == What::Leave { "  not in the file; --prune removes it" } else { "" };
        out::line(&format!("{sign} {}{note}", step.policy))?;
        let empty = Map::new();
        let (now, then) = (step.now.as_ref().unwrap_or(&empty), step.rule.as_ref().unwrap_or(&empty));
        if matches!(step.what, What::Add | What::Change) {
            let names: std::collections::BTreeSet<&String> = now.keys().chain(then.keys()).collect();
            for name in names {
                match (now.get(name), then.get(name)) {
                    (Some(now), Some(then)) if now == then => {}
                    (Some(now), Some(then)) => out::line(&format!("    {name}: {now} -> {then}"))?,
                    (Some(now), None) => out::line(&format!("    {name}: {now} -> free"))?,
                    (None, Some(then)) => out::line(&format!("    {name}: {then}"))?,
                    (None, None) => {}
                }
            }
        }
        for other in &step.others {
            let against = if matches!(step.what, What::Leave | What::Keep) { "also" } else { "decides against" };
            out::line(&format!("    {against} {} of {} at {}", other.version, other.changed, other.site))?;
        }
    }
    Ok(())
}

fn summary(steps: &[Step], verb: &str) -> Result<()> {
    let count = |what: What| steps.iter().filter(|step| step.what == what).count();
    let (add, change, remove) = (count(What::Add), count(What::Change), count(What::Remove));
    out::line(&match (add + change + remove, verb) {
        (0, _) => "nothing to change".to_owned(),
        (_, "to") => format!("{add} to add, {change} to change, {remove} to remove"),
        _ => format!("{add} added, {change} changed, {remove} removed"),
    })
}

/// Makes an older version, or the other one of two, rule again.
async fn take(client: &Client, name: &Name, version: Version, json: bool) -> Result<()> {
    let policy = client.policy(name).await?;
    let version = version.to_string();
    let found = policy.log.iter().find(|one| one.version == version).ok_or_else(|| {
        Error::not_found("there is no such version; `meshstore policy log` shows those that are kept")
            .with("policy", name)
            .with("version", &version)
    })?;
    let now = policy.ruling.rule.as_ref().map(|_| policy.ruling.version.as_str());
    match &found.rule {
        Some(rule) => client.put_policy(name, rule, now).await.map(drop)?,
        None => client.remove_policy(name, now).await?,
    }
    let after = client.policy(name).await?;
    match json {
        true => out::json(&after),
        false => out::line(&format!("{name}  version {} says what {version} said", after.ruling.version)),
    }
}

const OVERVIEW: [Column; 6] = [
    ("POLICY", "name", Cell::Text),
    ("COLLECTIONS", "rule.collections", Cell::Text),
    ("CHANGED", "changed", Cell::Text),
    ("SITE", "site", Cell::Text),
    ("AGAINST", "against", Cell::Number),
    ("ASKS FOR", "asks", Cell::Text),
];

fn overview(policies: &[MeshPolicy], json: bool) -> Result<()> {
    if json {
        return policies.iter().try_for_each(out::json);
    }
    if policies.is_empty() {
        return Ok(());
    }
    let row = |policy: &MeshPolicy| {
        let mut row =
            serde_json::to_value(policy).map_err(|error| Error::internal("cannot write JSON").because(error))?;
        if let Value::Object(row) = &mut row {
            row.insert("asks".to_owned(), asks(policy.ruling.rule.as_ref()).into());
        }
        Ok(row)
    };
    table::print(&OVERVIEW, &policies.iter().map(row).collect::<Result<Vec<_>>>()?)?;
    for policy in policies {
        for other in &policy.others {
            let said = asks(other.rule.as_ref());
            out::line(&format!(
                "{}: changed at {} as well, at {}, by who had not heard of it: {said}\n  take that one: meshstore policy apply --take {}@{}",
                policy.name, other.site, other.changed, policy.name, other.version,
            ))?;
        }
    }
    Ok(())
}

/// What a version asks for, in one line.
fn asks(rule: Option<&Map<String, Value>>) -> String {
    let Some(rule) = rule else { return "nothing, it was removed".to_owned() };
    let fields = rule.iter().filter(|(name, _)| !["collections", "note"].contains(&name.as_str()));
    fields.map(|(name, value)| format!("{name}={}", short(value))).collect::<Vec<_>>().join(" ")
}

fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(short).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// The policy as a file has it, so that it can be put into one.
fn as_in_file(policy: &MeshPolicy) -> Result<()> {
    let PolicyVersion { version, changed, site, rule, .. } = &policy.ruling;
    out::line(&format!("# version {version}, of {changed} at {site}"))?;
    if policy.against > 0 {
        out::line(&format!("# {} here may not rest at this site", out::count(policy.against, "object", "objects")))?;
    }
    for other in &policy.others {
        out::line(&format!("# {} of {} at {} was made apart from it", other.version, other.changed, other.site))?;
    }
    let Some(rule) = rule else { return out::line("# it was removed") };
    let file = BTreeMap::from([("policy", BTreeMap::from([(policy.name.as_str(), rule)]))]);
    let text = toml::to_string(&file).map_err(|error| Error::internal("cannot write TOML").because(error))?;
    out::text(&text)
}

const PAST: [Column; 4] = [
    ("VERSION", "version", Cell::Text),
    ("CHANGED", "changed", Cell::Text),
    ("SITE", "site", Cell::Text),
    ("ASKS FOR", "asks", Cell::Text),
];

fn past(versions: &[PolicyVersion]) -> Result<()> {
    let row = |one: &PolicyVersion| json!({ "version": one.version, "changed": one.changed, "site": one.site, "asks": asks(one.rule.as_ref()) });
    table::print(&PAST, &versions.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_help_is_one() {
        let text: String = FILE.lines().filter(|line| line.starts_with("  ")).map(|line| format!("{line}\n")).collect();
        let policies = read(&text).unwrap();
        let rule = policies.values().next().unwrap();
        // Whatever a policy can name is in it.
        assert_eq!(rule_to_json(rule).len(), serde_json::to_value(rule).unwrap().as_object().unwrap().len());
    }

    #[test]
    fn what_is_wrong_in_a_file_is_told_with_its_policy() {
        for (text, word) in [
            ("[policy.a]\ncollections = [\"x\"]\n", "nothing"),
            ("[policy.a]\ncolections = [\"x\"]\n", "colections"),
            ("[policy.A]\ncollections = [\"x\"]\ncloud = false\n", "name"),
            ("[policies.a]\ncloud = false\n", "policy plan --help"),
            ("policy", "policy plan --help"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(word), "{text}: {error}");
        }
        assert_eq!(read("[policy.a]\ncollections = [\"x\"]\n").unwrap_err().context("policy"), Some("a"));
        assert!(read("").unwrap().is_empty());
        assert!(taken("a").is_err() && taken("a@b").is_err());
    }
}
