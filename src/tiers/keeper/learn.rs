//! What other containers of the site tell, and what this one has to tell them.
//!
//! An entry that is newer than all that is known at its address takes its place; an older one is void. So every
//! container comes to the same end, in whatever order and however often it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::{Keeper, until};
use crate::error::{Kind, Result};
use crate::limits::{OUTBOX_MAX, TOMBSTONE_MS};
use crate::model::{Address, ContainerId, Dot, Entry, Head, Incarnation, Manifest, Usage, Version};
use crate::store::{Batch, KnownPlace, KnownStretch};
use crate::tiers::disk::Plan;
use crate::tiers::locked;

/// How long the bytes of what another container took over stay here, for who is in the middle of reading them.
const GIVEN_OVER_MS: u64 = 5 * 60 * 1000;

/// Addresses at which something changed here that the others have not heard of.
#[derive(Default)]
pub(super) struct Outbox {
    /// Whether anybody listens.
    open: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Changes that found no place, since the start.
    left_out: AtomicU64,
    news: Arc<Notify>,
}

#[derive(Default)]
struct Waiting {
    addresses: Vec<Address>,
    /// Changes did not fit: the others have to ask.
    lost: bool,
}

/// Changes of this container, for the others.
#[derive(Debug)]
pub struct News {
    /// Every change up to this one is visible: here, in what was told before, or replaced since.
    pub upto: Dot,
    /// What is there now where something changed.
    pub entries: Vec<(Address, Entry)>,
    /// Whether some changes are in none of both.
    pub lost: bool,
}

/// What came of a lesson.
#[derive(Debug, Default)]
pub struct Learnt {
    /// Entries that were new.
    pub taken: u64,
    /// Where two containers replaced the same version without knowing of each other: the version that lost.
    pub conflicts: Vec<(Address, Version)>,
    /// Containers whose clock is too far ahead.
    pub ahead: Vec<ContainerId>,
}

impl Outbox {
    pub(super) fn add(&self, address: &Address) {
        if !self.open.load(Ordering::Acquire) {
            return;
        }
        let mut waiting = locked(&self.waiting);
        match waiting.addresses.len() < OUTBOX_MAX {
            true => waiting.addresses.push(address.clone()),
            false => {
                waiting.lost = true;
                self.left_out.fetch_add(1, Ordering::Relaxed);
            }
        }
        drop(waiting);
        self.news.notify_one();
    }
}

/// Whether an entry says more of a version than what is known. What opens an object was asked for by itself, and stays
/// known when it is told again without.
fn is_news(known: &Entry, told: &Entry) -> bool {
    known != told && known.for_others() != *told
}

impl Keeper {
    /// Which container this is.
    pub fn me(&self) -> ContainerId {
        self.sequencer.last_version().container
    }

    /// The last change that was made here, visible or not yet.
    pub fn last_dot(&self) -> Dot {
        self.sequencer.last()
    }

    /// Rung when something changed.
    pub fn news_bell(&self) -> Arc<Notify> {
        Arc::clone(&self.outbox.news)
    }

    /// Begins to note what changes, for the others. Returns behind which change nothing is left out.
    pub fn open_outbox(&self) -> u64 {
        self.outbox.open.store(true, Ordering::Release);
        *locked(&self.outbox.waiting) = Waiting::default();
        // Looked at last: what got its dot before this may have become visible before anybody noted it.
        self.sequencer.last().seq
    }

    /// Notes nothing any more: nobody listens.
    pub fn close_outbox(&self) {
        self.outbox.open.store(false, Ordering::Release);
        *locked(&self.outbox.waiting) = Waiting::default();
    }

    /// Changes that the others were not told of yet, and how many found no place among them since the start.
    pub fn untold(&self) -> (u64, u64) {
        let waiting = locked(&self.outbox.waiting).addresses.len() as u64;
        (waiting, self.outbox.left_out.load(Ordering::Relaxed))
    }

    /// What changed since it was asked last.
    pub fn news(&self) -> Result<News> {
        // Looked at first: whatever is visible by now has been noted before.
        let upto = self.sequencer.settled();
        let Waiting { mut addresses, lost } = std::mem::take(&mut *locked(&self.outbox.waiting));
        addresses.sort_unstable();
        addresses.dedup();
        let mut entries = Vec::with_capacity(addresses.len());
        for address in addresses {
            let entry = self.own(&address)?;
            entries.extend(entry.map(|entry| (address, entry)));
        }
        Ok(News { upto, entries, lost })
    }

    /// What this container itself keeps at an address, in memory or on disk.
    fn own(&self, address: &Address) -> Result<Option<Entry>> {
        let resident = self.memory.peek(address).filter(|resident| resident.dirty);
        let head = match resident {
            Some(resident) => Some(Head::Object((*resident.manifest).clone())),
            None => self.disk.head(address)?,
        };
        Ok(head.map(|head| Entry { keeper: self.me(), head }))
    }

    /// The newest that is known at an address, whoever keeps it.
    pub fn newest_entry(&self, address: &Address) -> Result<Option<Entry>> {
        let (own, other) = (self.own(address)?, self.disk.entry(address)?);
        Ok(own.into_iter().chain(other).max_by_key(Entry::version))
    }

    /// A version of an object that this container itself has, also an old one.
    pub fn own_version(&self, address: &Address, version: Version) -> Result<Option<Entry>> {
        if let Some(own) = self.own(address)?.filter(|own| own.version() == version) {
            return Ok(Some(own));
        }
        let old = self.disk.store().old_version(address, version)?;
        Ok(old.map(|manifest| Entry { keeper: self.me(), head: Head::Object(manifest) }))
    }

    /// How far the changes of every life of every container are here.
    pub fn vector(&self) -> Vec<Dot> {
        let own = self.sequencer.settled();
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let others = seen.iter().filter(|(incarnation, _)| **incarnation != own.incarnation);
        let others = others.map(|(incarnation, seq)| Dot { incarnation: *incarnation, seq: *seq });
        others.chain((own.seq > 0).then_some(own)).collect()
    }

    /// A stretch of what somebody lacks who has seen all that `has` says; of one collection alone, where one is named.
    pub fn lacking(
        &self,
        within: Option<&str>,
        place: KnownPlace,
        limit: usize,
        has: impl Fn(Dot) -> bool + Send + Sync,
    ) -> Result<KnownStretch> {
        self.disk.store().walk_known(within, place, limit, |dot| !has(dot))
    }

    /// The same of what memory alone holds, in the order of the addresses.
    pub fn lacking_in_memory(
        &self,
        after: Option<&Address>,
        limit: usize,
        has: impl Fn(Dot) -> bool,
    ) -> Vec<(Address, Head)> {
        let mut found = Vec::new();
        for address in self.memory.dirty().into_iter().filter(|address| after.is_none_or(|after| address > after)) {
            if found.len() >= limit {
                break;
            }
            let resident = self.memory.peek(&address).filter(|resident| resident.dirty && !has(resident.manifest.dot));
            found.extend(resident.map(|resident| (address, Head::Object((*resident.manifest).clone()))));
        }
        found
    }

    /// Takes in what others told, and how far that brings this container, in one commit.
    pub fn learn(&self, lessons: &[(Address, Entry)], seen: &[Dot]) -> Result<Learnt> {
        self.take_in(lessons, seen, true)
    }

    /// Takes in what other sites told. Nothing that is kept here is given over to them.
    pub fn learn_of_sites(&self, lessons: &[(Address, Entry)]) -> Result<Learnt> {
        self.take_in(lessons, &[], false)
    }

    fn take_in(&self, lessons: &[(Address, Entry)], seen: &[Dot], gives_over: bool) -> Result<Learnt> {
        let mut learnt = Learnt::default();
        for (_, entry) in lessons {
            if !self.sequencer.observe(entry.version()) && !learnt.ahead.contains(&entry.keeper) {
                learnt.ahead.push(entry.keeper);
            }
        }
        let _order = locked(&self.order);
        let (mut plan, mut tally) = (Plan::new(&self.disk), self.ledger.tally());
        let mut taken = Vec::new();
        // What others keep they can tell again. What is let go here must be let go for good before its bytes are.
        let mut can_wait = true;
        for (address, entry) in lessons {
            // What this container keeps it knows best; that it deleted something once it may have forgotten, where
            // its folder comes from an older copy.
            if entry.keeper == self.me() && entry.object().is_some() {
                continue;
            }
            let head = match plan.head(address) {
                // What another keeps takes the place of what cannot be read here.
                Err(error) if error.kind() == Kind::Corrupt => {
                    plan.give_up(address);
                    can_wait = false;
                    None
                }
                head => head?,
            };
            can_wait &= head.is_none();
            let other = plan.entry(address)?;
            let known = self.known(head.as_ref(), other.as_ref(), address);
            if known.version >= Some(entry.version()) {
                let counts = |other: Entry| other.version() == entry.version() && other.rank() <= entry.rank();
                let own = || head.clone().map(|head| Entry { keeper: self.me(), head });
                if gives_over && entry.object().is_some() && own().is_some_and(counts) {
                    plan.give_over(address, entry.clone(), self.sequencer.now_ms().saturating_add(GIVEN_OVER_MS))?;
                    tally.replace(address.collection(), known.durable, Usage::default());
                    taken.push((address, entry.version()));
                } else if head.is_none() && other.is_some_and(|other| is_news(&other, entry) && counts(other)) {
                    plan.learn(address, entry.clone(), None, 0)?;
                } else if known.version > Some(entry.version()) && known.replaces < Some(entry.version()) {
                    learnt.conflicts.push((address.clone(), entry.version()));
                }
                continue;
            }
            if let Some(version) = known.version.filter(|version| entry.head.replaces() < Some(*version)) {
                learnt.conflicts.push((address.clone(), version));
            }
            let now_ms = self.sequencer.now_ms();
            let rules = self.rulebook.rules(address.collection()).unwrap_or_default();
            let keep = until(&rules, &known, now_ms).filter(|_| known.is_here);
            plan.learn(address, entry.clone(), keep, now_ms.saturating_add(TOMBSTONE_MS))?;
            tally.replace(address.collection(), known.durable, Usage::default());
            taken.push((address, entry.version()));
        }
        let before = self.vector_of(seen);
        seen.iter().for_each(|dot| plan.batch().put_seen(dot.incarnation, dot.seq.max(before(dot.incarnation))));
        if can_wait {
            plan.can_wait();
        }
        self.seal(plan, tally)?;
        for (address, version) in &taken {
            self.memory.supersede(address, *version);
            self.memory.rebase(address, Usage::default());
        }
        let mut known = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        for Dot { incarnation, seq } in seen {
            let at = known.entry(*incarnation).or_default();
            *at = (*at).max(*seq);
        }
        learnt.taken = taken.len() as u64;
        Ok(learnt)
    }

    /// Keeps what opens an object that another site keeps, as long as that is what is known at the address.
    pub fn keep_key(&self, address: &Address, entry: &Entry) -> Result<()> {
        let _order = locked(&self.order);
        let known = self.disk.entry(address)?;
        if known.is_some_and(|known| known.rank() == entry.rank() && known.object().is_some_and(Manifest::lacks_key)) {
            let mut batch = Batch::new();
            batch.put_entry(address, entry);
            return self.disk.store().commit_lazily(&batch);
        }
        Ok(())
    }

    /// Up to where the site's log was read.
    pub fn log_place(&self) -> Result<u64> {
        self.disk.store().log_place()
    }

    /// The site's log was read up to this place.
    pub fn note_log_place(&self, place: u64) -> Result<()> {
        let mut batch = Batch::new();
        batch.put_log_place(place);
        self.disk.store().commit(&batch)
    }

    /// How far the changes of these lives are here.
    fn vector_of(&self, dots: &[Dot]) -> impl Fn(Incarnation) -> u64 + use<> {
        let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
        let known: Vec<Dot> = dots
            .iter()
            .filter_map(|dot| seen.get(&dot.incarnation).map(|seq| Dot { incarnation: dot.incarnation, seq: *seq }))
            .collect();
        move |incarnation| known.iter().find(|dot| dot.incarnation == incarnation).map_or(0, |dot| dot.seq)
    }
}
