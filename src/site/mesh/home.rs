//! Changes whose condition another site decides: that of the collection's `home_site`. The object is kept there.
//!
//! A push travels over the bus, part by part to one container of that site, each part after the last one was taken: what
//! is under way is little, and a site that only dials out is reached as well.

use std::collections::HashMap;
use std::io;
use std::sync::Mutex;
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
use crate::bus::Subscription;
use crate::error::{Error, Kind, Result};
use crate::limits::{CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX};
use crate::model::{Address, Condition, ContainerId, Dot, Name, Rng, Version};
use crate::nfr::SystemRng;
use crate::telemetry::metrics::labels::Point;
use crate::tiers::{Accepted, Handover, Sending};

/// Changes for other sites that are at work at the same time; others wait on the bus.
const CHANGES_MAX: usize = 16;

/// Pushes for other sites of which more is to come.
const UNFINISHED_MAX: usize = 64;

/// The longest that a part may wait until it is taken in.
const PART_MAX: Duration = Duration::from_secs(10);

/// The longest that a change for another site may stand still.
const STILL_MAX: Duration = Duration::from_secs(60);

/// What this container changes for another site, which leaves the decision to this one.
pub trait Changes: Send + Sync {
    /// Stores an object where in this site it belongs.
    fn push(&self, push: Handover, body: Sending, deadline: Duration) -> BoxFuture<'static, Result<Accepted>>;

    /// Deletes one.
    fn delete(
        &self,
        address: Address,
        condition: Condition,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Option<(Version, Dot)>>>;
}

/// A change that another site is to make.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) enum Change {
    /// A push, how long it may stand still, and the beginning of its body.
    Push(Box<Handover>, Duration, Part),
    /// More of the body of a push.
    More(u64, Part),
    /// No more of it comes.
    GiveUp(u64),
    /// A delete, and how long it may take.
    Delete(Address, Condition, Duration),
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) enum Changed {
    /// More of the body is to come, under this number.
    Continue(u64),
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

/// Pushes of which more is to come.
#[derive(Default)]
pub(super) struct Unfinished(Mutex<HashMap<u64, Upload>>);

struct Upload {
    /// Whose it is.
    from: Name,
    /// Takes the body; nothing more after `None`.
    body: mpsc::Sender<Option<Bytes>>,
    outcome: JoinHandle<Result<Accepted>>,
}

/// A push to another site that has begun there: dropped before its end it is given up, or it would wait there for as long
/// as a push may stand still.
struct Begun<'a> {
    site: &'a Site,
    to: (&'a Name, &'a (ContainerId, Name), &'a Address),
    number: Option<u64>,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let (site, (home, decider, address)) = (self.site.clone(), self.to);
        let (home, decider, address) = (home.clone(), decider.clone(), address.clone());
        self.site.spawn(async move {
            let given_up = site.change(&home, &decider, &address, Change::GiveUp(number), PART_MAX).await;
            tracing::debug!(?given_up, %address, "a push to another site is given up");
        });
    }
}

/// Makes changes until the bus is gone.
pub(super) async fn make(site: Site, changes: Subscription) {
    super::answer::at_most(site, changes, CHANGES_MAX, "changes for other sites").await;
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
        let decider = self.decider(home, &push.address)?;
        let (address, room) = (push.address.clone(), self.message_room() / 2);
        let mut begun = Begun { site: self, to: (home, &decider, &address), number: None };
        let mut rest = BytesMut::new();
        let mut part = next_part(&mut body, &mut rest, room, deadline).await?;
        let mut change = Change::Push(Box::new(push), deadline, part.clone());
        loop {
            let most = if part.is_last { deadline } else { 2 * PART_MAX };
            match self.change(home, &decider, &address, change, most).await? {
                Changed::Pushed(accepted) if part.is_last => {
                    begun.number = None;
                    return Ok(accepted);
                }
                Changed::Continue(number) if !part.is_last => {
                    begun.number = Some(number);
                    part = next_part(&mut body, &mut rest, room, deadline).await?;
                    change = Change::More(number, part.clone());
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
        condition: Condition,
        deadline: Duration,
    ) -> Result<Option<(Version, Dot)>> {
        let decider = self.decider(home, address)?;
        let change = Change::Delete(address.clone(), condition, deadline);
        match self.change(home, &decider, address, change, deadline).await? {
            Changed::Deleted(gone) => Ok(gone),
            _ => Err(Error::internal("another site answers something else").with("site", home)),
        }
    }

    /// A container of the site that decides.
    fn decider(&self, home: &Name, address: &Address) -> Result<(ContainerId, Name)> {
        let undecided =
            |why: &'static str| Err(Error::unavailable(why).with("address", address).with("home_site", home));
        if self.0.mesh.roster.get(home).is_none() {
            return undecided(
                "conditions are decided at the collection's home_site, which is no site of the mesh as it is known here",
            );
        }
        let alive = locked(&self.0.mesh.far).alive(home, self.now_ms());
        match alive.into_iter().next() {
            Some(decider) => Ok(decider),
            None => undecided(
                "conditions are decided at the collection's home_site, which is not heard; try again, or leave the condition out",
            ),
        }
    }

    async fn change(
        &self,
        home: &Name,
        (decider, name): &(ContainerId, Name),
        address: &Address,
        change: Change,
        deadline: Duration,
    ) -> Result<Changed> {
        let subject = format!("mesh.change.{home}.{name}");
        let unknown = |error: Error| {
            let why = "the site that decides conditions does not answer, and may have made this change; look before you try again";
            let told = Error::unavailable(why).with("address", address).with("home_site", home);
            told.with("outcome", "unknown").because(error)
        };
        let call = Call::Change(change);
        let asked = self.call_on(home, subject, &call, deadline);
        let answer = self.while_heard(*decider, asked).await.map_err(unknown)?;
        match answer? {
            Answer::Changed(changed) => Ok(changed),
            _ => Err(Error::internal("another site answers something else").with("site", home)),
        }
    }

    /// Makes a change that another site asks for.
    pub(super) async fn make_change(&self, from: &Name, change: Change) -> Result<Changed> {
        match change {
            Change::Push(push, deadline, first) => {
                self.may_change(from, &push.address)?;
                check(&push)?;
                self.begin_push(from, *push, first, deadline.min(STILL_MAX)).await
            }
            Change::More(number, part) => {
                let upload = self.unfinished(from, number)?;
                self.take_part(number, upload, part).await
            }
            Change::GiveUp(number) => self.unfinished(from, number).map(|_| Changed::GivenUp),
            Change::Delete(address, condition, deadline) => {
                self.may_change(from, &address)?;
                self.0.parts.changes.delete(address, condition, deadline.min(STILL_MAX)).await.map(Changed::Deleted)
            }
        }
    }

    /// Whether another site has a say in a collection, and is let change it.
    fn may_change(&self, from: &Name, address: &Address) -> Result<()> {
        // A collection that is not known here yet is asked for before it is made.
        if !self.admits(address.collection(), from) {
            return Err(Error::not_found("there is no such collection"));
        }
        let Some(verdict) = self.0.parts.policies.on(address.collection()) else { return Ok(()) };
        verdict.may_change_from(from).inspect_err(|_| self.0.parts.telemetry.metrics.policy_refusals.one(Point::Push))
    }

    async fn begin_push(&self, from: &Name, push: Handover, first: Part, deadline: Duration) -> Result<Changed> {
        let (body, arriving) = mpsc::channel(1);
        let pushing = self.0.parts.changes.push(push, sending(arriving), deadline);
        let upload = Upload { from: from.clone(), body, outcome: tokio::spawn(pushing) };
        self.take_part(number(), upload, first).await
    }

    /// A push of another site of which more was to come; it ends with what is returned, unless it is put back.
    fn unfinished(&self, from: &Name, number: u64) -> Result<Upload> {
        let upload = locked(&self.0.mesh.unfinished.0).remove(&number);
        let gone = || Error::not_found("this push is not under way here; begin it anew");
        upload.filter(|upload| upload.from == *from).ok_or_else(gone)
    }

    async fn take_part(&self, number: u64, upload: Upload, Part { bytes, is_last }: Part) -> Result<Changed> {
        let end = is_last.then_some(None);
        for piece in [Some(Bytes::from(bytes))].into_iter().chain(end) {
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
        let mut unfinished = locked(&self.0.mesh.unfinished.0);
        unfinished.retain(|_, upload| !upload.body.is_closed());
        if unfinished.len() >= UNFINISHED_MAX {
            return Err(Error::busy("too many pushes of other sites are under way; try again"));
        }
        unfinished.insert(number, upload);
        Ok(Changed::Continue(number))
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
