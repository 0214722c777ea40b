//! The policies of the mesh, which every container of every site holds alike, and what they mean for a collection.
//!
//! A policy is kept with its past: the last versions of it, each of which says which ones it replaces. Whoever takes in
//! what another one has comes to the same set, in whatever order; the latest version that nobody replaced rules. Where
//! there are several of those, sites that did not hear each other changed the policy, and both are shown.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use tokio::sync::watch;

use super::rule_form::{is_good_rule, rule_to_json};
use super::verdict::Verdict;
use crate::error::{Error, Kind, Result};
use crate::limits::{POLICIES_MAX, POLICY_AHEAD_MAX_MS, POLICY_VERSIONS_MAX, VERDICTS_MAX};
use crate::model::{Clock, ContainerId, Name, PolicyRecord, Rule, Version, fingerprint, mix};
use crate::store::{Batch, Store};

/// A policy with its past.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    versions: BTreeMap<Version, PolicyRecord>,
}

impl Policy {
    /// The versions that are kept, the latest first.
    pub fn log(&self) -> impl Iterator<Item = &PolicyRecord> {
        self.versions.values().rev()
    }

    /// Those that nobody replaced, the one that rules first.
    pub fn heads(&self) -> Vec<&PolicyRecord> {
        let is_replaced =
            |one: &PolicyRecord| self.versions.values().any(|other| other.replaces.contains(&one.version));
        self.log().filter(|one| !is_replaced(one)).collect()
    }

    /// The one that rules; nothing where it was removed.
    pub fn ruling(&self) -> Option<(&PolicyRecord, &Rule)> {
        let head = self.heads().into_iter().next()?;
        Some((head, head.rule.as_ref()?))
    }

    /// Whether a version that nobody replaced says anything.
    fn has_rule(&self) -> bool {
        self.heads().iter().any(|head| head.rule.is_some())
    }

    /// Takes a version in. Returns whether it is new, and which one had to go for it.
    fn take(&mut self, record: PolicyRecord) -> (bool, Option<Version>) {
        let version = record.version;
        // Nobody makes one version twice but who lost its store, or lies: then all keep to the same one.
        if self.versions.get(&version).is_some_and(|known| content(known) >= content(&record)) {
            return (false, None);
        }
        self.versions.insert(version, record);
        // All who have heard of the same versions keep the same ones.
        let gone = match self.versions.len() > POLICY_VERSIONS_MAX {
            true => self.versions.pop_first().map(|(oldest, _)| oldest),
            false => None,
        };
        (gone != Some(version), gone)
    }
}

/// What a version says, as a number that differs where it says something else.
fn content(record: &PolicyRecord) -> u64 {
    let rule = record.rule.as_ref().map(rule_to_json).map(|rule| serde_json::to_vec(&rule).unwrap_or_default());
    let mut bytes = rule.unwrap_or_default();
    record.replaces.iter().for_each(|version| bytes.extend_from_slice(&version.to_be_bytes()));
    mix(fingerprint(&bytes).wrapping_add(fingerprint(record.site.as_str().as_bytes())))
}

/// Whether a version that somebody else has made is one that could have been made here.
fn is_sound(record: &PolicyRecord) -> bool {
    let replaces =
        record.replaces.len() <= POLICY_VERSIONS_MAX && record.replaces.iter().all(|old| *old < record.version);
    replaces && record.rule.as_ref().is_none_or(is_good_rule)
}

/// The policies that a container knows.
pub struct Policies {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    /// Whose decisions these are, and where they are made.
    me: (ContainerId, Name),
    known: RwLock<BTreeMap<Name, Policy>>,
    /// Whether any rules: where none does, nothing is looked up.
    any: AtomicBool,
    /// What rules now.
    ruling: RwLock<Arc<Vec<(Name, Rule)>>>,
    /// What it means for the collections that were asked about.
    verdicts: RwLock<HashMap<String, Option<Arc<Verdict>>>>,
    sum: AtomicU64,
    changed: watch::Sender<()>,
    /// Held by who changes something.
    changing: Mutex<()>,
}

impl Policies {
    /// What the store has of them.
    pub fn open(store: Arc<Store>, clock: Arc<dyn Clock>, me: (ContainerId, Name)) -> Result<Self> {
        let mut known = BTreeMap::<Name, Policy>::new();
        for record in store.policies()? {
            known.entry(record.name.clone()).or_default().versions.insert(record.version, record);
        }
        let all = Policies {
            store,
            clock,
            me,
            known: RwLock::new(known),
            any: AtomicBool::new(false),
            ruling: RwLock::default(),
            verdicts: RwLock::default(),
            sum: AtomicU64::new(0),
            changed: watch::Sender::default(),
            changing: Mutex::default(),
        };
        all.settle();
        Ok(all)
    }

    /// The site where they are made.
    pub fn site(&self) -> &Name {
        &self.me.1
    }

    /// Whether any rules.
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// What they mean for a collection; nothing where none is about it.
    pub fn on(&self, collection: &str) -> Option<Arc<Verdict>> {
        if !self.is_any() {
            return None;
        }
        if let Some(known) = self.verdicts.read().unwrap_or_else(PoisonError::into_inner).get(collection) {
            return known.clone();
        }
        let ruling = Arc::clone(&self.ruling.read().unwrap_or_else(PoisonError::into_inner));
        let rules = ruling.iter().filter(|(_, rule)| rule.is_about(collection)).map(|(name, rule)| (name, rule));
        let verdict = Verdict::of(&self.me.1, rules).map(Arc::new);
        let mut verdicts = self.verdicts.write().unwrap_or_else(PoisonError::into_inner);
        if verdicts.len() >= VERDICTS_MAX {
            verdicts.clear();
        }
        // What was drawn from policies that have changed meanwhile is not kept.
        if Arc::ptr_eq(&ruling, &self.ruling.read().unwrap_or_else(PoisonError::into_inner)) {
            verdicts.insert(collection.to_owned(), verdict.clone());
        }
        verdict
    }

    /// One of them, also one that was removed.
    pub fn get(&self, name: &Name) -> Option<Policy> {
        self.read().get(name).cloned()
    }

    /// Those that rule, or would if no other site had removed them; by name.
    pub fn list(&self) -> Vec<(Name, Policy)> {
        let known = self.read();
        known
            .iter()
            .filter(|(_, policy)| policy.has_rule())
            .map(|(name, policy)| (name.clone(), policy.clone()))
            .collect()
    }

    /// Every version of each of them, by name and age.
    pub fn records(&self) -> Vec<PolicyRecord> {
        self.read().values().flat_map(|policy| policy.versions.values().cloned()).collect()
    }

    /// A number that all who hold the same have alike, and hardly anybody else.
    pub fn sum(&self) -> u64 {
        self.sum.load(Ordering::Acquire)
    }

    /// Changes with whatever is changed here.
    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Sets a policy, or removes it. `expected` names the version that rules now: `Some(None)` when none may. Whatever
    /// nobody has replaced yet is replaced by it. Returns the new version, and whether none ruled before.
    pub fn put(
        &self,
        name: &Name,
        rule: Option<Rule>,
        expected: Option<Option<Version>>,
    ) -> Result<(PolicyRecord, bool)> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, replaces, last, has_rule) = {
            let known = self.read();
            let policy = known.get(name);
            if policy.is_none() && known.len() >= POLICIES_MAX {
                let why =
                    "there are as many names of policies as a mesh keeps, removed ones among them; use one of those";
                return Err(Error::too_large(why).with("policy", name).with("limit", POLICIES_MAX));
            }
            let now = policy.and_then(|policy| Some(policy.ruling()?.0.version));
            let heads: Vec<Version> =
                policy.iter().flat_map(|policy| policy.heads()).map(|head| head.version).collect();
            let last = policy.and_then(|policy| policy.versions.keys().next_back().copied());
            let has_rule = policy.is_some_and(Policy::has_rule);
            (now, heads, last, has_rule)
        };
        check(name, now, expected)?;
        if rule.is_none() && !has_rule {
            return Err(Error::not_found("there is no such policy").with("policy", name));
        }
        let time = (self.clock.now_ms() << 16).max(last.map_or(0, |last| last.time + 1));
        let version = Version { time, container: self.me.0 };
        let record =
            PolicyRecord { name: name.clone(), version, replaces, site: self.me.1.clone(), rule, proof: Vec::new() };
        self.keep(vec![record.clone()])?;
        Ok((record, now.is_none()))
    }

    /// Takes in what others have. Returns how many versions were new.
    pub fn adopt(&self, records: Vec<PolicyRecord>) -> Result<usize> {
        if records.is_empty() {
            return Ok(0);
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let latest = (self.clock.now_ms() + POLICY_AHEAD_MAX_MS) << 16;
        let mut names: BTreeSet<Name> = self.read().keys().cloned().collect();
        let is_good = |record: &PolicyRecord| {
            let has_room = names.contains(&record.name) || {
                let has_room = names.len() < POLICIES_MAX;
                has_room && names.insert(record.name.clone())
            };
            let is_good = record.version.time <= latest && has_room && is_sound(record);
            if !is_good {
                let why = "a policy is not taken over: its clock is days ahead, it cannot be, or there are too many";
                tracing::warn!(policy = %record.name, version = %record.version, site = %record.site, "{why}");
            }
            is_good
        };
        self.keep(records.into_iter().filter(is_good).collect())
    }

    /// Makes versions durable, and then lets them rule.
    fn keep(&self, records: Vec<PolicyRecord>) -> Result<usize> {
        let (mut batch, mut count, mut after) = (Batch::new(), 0, self.read().clone());
        for record in records {
            let (is_new, gone) = after.entry(record.name.clone()).or_default().take(record.clone());
            if is_new {
                batch.put_policy(&record);
                gone.into_iter().for_each(|gone| batch.remove_policy(&record.name, gone));
                count += 1;
            }
        }
        if count > 0 {
            self.store.commit(&batch)?;
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = after;
            self.settle();
            self.changed.send_replace(());
        }
        Ok(count)
    }

    /// Draws from what is known what is looked at often.
    fn settle(&self) {
        let known = self.read();
        let ruling: Vec<_> =
            known.iter().filter_map(|(name, policy)| Some((name.clone(), policy.ruling()?.1.clone()))).collect();
        let is_any = !ruling.is_empty();
        // What rules first: who has drawn something from what ruled before does not keep it behind the clearing.
        *self.ruling.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ruling);
        self.verdicts.write().unwrap_or_else(PoisonError::into_inner).clear();
        let of = |record: &PolicyRecord| {
            let name = fingerprint(record.name.as_str().as_bytes());
            mix(name.wrapping_add(fingerprint(&record.version.to_be_bytes())).wrapping_add(content(record)))
        };
        let versions = known.values().flat_map(|policy| policy.versions.values());
        self.sum.store(versions.map(of).fold(0, u64::wrapping_add), Ordering::Release);
        self.any.store(is_any, Ordering::Release);
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Name, Policy>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check(name: &Name, now: Option<Version>, expected: Option<Option<Version>>) -> Result<()> {
    match expected {
        None => Ok(()),
        Some(expected) if expected == now => Ok(()),
        Some(None) => {
            let why = "there is a policy of this name already; read it and name its version";
            Err(Error::new(Kind::AlreadyExists, why).with("policy", name))
        }
        Some(Some(expected)) => {
            let why = "the policy was changed meanwhile; make the plan anew";
            let error = Error::new(Kind::PreconditionFailed, why).with("policy", name).with("expected", expected);
            Err(now.into_iter().fold(error, |error, now| error.with("version", now)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::model::{ManualClock, SeededRng};
    use crate::store::{File, Fs, SimFs, StoreOptions};

    fn file() -> Arc<dyn File> {
        SimFs::new(0).create(Path::new("/store")).unwrap()
    }

    fn open_at(file: &Arc<dyn File>, me: u64, site: &str) -> Policies {
        let options = StoreOptions { cache_bytes: 1 << 20 };
        let store = Store::open(Arc::clone(file), options, &SeededRng::new(me)).unwrap();
        Policies::open(Arc::new(store), Arc::new(ManualClock::at(1000)), (ContainerId(me), name(site))).unwrap()
    }

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn open_to(site: &str) -> Option<Rule> {
        let (collections, open) = (vec!["meteo*".parse().unwrap()], Some(vec![name(site)]));
        Some(Rule { collections, open, ..Rule::default() })
    }

    fn ruling(all: &Policies, policy: &str) -> Option<Version> {
        all.get(&name(policy)).and_then(|policy| Some(policy.ruling()?.0.version))
    }

    #[test]
    fn a_policy_rules_is_changed_removed_and_found_again() {
        let file = file();
        let all = open_at(&file, 1, "edge");
        assert!(all.on("meteo").is_none());
        let (first, is_new) = all.put(&name("p"), open_to("fog"), None).unwrap();
        assert!(is_new && all.on("other").is_none());
        let refused = all.on("meteo-1").unwrap().may_pull().unwrap_err();
        assert_eq!((refused.kind(), refused.context("policy")), (Kind::Forbidden, Some("p")));
        assert_eq!(all.put(&name("p"), open_to("edge"), Some(None)).unwrap_err().kind(), Kind::AlreadyExists);
        let (second, is_new) = all.put(&name("p"), open_to("edge"), Some(Some(first.version))).unwrap();
        assert!(!is_new && second.replaces == [first.version] && second.version > first.version);
        let stale = all.put(&name("p"), None, Some(Some(first.version))).unwrap_err();
        assert_eq!(stale.kind(), Kind::PreconditionFailed);
        all.on("meteo-1").unwrap().may_pull().unwrap();
        drop(all);
        let all = open_at(&file, 1, "edge");
        assert_eq!(ruling(&all, "p"), Some(second.version));
        all.put(&name("p"), None, None).unwrap();
        assert!(
            all.on("meteo-1").is_none() && all.list().is_empty() && all.get(&name("p")).unwrap().log().count() == 3
        );
        assert_eq!(all.put(&name("q"), None, None).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn two_that_were_changed_apart_come_to_the_same_and_show_both() {
        let (one, two) = (open_at(&file(), 1, "edge"), open_at(&file(), 2, "fog"));
        let (first, _) = one.put(&name("p"), open_to("edge"), None).unwrap();
        assert_eq!(two.adopt(one.records()).unwrap(), 1);
        assert_eq!(one.sum(), two.sum());
        let (by_one, _) = one.put(&name("p"), open_to("fog"), Some(Some(first.version))).unwrap();
        let (by_two, _) = two.put(&name("p"), None, Some(Some(first.version))).unwrap();
        assert_eq!((two.adopt(one.records()).unwrap(), one.adopt(two.records()).unwrap()), (1, 1));
        assert_eq!((one.sum(), one.records()), (two.sum(), two.records()));
        // The later one rules, and it is a removal: the other one is still shown.
        let heads =
            |all: &Policies| all.get(&name("p")).unwrap().heads().iter().map(|head| head.version).collect::<Vec<_>>();
        assert_eq!(heads(&one), [by_two.version, by_one.version]);
        assert_eq!((ruling(&one, "p"), one.list().len()), (None, 1));
        // Whoever decides ends it for all.
        let (last, _) = one.put(&name("p"), by_one.rule.clone(), Some(None)).unwrap();
        assert_eq!(last.replaces, [by_two.version, by_one.version]);
        two.adopt(one.records()).unwrap();
        assert_eq!(heads(&two), [last.version]);
        assert_eq!(two.adopt(one.records()).unwrap(), 0);
    }

    #[test]
    fn the_past_is_bounded_alike_in_whatever_order_it_comes() {
        let (one, two) = (open_at(&file(), 1, "edge"), open_at(&file(), 2, "fog"));
        let mut all = Vec::new();
        for n in 0..POLICY_VERSIONS_MAX + 5 {
            all.push(one.put(&name("p"), open_to(if n % 2 == 0 { "edge" } else { "fog" }), None).unwrap().0);
        }
        all.reverse();
        for some in all.chunks(7) {
            two.adopt(some.to_vec()).unwrap();
        }
        assert_eq!(one.records(), two.records());
        assert_eq!((one.sum(), one.records().len()), (two.sum(), POLICY_VERSIONS_MAX));
        assert_eq!(one.store.policies().unwrap().len(), POLICY_VERSIONS_MAX);
        assert_eq!(two.store.policies().unwrap().len(), POLICY_VERSIONS_MAX);
    }

    #[test]
    fn what_comes_from_days_ahead_or_without_end_is_not_taken() {
        let all = open_at(&file(), 1, "edge");
        let record = |policy: &str, ms: u64| PolicyRecord {
            name: name(policy),
            version: Version { time: ms << 16, container: ContainerId(9) },
            replaces: Vec::new(),
            site: name("fog"),
            rule: open_to("fog"),
            proof: Vec::new(),
        };
        assert_eq!(all.adopt(vec![record("p", 2000 + POLICY_AHEAD_MAX_MS)]).unwrap(), 0);
        // One whose clock is an hour ahead is heard, and changed here afterwards.
        let hour = 3_600_000;
        assert_eq!(all.adopt(vec![record("p", hour)]).unwrap(), 1);
        let (here, _) = all.put(&name("p"), open_to("edge"), None).unwrap();
        assert!(here.version.millis() >= hour && ruling(&all, "p") == Some(here.version));
        let many = (0..2 * POLICIES_MAX).map(|n| record(&format!("p{n}"), 1)).collect();
        assert_eq!(all.adopt(many).unwrap(), POLICIES_MAX - 1);
        assert_eq!(all.put(&name("more"), open_to("edge"), None).unwrap_err().kind(), Kind::TooLarge);
    }
}
