//! Handing over all that this container keeps, for it is to go for good.
//!
//! Each object is offered to another container with room, which fetches the sealed bytes, checks them, makes them
//! durable and keeps the same version from then on. Only then is it let go here. Whatever breaks off in between leaves
//! both with the object; who took it over counts, and the other one lets it go when it hears of that.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;

use super::members::Member;
use super::placing::choose;
use super::wire::{Question, Reply};
use super::{Site, locked};
use crate::error::{Error, Result};
use crate::model::{Address, ContainerId, Entry, Head, Manifest, mix};
use crate::store::WalkPlace;

/// How long another container may take over one object. The largest have to be read, sent and written in it.
pub(super) const TAKE_OVER_MAX: Duration = Duration::from_secs(600);

/// Objects that are offered at the same time.
const OFFERS: usize = 8;

/// Containers that one object is offered to.
const ASKED_MAX: usize = 3;

/// Objects that are let go in one commit.
const STRETCH: usize = 256;

/// How often in a row all that is left is offered without one of it being taken, and the pause in between.
const WALKS_MAX: u32 = 3;
const PAUSE: Duration = Duration::from_secs(2);

/// Keeps what another container offers.
pub trait Taking: Send + Sync {
    /// Takes an object over, unless it was replaced meanwhile.
    fn take_over(
        &self,
        address: Address,
        from: ContainerId,
        manifest: Manifest,
        deadline: Duration,
    ) -> BoxFuture<'_, Result<()>>;
}

/// How far a container has come that hands over what it keeps.
#[derive(Clone, Debug, Default)]
pub struct Departure {
    /// Objects that others keep now.
    pub objects: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// Objects of the last walk that nobody took.
    pub left: u64,
    /// Why the last one of them was not taken.
    pub last_error: Option<String>,
    /// Whether it has ended: with nothing left, or since nobody takes the rest.
    pub ended: bool,
}

/// The departure under way, or one that ended while nobody waited for it.
pub(super) type Departing = Mutex<Option<watch::Receiver<Departure>>>;

/// Where its progress is told.
type Progress = watch::Sender<Departure>;

impl Departure {
    fn leave(&mut self, objects: u64, why: &Error) {
        self.left += objects;
        self.last_error = Some(why.to_string());
    }
}

impl Site {
    /// Hands over all that is kept here. Returns when that has ended, or else after so long, while it goes on; who
    /// asks again waits for it again. Nothing may be stored here any more.
    pub async fn depart(&self, within: Duration) -> Departure {
        let mut told = locked(&self.0.departing)
            .get_or_insert_with(|| {
                let (progress, told) = watch::channel(Departure::default());
                let site = self.clone();
                self.spawn(async move { site.hand_all_over(&progress).await });
                told
            })
            .clone();
        // What it has come to says the same as whether the time is over.
        let _ = tokio::time::timeout(within, told.wait_for(|departure| departure.ended)).await;
        let mut departure = told.borrow().clone();
        // Where the work broke off nobody tells any more.
        departure.ended |= told.has_changed().is_err();
        if departure.ended {
            locked(&self.0.departing).take_if(|last| last.same_channel(&told));
        }
        departure
    }

    async fn hand_all_over(&self, progress: &Progress) {
        let mut in_vain = 0;
        while in_vain < WALKS_MAX {
            if in_vain > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            let before = progress.borrow().objects;
            progress.send_modify(|now| (now.left, now.last_error) = (0, None));
            if let Err(error) = self.offer_all(progress).await {
                tracing::warn!(%error, "what is kept here cannot be handed over at the moment");
                progress.send_modify(|now| now.leave(1, &error));
            }
            let now = progress.borrow().clone();
            if now.left == 0 {
                break;
            }
            in_vain = if now.objects > before { 1 } else { in_vain + 1 };
        }
        progress.send_modify(|now| now.ended = true);
        let Departure { objects, bytes, left, .. } = progress.borrow().clone();
        tracing::info!(objects, bytes, left, "handed over what was kept here");
    }

    /// Offers everything once.
    async fn offer_all(&self, progress: &Progress) -> Result<()> {
        if self.keeper().disk().is_incomplete() {
            let why = "the store lost records, so not all that is kept here is known; see `meshstore admin repair`";
            progress.send_modify(|now| now.leave(1, &Error::corrupt(why)));
        }
        let mut place: Option<WalkPlace> = None;
        loop {
            let stretch = self.blocking(move |keeper| keeper.kept(place.as_ref(), STRETCH)).await?;
            for row in &stretch.damaged {
                let error = Error::corrupt("a record fails its check").with("row", row);
                progress.send_modify(|now| now.leave(1, &error));
            }
            let offers = stream::iter(stretch.found).map(|(_, address, manifest)| async move {
                let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
                let outcome = self.offer(&address, manifest).await;
                (address, bytes, outcome)
            });
            self.let_go(progress, offers.buffer_unordered(OFFERS).collect().await).await;
            match stretch.next {
                None => return Ok(()),
                next => place = next,
            }
        }
    }

    /// What others keep now is not kept here any more.
    async fn let_go(&self, progress: &Progress, offered: Vec<(Address, u64, Result<Entry>)>) {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        for (address, size, outcome) in offered {
            match outcome {
                Ok(entry) => {
                    bytes += size;
                    taken.push((address, entry));
                }
                Err(error) => {
                    tracing::debug!(%error, %address, "nobody takes this object over");
                    progress.send_modify(|now| now.leave(1, &error));
                }
            }
        }
        let objects = taken.len() as u64;
        if objects == 0 {
            return;
        }
        match self.blocking(move |keeper| keeper.learn(&taken, &[])).await {
            Ok(_) => progress.send_modify(|now| (now.objects, now.bytes) = (now.objects + objects, now.bytes + bytes)),
            // The others keep it all the same, and are offered it again.
            Err(error) => {
                tracing::warn!(%error, "what others have taken over cannot be let go here");
                progress.send_modify(|now| now.leave(objects, &error));
            }
        }
    }

    /// Has another container take over an object; one that does not is followed by the next. Returns what is known of it
    /// there.
    async fn offer(&self, address: &Address, manifest: Manifest) -> Result<Entry> {
        let why = "no other container of the site takes anything";
        let mut refused = Error::unavailable(why).with("address", address);
        let mut asked = Vec::new();
        while let Some(to) = self.roomiest(&manifest, &asked) {
            match self.offer_to(&to, address, &manifest).await {
                Err(error) if asked.len() + 1 < ASKED_MAX => refused = error.with("container", &to.name),
                outcome => return outcome,
            }
            asked.push(to.container);
        }
        Err(refused)
    }

    async fn offer_to(&self, to: &Member, address: &Address, manifest: &Manifest) -> Result<Entry> {
        let me = self.0.me;
        let question = Question::TakeOver(address.as_str().to_owned(), me, Box::new(manifest.clone()));
        let asked = self.ask_one(&to.name, &question, TAKE_OVER_MAX);
        // Who stands still meanwhile is not waited for.
        match self.while_heard(to.container, asked).await? {
            Reply::Latest(Some(entry)) if entry.keeper != me && entry.version() >= manifest.version => Ok(*entry),
            Reply::Refused(why) => Err(Error::unavailable(why)),
            _ => Err(Error::internal("another container answers something else")),
        }
    }

    /// Who has most room, but for those that were asked.
    fn roomiest(&self, manifest: &Manifest, asked: &[ContainerId]) -> Option<Member> {
        let bytes = manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
        let now_ms = self.now_ms();
        let may_take = |member: &&Member| member.takes_changes && !asked.contains(&member.container);
        let others: Vec<Member> = locked(&self.0.members).alive(now_ms).filter(may_take).cloned().collect();
        choose(&others, bytes, mix(self.0.parts.telemetry.ticks_ns())).cloned()
    }

    /// Takes over what another container offers, and says what is known of it then.
    pub(super) async fn say_taken(&self, address: String, from: ContainerId, manifest: Manifest) -> Result<Reply> {
        let address: Address = address.parse()?;
        if from == self.0.me {
            return Err(Error::invalid("nobody takes over what is its own"));
        }
        let (taking, version) = (Arc::clone(&self.0.parts.taking), manifest.version);
        // The news of it may be on their way still.
        let entry = Entry { keeper: from, head: Head::Object(manifest.clone()) };
        let lesson = (address.clone(), entry);
        self.blocking(move |keeper| keeper.learn(&[lesson], &[])).await?;
        taking.take_over(address.clone(), from, manifest, TAKE_OVER_MAX).await?;
        let known = self.blocking(move |keeper| keeper.newest_entry(&address)).await?;
        match known {
            Some(entry) if entry.keeper != from && entry.version() >= version => {
                Ok(Reply::Latest(Some(Box::new(entry))))
            }
            // It is neither taken over nor replaced: who offers it keeps it.
            _ => Err(Error::unavailable("it was not taken over; offer it again")),
        }
    }
}
