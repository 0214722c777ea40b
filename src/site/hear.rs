//! Taking in what others tell: one task, so that how far this container has heard has one owner.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::horizon::Horizon;
use super::wire::{Batch, Told};
use super::{Site, catch_up};
use crate::bus::Subscription;
use crate::error::Result;
use crate::model::{Address, ContainerId, Dot, Entry};
use crate::telemetry::events::Happened;
use crate::tiers::Learnt;
use tokio::sync::mpsc;

/// Entries that one commit takes in: while it lasts, pushes wait.
const LESSONS_MAX: usize = 512;

/// So long somebody may know more than this container before it is asked: news are on their way meanwhile.
const BEHIND_MS: u64 = 300;

/// What was heard.
pub(super) enum News {
    /// Changes, as they happened.
    Batch(Batch),
    /// An answer to what was asked; the last one says how far all of them together come.
    Page(Vec<Told>, Option<Vec<Dot>>),
    /// How far somebody is.
    Vector(ContainerId, Vec<Dot>),
    /// Nothing more comes of what was asked.
    Asked,
    /// The log was read up to this place.
    Place(u64),
}

/// Hands on what changes elsewhere.
pub(super) async fn listen(site: Site, mut changes: Subscription) {
    while let Some(message) = site.next(&mut changes, "changes").await {
        match site.believe::<Batch>(message.subject.as_str(), &message.body) {
            Ok(batch) if batch.from == site.0.me => {}
            Ok(batch) => {
                if site.0.heard.send(News::Batch(batch)).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, "a change that somebody tells is not believed"),
        }
    }
}

/// What the one who takes in knows of the others.
struct Ear {
    site: Site,
    horizon: Horizon,
    /// Who is ahead, and since when.
    ahead: BTreeMap<ContainerId, u64>,
    /// Whether somebody is being asked for what is missing.
    asking: bool,
    /// Whether something of what is being asked for could not be taken in: what comes of it proves nothing.
    walk_failed: bool,
}

/// Takes in what is heard, until nobody can tell anything any more.
pub(super) async fn take_in(site: Site, mut heard: mpsc::Receiver<News>) {
    let mut ear = Ear {
        horizon: Horizon::of(site.keeper().vector()),
        site,
        ahead: BTreeMap::new(),
        asking: false,
        walk_failed: false,
    };
    let mut waiting = Vec::new();
    while heard.recv_many(&mut waiting, super::HEARD_MAX).await > 0 {
        if let Err(error) = ear.take(waiting.drain(..)).await {
            // What could not be taken in leaves a gap, which is asked for.
            tracing::warn!(%error, "what the others told could not be taken in; it is asked for again");
            ear.horizon = Horizon::of(ear.site.keeper().vector());
            ear.walk_failed = true;
        }
    }
}

impl Ear {
    async fn take(&mut self, news: impl Iterator<Item = News>) -> Result<()> {
        let (mut lessons, mut reached, mut place) = (Vec::new(), Vec::new(), None);
        for news in news {
            match news {
                News::Batch(batch) => {
                    reached.extend(self.horizon.hear(batch.incarnation, batch.after, batch.upto));
                    lessons.extend(batch.entries.into_iter().filter_map(Told::lesson));
                }
                News::Page(entries, vector) => {
                    lessons.extend(entries.into_iter().filter_map(Told::lesson));
                    let vector = vector.filter(|_| !self.walk_failed);
                    reached.extend(vector.into_iter().flatten().filter_map(|dot| self.horizon.reach(dot)));
                }
                News::Vector(from, vector) => self.compare(from, &vector),
                News::Asked => self.asking = false,
                News::Place(upto) => place = Some(upto),
            }
        }
        while lessons.len() > LESSONS_MAX {
            let rest = lessons.split_off(LESSONS_MAX);
            self.learn(std::mem::replace(&mut lessons, rest), Vec::new()).await?;
        }
        if !lessons.is_empty() || !reached.is_empty() {
            self.learn(lessons, reached).await?;
        }
        self.site.0.has_gap.store(self.horizon.has_gap(), Ordering::Release);
        if let Some(place) = place {
            self.site.blocking(move |keeper| keeper.note_log_place(place)).await?;
        }
        Ok(())
    }

    async fn learn(&self, lessons: Vec<(Address, Entry)>, reached: Vec<Dot>) -> Result<()> {
        for (address, _) in &lessons {
            self.site.0.asks.forget(address);
        }
        let learnt = self.site.blocking(move |keeper| keeper.learn(&lessons, &reached)).await?;
        self.site.report(&learnt);
        Ok(())
    }

    /// Whoever has been ahead for a while is asked for what is missing, one at a time.
    fn compare(&mut self, from: ContainerId, vector: &[Dot]) {
        // What this container did itself it knows best.
        let own = self.site.keeper().last_dot().incarnation;
        let others: Vec<Dot> = vector.iter().copied().filter(|dot| dot.incarnation != own).collect();
        if self.horizon.covers(&others) {
            self.ahead.remove(&from);
            return;
        }
        let now_ms = self.site.now_ms();
        let since = *self.ahead.entry(from).or_insert(now_ms);
        // Who just came has told nothing that could be on its way.
        let is_new = self.site.keeper().vector().is_empty();
        if !self.asking && (is_new || now_ms - since >= BEHIND_MS) {
            (self.asking, self.walk_failed) = (true, false);
            self.ahead.remove(&from);
            self.site.spawn(catch_up::catch_up(self.site.clone(), from));
        }
    }
}

impl Site {
    /// Tells what others should know of a lesson.
    pub(super) fn report(&self, learnt: &Learnt) {
        for (address, version) in &learnt.conflicts {
            let why =
                format!("two containers replaced the same version; {version} lost and stays readable by its number");
            let happened = Happened::Conflict { address: address.clone(), why };
            self.0.parts.events.record(self.keeper().now_ms(), happened);
        }
        for container in &learnt.ahead {
            let id = format!("{:016x}", container.0);
            tracing::error!(
                container = id,
                "the clock of this container is more than a minute ahead; it is not followed"
            );
        }
    }
}
