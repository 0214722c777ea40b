//! Changes whose condition another site decides: that of the collection's `home_site`. The object is kept there.
//!
//! A push travels over the bus, part by part to one container of that site, each part after the last one was taken: what
//! is under way is little, and a site that only dials out is reached as well.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::{Site, locked};
use super::call::{Answer, Call};
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::limits::{CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX};
use crate::model::{Address, Condition, ContainerId, Dot, Incarnation, Name, Rng, Version};
use crate::nfr::SystemRng;
use crate::telemetry::metrics::labels::Point;
use crate::tiers::{Accepted, Handover, Sending};

/// Changes for other sites that are at work at the same time; others wait on the bus.
const CHANGES_MAX: usize = 16;

/// Pushes for other sites of which more is to come.
const UNFINISHED_MAX: usize = 64;

/// Bytes of a part: a slow link is needed for other things as well.
const PART_BYTES_MAX: usize = 128 << 10;

/// So many voices ago whoever asks for a change has heard the one who makes it.
const VOICES_PAST: u64 = 32;

/// Changes that are remembered, so that none is made twice.
const MADE_MAX: usize = 1 << 16;

/// The longest that a part may wait until it is taken in.
const PART_MAX: Duration = Duration::from_secs(10);

/// The longest that a change for another site may stand still.
const STILL_MAX: Duration = Duration::from_secs(60);

/// What this container changes for another site, which leaves the decision to this one.
pub trait Changes: Send + Sync {
    /// Stores an object where in this site it belongs.
    fn push(&self, push: Handover, body: Sending, deadline: Duration) -> BoxFuture<'static, Result<Accepted>>;

    /// Deletes one, later than what is known to whoever wants it.
    fn delete(
        &self,
        address: Address,
        wanted: (Condition, Option<Version>),
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Option<(Version, Dot)>>>;
}

/// The voice of who is asked, as whoever asks heard it last: what was asked for long ago counts for nothing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::site) struct Heard(Incarnation, u64);

/// A change that another site is to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) enum Change {
    /// A push, how long it may stand still, and the beginning of its body.
    Push(Heard, Box<Handover>, Duration, Part),
    /// The part of this number of its body.
    More(u32, Part),
    /// No more of it comes.
    GiveUp,
    /// A delete, later than what is known to whoever wants it, and how long it may take.
    Delete(Heard, Address, Condition, Option<Version>, Duration),
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) enum Changed {
    /// More of the body is to come.
    Continue,
    GivenUp,
    Pushed(Accepted),
    Deleted(Option<(Version, Dot)>),
}

/// A part of a body.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) struct Part {
    #[serde(with = "super::call::bytes_as_they_are")]
    bytes: Vec<u8>,
    is_last: bool,
}

/// What other sites have this one change.
#[derive(Default)]
pub(super) struct Changing {
    /// Pushes of which more is to come, by the numbers that the sites gave them.
    unfinished: Mutex<HashMap<(Name, u64), Upload>>,
    /// Changes that were asked for lately, by the voice that was heard then.
    made: Mutex<BTreeSet<(u64, u64)>>,
}

struct Upload {
    /// Takes the body; nothing more after `None`.
    body: mpsc::Sender<Option<Bytes>>,
    outcome: JoinHandle<Result<Accepted>>,
    /// The number of the part that comes next.
    next: u32,
}

/// Who decides, and where.
struct Decider {
    home: Name,
    container: ContainerId,
    name: Name,
    heard: Heard,
}

/// A push to another site of which a part is there: dropped before its end it is given up, or it would wait there for as
/// long as a push may stand still.
struct Begun<'a> {
    site: &'a Site,
    decider: &'a Arc<Decider>,
    number: u64,
    /// Whether that site has a part of it, or soon will, and waits for another one.
    is_open: bool,
    /// A part that is not answered yet.
    part: Option<BoxFuture<'static, Result<Changed>>>,
}

impl Begun<'_> {
    async fn send(&mut self, change: Change, (is_last, deadline): (bool, Duration)) -> Result<Changed> {
        let (site, decider, number) = (self.site.clone(), Arc::clone(self.decider), self.number);
        let asking = async move { site.change(&decider, number, change, (is_last, deadline)).await };
        self.is_open |= !is_last;
        let changed = self.part.insert(Box::pin(asking)).await;
        self.part = None;
        changed
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (site, decider, number) = (self.site.clone(), Arc::clone(self.decider), self.number);
        let part = self.part.take();
        self.site.spawn(async move {
            // While that site is at a part of it, it finds nothing to give up.
            if let Some(part) = part
                && let Ok(Changed::Pushed(_)) = part.await
            {
                return;
            }
            let given_up = site.change(&decider, number, Change::GiveUp, (false, PART_MAX)).await;
            tracing::debug!(?given_up, site = %decider.home, "a push to another site is given up");
        });
    }
}

/// Makes changes until the bus is gone.
pub(super) async fn make(site: Site, changes: Subscription) {
    super::answer::at_most(site, changes, CHANGES_MAX, "changes for other sites").await;
}

/// Takes parts of pushes that have begun, which never wait for those that want to begin.
pub(super) async fn take_parts(site: Site, parts: Subscription) {
    super::answer::at_most(site, parts, UNFINISHED_MAX, "parts of changes for other sites").await;
}

impl Site {
    /// Has another site store an object.
    pub(in crate::site) async fn push_at_home(
        &self,
        home: &Name,
        push: Handover,
        mut body: Sending,
        deadline: Duration,
    ) -> Result<Accepted> {
        let address = push.address.clone();
        let room = (self.message_room() / 2).min(PART_BYTES_MAX);
        let mut rest = BytesMut::new();
        // The voice that is named is as fresh as can be: what is pushed may come slowly.
        let mut part = next_part(&mut body, &mut rest, room, deadline).await?;
        let decider = Arc::new(self.decider(home, &address)?);
        let mut begun = Begun { site: self, decider: &decider, number: number(), is_open: false, part: None };
        let (mut push, mut parts) = (Some(Box::new(push)), 0);
        loop {
            let is_last = part.is_last;
            let change = match push.take() {
                Some(push) => Change::Push(decider.heard, push, deadline * 8 / 10, part),
                None => Change::More(parts, part),
            };
            // It ends there before it is given up here: then it is said how.
            let most = if is_last { deadline * 9 / 10 } else { 2 * PART_MAX };
            let changed = begun.send(change, (is_last, most)).await;
            match changed.map_err(|error| decider.name_in(error, &address))? {
                Changed::Pushed(accepted) if is_last => {
                    begun.is_open = false;
                    return Ok(accepted);
                }
                Changed::Continue if !is_last => {
                    parts += 1;
                    part = next_part(&mut body, &mut rest, room, deadline).await?;
                }
                _ => return Err(Error::internal("another site answers something else").with("site", home)),
            }
        }
    }

    /// Has another site delete an object.
    pub(in crate::site) async fn delete_at_home(
        &self,
        home: &Name,
        address: &Address,
        (condition, after): (Condition, Option<Version>),
        deadline: Duration,
    ) -> Result<Option<(Version, Dot)>> {
        let decider = self.decider(home, address)?;
        let change = Change::Delete(decider.heard, address.clone(), condition, after, deadline * 8 / 10);
        let changed = self.change(&decider, number(), change, (true, deadline * 9 / 10)).await;
        match changed.map_err(|error| decider.name_in(error, address))? {
            Changed::Deleted(gone) => Ok(gone),
            _ => Err(Error::internal("another site answers something else").with("site", home)),
        }
    }

    /// A container of the site that decides.
    fn decider(&self, home: &Name, address: &Address) -> Result<Decider> {
        let undecided = |why: &'static str| Error::unavailable(why).with("address", address).with("home_site", home);
        if self.0.mesh.roster.get(home).is_none() {
            let why = "conditions are decided at the collection's home_site, which is no site of the mesh as it is known here";
            return Err(undecided(why));
        }
        let far = locked(&self.0.mesh.far);
        let alive = far.alive(home, self.now_ms()).into_iter().next();
        let heard = alive.and_then(|(container, name)| Some((container, name, far.member(container)?.1.heard())));
        let Some((container, name, (life, nth))) = heard else {
            let why = "conditions are decided at the collection's home_site, which is not heard; try again, or leave the condition out";
            return Err(undecided(why));
        };
        Ok(Decider { home: home.clone(), container, name, heard: Heard(life, nth) })
    }

    /// Asks for a change; nobody knows whether the last part of one was made that is not answered.
    async fn change(
        &self,
        decider: &Decider,
        number: u64,
        change: Change,
        (is_last, deadline): (bool, Duration),
    ) -> Result<Changed> {
        let Decider { home, container, name, .. } = decider;
        let what = match change {
            Change::Push(..) | Change::Delete(..) => "change",
            Change::More(..) | Change::GiveUp => "part",
        };
        let subject = format!("mesh.{what}.{home}.{name}");
        let question = self.question(home, &subject, &Call::Change(number, change))?;
        let asked = self.0.parts.bus.request(Message::to(subject.parse()?, question), deadline);
        let answer = self.while_heard(*container, asked).await.map_err(|error| {
            let why = match is_last {
                true => "the site that decides conditions does not answer, and may have made this change; look before you try again",
                false => "the site that decides conditions does not answer",
            };
            let told = Error::unavailable(why).because(error);
            if is_last { told.with("outcome", "unknown") } else { told }
        })?;
        match self.answer_of(home, answer.subject.as_str(), &answer.body)? {
            Answer::Changed(changed) => Ok(changed),
            _ => Err(Error::internal("another site answers something else").with("site", home)),
        }
    }

    /// Makes a change that another site asks for.
    pub(super) async fn make_change(&self, from: &Name, number: u64, change: Change) -> Result<Changed> {
        match change {
            Change::Push(heard, push, deadline, first) => {
                self.must_be_new(number, heard)?;
                self.may_change(from, &push.address, &push.condition).await?;
                check(&push)?;
                self.begin_push((from.clone(), number), *push, first, deadline.min(STILL_MAX)).await
            }
            Change::More(nth, part) => {
                let what = (from.clone(), number);
                let upload = self.unfinished(&what, |upload| upload.next == nth)?;
                self.take_part(what, upload, part).await
            }
            Change::GiveUp => self.unfinished(&(from.clone(), number), |_| true).map(|_| Changed::GivenUp),
            Change::Delete(heard, address, condition, after, deadline) => {
                self.must_be_new(number, heard)?;
                self.may_change(from, &address, &condition).await?;
                let deleted = self.0.parts.changes.delete(address, (condition, after), deadline.min(STILL_MAX));
                deleted.await.map(Changed::Deleted)
            }
        }
    }

    /// Whether a change was asked for a moment ago, and for the first time: who overhears one may repeat it.
    fn must_be_new(&self, number: u64, Heard(life, nth): Heard) -> Result<()> {
        let now = self.0.voices.load(Ordering::Relaxed);
        if life != self.keeper().last_dot().incarnation || nth > now || nth + VOICES_PAST < now {
            let why = "the site that decides conditions was last heard too long ago; try again";
            return Err(Error::unavailable(why).retry_after(Duration::from_secs(1)));
        }
        let mut made = locked(&self.0.mesh.changing.made);
        while made.first().is_some_and(|(nth, _)| nth + VOICES_PAST < now) {
            made.pop_first();
        }
        if made.len() >= MADE_MAX {
            return Err(Error::busy("too many changes for other sites; try again").retry_after(Duration::from_secs(1)));
        }
        match made.insert((nth, number)) {
            true => Ok(()),
            false => {
                let error = Error::new(Kind::Unauthorised, "a change that was asked for before");
                self.meet_stranger("mesh.change", &error);
                Err(error)
            }
        }
    }

    /// Whether another site may have this one decide here.
    async fn may_change(&self, from: &Name, address: &Address, condition: &Condition) -> Result<()> {
        if *condition == Condition::Always {
            return Err(Error::invalid("a change without a condition is not another site's to make"));
        }
        let collection = address.collection();
        if !self.has_collection(collection) {
            // Whoever asks knows of it, and may be the only one.
            self.find_collection(&collection.parse()?).await;
            if !self.has_collection(collection)
                && let Err(error) = self.take_policy(from, collection).await
            {
                tracing::debug!(%error, %from, collection, "the policy of a collection could not be asked for");
            }
        }
        if !self.admits(collection, from) {
            return Err(Error::not_found("there is no such collection"));
        }
        let Some(verdict) = self.0.parts.policies.on(collection) else { return Ok(()) };
        verdict.may_change_from(from).inspect_err(|_| self.0.parts.telemetry.metrics.policy_refusals.one(Point::Push))
    }

    async fn begin_push(&self, what: (Name, u64), push: Handover, first: Part, deadline: Duration) -> Result<Changed> {
        {
            let mut unfinished = locked(&self.0.mesh.changing.unfinished);
            if unfinished.len() >= UNFINISHED_MAX {
                unfinished.retain(|_, upload| !upload.body.is_closed());
            }
            if unfinished.len() >= UNFINISHED_MAX {
                let why = "too many pushes of other sites are under way; try again";
                return Err(Error::busy(why).retry_after(Duration::from_secs(1)));
            }
        }
        let (body, arriving) = mpsc::channel(1);
        let pushing = self.0.parts.changes.push(push, sending(arriving), deadline);
        let upload = Upload { body, outcome: tokio::spawn(pushing), next: 0 };
        self.take_part(what, upload, first).await
    }

    /// A push of another site of which more was to come; it ends with what is returned, unless it is put back.
    fn unfinished(&self, what: &(Name, u64), is_meant: impl FnOnce(&Upload) -> bool) -> Result<Upload> {
        let mut unfinished = locked(&self.0.mesh.changing.unfinished);
        let found = unfinished.get(what).is_some_and(is_meant).then(|| unfinished.remove(what)).flatten();
        found.ok_or_else(|| {
            let why = "this push is not under way any more at the site that decides conditions; begin it anew";
            Error::unavailable(why).retry_after(Duration::from_secs(1))
        })
    }

    async fn take_part(&self, what: (Name, u64), mut upload: Upload, part: Part) -> Result<Changed> {
        let Part { bytes, is_last } = part;
        for piece in [Some(Bytes::from(bytes))].into_iter().chain(is_last.then_some(None)) {
            let late = |_| Error::busy("what came of this push before is not taken in yet; begin it anew");
            // A push that takes no more has ended, and says why.
            if timeout(PART_MAX, upload.body.send(piece)).await.map_err(late)?.is_err() {
                break;
            }
        }
        if is_last || upload.body.is_closed() {
            let ended = upload.outcome.await;
            let accepted = ended.map_err(|error| Error::internal("a push broke off").because(error))??;
            return Ok(Changed::Pushed(accepted));
        }
        upload.next += 1;
        locked(&self.0.mesh.changing.unfinished).insert(what, upload);
        Ok(Changed::Continue)
    }
}

impl Decider {
    /// What a change that failed was about, to whoever wanted it.
    fn name_in(&self, error: Error, address: &Address) -> Error {
        error.with("address", address).with("home_site", &self.home)
    }
}

/// The body as it arrives: one that is given up does not end as if it were whole.
fn sending(arriving: mpsc::Receiver<Option<Bytes>>) -> Sending {
    let next = |mut arriving: mpsc::Receiver<Option<Bytes>>| async move {
        match arriving.recv().await {
            Some(Some(piece)) => Some((Ok(piece), arriving)),
            Some(None) => None,
            None => Some((Err(io::Error::other("the site that pushes gave it up")), arriving)),
        }
    };
    stream::unfold(arriving, next).boxed()
}

/// What the doors of the other site have checked is checked here as well.
fn check(push: &Handover) -> Result<()> {
    let meta: usize = push.meta.iter().map(|(name, value)| name.len() + value.len()).sum();
    let content_type = push.content_type.as_ref().map_or(0, String::len);
    if meta > META_BYTES_MAX || content_type > CONTENT_TYPE_BYTES_MAX {
        return Err(Error::invalid("what the object is described by is too long").with("address", &push.address));
    }
    Ok(())
}

/// What nobody guesses.
fn number() -> u64 {
    let mut bytes = [0; 8];
    SystemRng.fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// The next part of a body: as long as parts are unless it is the last.
async fn next_part(body: &mut Sending, rest: &mut BytesMut, room: usize, deadline: Duration) -> Result<Part> {
    while rest.len() <= room {
        let stalled = |_| Error::new(Kind::Deadline, "the body stalled");
        match timeout(deadline, body.next()).await.map_err(stalled)? {
            Some(piece) => {
                let piece =
                    piece.map_err(|error| Error::invalid("the body ended before all of it arrived").because(error))?;
                rest.extend_from_slice(&piece);
            }
            None => return Ok(Part { bytes: std::mem::take(rest).into(), is_last: true }),
        }
    }
    Ok(Part { bytes: rest.split_to(room).into(), is_last: false })
}
