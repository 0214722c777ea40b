//! Several policies over one level: a section for each collection that names its own, one for all others.
//!
//! **Who shares a section.** A collection that names a kind has a section of its own; those that name none
//! share the level's own, where they compete entry by entry as before. Beyond [`SECTIONS_MAX`] a collection
//! shares a section with others of its kind.
//!
//! **Who stays.** Pinned collections share a section that nothing is ever drawn from, as far as `pinning.rs`
//! lets them.
//!
//! **Who pays.** Victims are drawn from the section that is furthest above its share, and there its own
//! policy says who. So a section that grows at its share pays for itself: a scan in one pushes out only what
//! is its own, whatever policies the others have. While the level has room shares bind nobody.
//!
//! **What a share is.** What a section held at the last step, and a little more or less by what it regretted
//! since (`shares.rs`): the misses of what it let go within the last bytes are hits that a little more room
//! would have been. Room moves to where the same bytes earn more hits; at rest all earn the same at the
//! margin, which no fixed division and none by bytes or by past hits would give. The limit: nobody regrets
//! what returns later than the reach, so a loop much longer than its section never gets the room for all of it.
//!
//! **What a section's policy is told.** A level as large as its section may become now: its share, or what it
//! holds and all that is free. With one section that is the whole level, and everything is as if the policy
//! were alone.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::Hasher;

use super::choice::{Choice, Choices, Grouped};
use super::climber::reach;
use super::ghost::Ghost;
use super::section::{Home, Known, Section};
use super::shares::{Evidence, shares};
use super::{Policy, policy_seeded};
use crate::limits::{PINNED_PERCENT_DEFAULT, SECTIONS_MAX};
use crate::model::EvictionKind;

/// Uses between two steps: a fifth of the number of entries, and never fewer than these.
const USES_MIN: usize = 200;
const ENTRIES_A_USE: usize = 5;

/// Looks at the choices before a collection without entries is forgotten: a minute of them.
const IDLE_ROUNDS_MAX: u32 = 600;

/// The section of all that name no policy. It is always there.
const COMMON: u32 = 0;

/// Several policies over one level.
pub struct Sections<K> {
    kind: EvictionKind,
    pub(super) budget_bytes: u64,
    seed: u64,
    pub(super) pinned_percent_max: u64,
    choices: Choices,
    pub(super) sections: BTreeMap<u32, Section<K>>,
    known: HashMap<Box<str>, Known>,
    len: usize,
    cost: u64,
    uses: usize,
}

impl<K: Grouped> Sections<K> {
    /// No entries yet, for a level of this many bytes with this policy of its own.
    pub fn new(kind: EvictionKind, budget_bytes: u64, seed: u64, choices: Choices) -> Self {
        let mut new = Sections {
            kind,
            budget_bytes,
            seed,
            pinned_percent_max: PINNED_PERCENT_DEFAULT,
            choices,
            sections: BTreeMap::new(),
            known: HashMap::new(),
            len: 0,
            cost: 0,
            uses: 0,
        };
        new.open(Home::Shared(kind));
        new
    }

    /// Says how much of the level pinned entries may take.
    #[must_use]
    pub fn pin_at_most(mut self, percent: u64) -> Self {
        self.pinned_percent_max = percent;
        self
    }

    /// Looks up again what every collection asks for. Those that changed their mind move with all their
    /// entries, in the order in which these would have left; what else was learnt of them is lost.
    pub fn refresh(&mut self) {
        let mut moves = Vec::new();
        for (collection, known) in &mut self.known {
            known.idle_rounds = if known.entries == 0 { known.idle_rounds + 1 } else { 0 };
            let choice = (self.choices)(collection);
            if choice != known.choice {
                moves.push((collection.clone(), choice));
            }
        }
        for (collection, choice) in moves {
            self.rehome(&collection, choice);
        }
        self.known.retain(|_, known| known.idle_rounds < IDLE_ROUNDS_MAX);
        let used: HashSet<u32> = self.known.values().map(|known| known.section).collect();
        self.sections.retain(|id, section| *id == COMMON || used.contains(id) || !section.policy.is_empty());
    }

    /// How many sections there are.
    pub fn sections(&self) -> usize {
        self.sections.len()
    }

    /// Moves all entries of a collection to where it belongs by this choice.
    fn rehome(&mut self, collection: &str, choice: Choice) {
        let home = self.home(collection, choice);
        let from = self.places(collection);
        let to = self.open(home);
        let Some(known) = self.known.get_mut(collection) else { return };
        known.choice = choice;
        if known.section == to {
            return;
        }
        known.section = to;
        let moved: Vec<_> = from.into_iter().flatten().flat_map(|id| self.lift(id, collection)).collect();
        // They bring the room they had, so that nobody has to leave because they moved.
        let bytes: u64 = moved.iter().map(|(_, cost)| cost).sum();
        if let Some(new) = self.sections.get_mut(&to) {
            new.share = new.share.saturating_add(bytes);
        }
        for (key, cost) in moved {
            self.insert(key, cost);
        }
    }

    /// Takes a collection's entries out of a section, in the order in which they would have left.
    fn lift(&mut self, id: u32, collection: &str) -> Vec<(K, u64)> {
        let Some(section) = self.sections.get_mut(&id) else { return Vec::new() };
        let mut costs = HashMap::new();
        section.policy.each(&mut |key, cost| {
            if key.collection() == collection {
                costs.insert(key.clone(), cost);
            }
        });
        let keys = section.policy.victims(u64::MAX, &|key| !costs.contains_key(key));
        let bytes: u64 = costs.values().sum();
        section.share = section.share.saturating_sub(bytes);
        self.len -= keys.len();
        self.cost -= bytes;
        if let Some(known) = self.known.get_mut(collection) {
            known.entries = known.entries.saturating_sub(keys.len());
        }
        let cost = |key: &K| costs.get(key).copied().unwrap_or_default();
        keys.into_iter().map(|key| (key.clone(), cost(&key))).collect()
    }

    fn home(&self, collection: &str, choice: Choice) -> Home {
        match choice {
            Choice { pinned: true, .. } => Home::Pinned,
            Choice { kind: None, .. } => Home::Shared(self.kind),
            Choice { kind: Some(kind), .. } if self.sections.len() < SECTIONS_MAX => Home::Own(collection.into(), kind),
            Choice { kind: Some(kind), .. } => Home::Shared(kind),
        }
    }

    pub(super) fn find(&self, home: &Home) -> Option<u32> {
        self.sections.iter().find(|(_, section)| section.home == *home).map(|(id, _)| *id)
    }

    /// The section of this home, made if it is not there.
    pub(super) fn open(&mut self, home: Home) -> u32 {
        if let Some(id) = self.find(&home) {
            return id;
        }
        let id = self.sections.last_key_value().map_or(COMMON, |(last, _)| last + 1);
        let kind = match home {
            Home::Own(_, kind) | Home::Shared(kind) => kind,
            Home::Pinned => EvictionKind::Lru,
            Home::Spilled => self.kind,
        };
        let policy = policy_seeded(kind, self.budget_bytes, self.seed);
        let ghost = Ghost::new(reach(self.budget_bytes));
        self.sections.insert(id, Section { home, policy, ghost, regrets: 0, share: 0 });
        id
    }

    /// The section of a collection.
    pub(super) fn section_of(&mut self, collection: &str) -> u32 {
        if let Some(known) = self.known.get(collection) {
            return known.section;
        }
        let choice = (self.choices)(collection);
        let home = self.home(collection, choice);
        let section = self.open(home);
        self.known.insert(collection.into(), Known { section, choice, entries: 0, idle_rounds: 0 });
        section
    }

    /// Tells a section's policy how large its part of the level may become now.
    fn fit(&mut self, id: u32) {
        let free = self.budget_bytes.saturating_sub(self.cost);
        if let Some(section) = self.sections.get_mut(&id) {
            section.policy.resize(section.share.max(section.policy.cost().saturating_add(free)));
        }
    }

    /// Lets a section act for a collection, and keeps the sums.
    pub(super) fn act<R>(&mut self, id: u32, collection: &str, action: impl FnOnce(&mut Section<K>) -> R) -> Option<R> {
        self.fit(id);
        let section = self.sections.get_mut(&id)?;
        let (len, cost) = (section.policy.len(), section.policy.cost());
        let done = action(section);
        let (len_now, cost_now) = (section.policy.len(), section.policy.cost());
        section.ghost.grow_for(len_now);
        self.len = self.len - len + len_now;
        self.cost = self.cost - cost + cost_now;
        if let Some(known) = self.known.get_mut(collection) {
            known.entries = known.entries + len_now - len;
        }
        Some(done)
    }

    /// Lets every section act that may hold entries of a collection.
    fn act_all(&mut self, collection: &str, action: impl Fn(&mut Section<K>)) {
        for id in self.places(collection).into_iter().flatten() {
            self.act(id, collection, &action);
        }
    }

    /// Counts a use, and takes a step when there were enough of them.
    fn advance(&mut self) {
        self.uses += 1;
        if self.uses < USES_MIN.max(self.len / ENTRIES_A_USE) {
            return;
        }
        self.uses = 0;
        let paying = || self.sections.values().filter(|section| section.pays());
        let evidence = paying().map(|section| Evidence { held: section.policy.cost(), regrets: section.regrets });
        let shares = shares(&evidence.collect::<Vec<_>>());
        let paying = self.sections.values_mut().filter(|section| section.pays());
        for (section, share) in paying.zip(shares) {
            (section.share, section.regrets) = (share, 0);
        }
    }

    /// The section furthest above its share, and how many bytes it may give before another one is.
    fn furthest(&self, dry: &[u32]) -> Option<(u32, u64)> {
        let above = || {
            let paying = self.sections.iter().filter(|(id, section)| section.pays() && !dry.contains(id));
            paying.map(|(id, section)| (i128::from(section.policy.cost()) - i128::from(section.share), *id))
        };
        let (most, id) = above().max()?;
        let next = above().filter(|(_, other)| *other != id).max();
        let lead = next.map_or(u64::MAX, |(next, _)| u64::try_from(most - next).unwrap_or(u64::MAX));
        Some((id, lead.max(1)))
    }

    /// Victims of one section.
    fn draw(&mut self, id: u32, bytes: u64, keep: &dyn Fn(&K) -> bool) -> Option<(Vec<K>, u64)> {
        self.fit(id);
        let seed = self.seed;
        let section = self.sections.get_mut(&id)?;
        let cost = section.policy.cost();
        let gone = section.policy.victims(bytes, keep);
        let freed = cost - section.policy.cost();
        for key in &gone {
            // What each of them cost is forgotten; the mean is as good for telling how long ago it was.
            section.ghost.leave(hash(seed, key), freed / gone.len() as u64);
            if let Some(known) = self.known.get_mut(key.collection()) {
                known.entries = known.entries.saturating_sub(1);
            }
        }
        self.len -= gone.len();
        self.cost -= freed;
        Some((gone, freed))
    }
}

fn hash<K: Grouped>(seed: u64, key: &K) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write_u64(seed);
    key.hash(&mut hasher);
    hasher.finish()
}

impl<K: Grouped> Policy<K> for Sections<K> {
    /// The policy of those that name none.
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn insert(&mut self, key: K, cost: u64) {
        let collection: Box<str> = key.collection().into();
        let id = self.section_of(&collection);
        if self.is_pinned(id) {
            // With another cost it may belong on the other side.
            self.remove(&key);
        }
        let id = self.place(&collection, cost);
        self.act(id, &collection, |section| section.policy.insert(key, cost));
    }

    fn touch(&mut self, key: &K) {
        // A hit that arrives after its collection left must not bring it back.
        if self.known.contains_key(key.collection()) {
            let id = self.section_of(key.collection());
            if self.is_pinned(id) {
                self.settle(key);
            }
            self.act_all(key.collection(), |section| section.policy.touch(key));
            self.advance();
        }
    }

    fn miss(&mut self, key: &K) {
        let hash = hash(self.seed, key);
        self.act_all(key.collection(), |section| {
            section.regrets += u64::from(section.ghost.remembers(hash));
            section.policy.miss(key);
        });
        self.advance();
    }

    fn remove(&mut self, key: &K) {
        if self.known.contains_key(key.collection()) {
            self.act_all(key.collection(), |section| section.policy.remove(key));
        }
    }

    fn victims(&mut self, bytes: u64, keep: &dyn Fn(&K) -> bool) -> Vec<K> {
        let (mut gone, mut freed, mut dry) = (Vec::new(), 0, Vec::new());
        while freed < bytes {
            let Some((id, lead)) = self.furthest(&dry) else { break };
            match self.draw(id, lead.min(bytes - freed), keep) {
                Some((victims, bytes)) if !victims.is_empty() => {
                    freed += bytes;
                    gone.extend(victims);
                }
                _ => dry.push(id),
            }
        }
        gone
    }

    /// A candidate competes inside its own section. Below its share others pay for it; and one that is
    /// larger than all of its section may still try, or a section could never earn the room for it.
    fn admits(&mut self, key: &K, cost: u64, free: u64) -> bool {
        if cost <= free || cost > self.budget_bytes.saturating_sub(self.pins().bytes) {
            return cost <= free;
        }
        let id = self.place(key.collection(), cost);
        let admitted = self.act(id, key.collection(), |section| {
            let held = section.policy.cost();
            if !section.pays() || held.saturating_add(cost) <= section.share {
                return true;
            }
            section.policy.resize(section.share.max(held.saturating_add(free)).max(cost));
            section.policy.admits(key, cost, free)
        });
        admitted.unwrap_or_default()
    }

    fn resize(&mut self, budget_bytes: u64) {
        self.budget_bytes = budget_bytes;
        self.sections.values_mut().for_each(|section| section.ghost.set_reach(reach(budget_bytes)));
    }

    fn each(&self, visit: &mut dyn FnMut(&K, u64)) {
        self.sections.values().for_each(|section| section.policy.each(visit));
    }

    fn len(&self) -> usize {
        self.len
    }

    fn cost(&self) -> u64 {
        self.cost
    }
}
