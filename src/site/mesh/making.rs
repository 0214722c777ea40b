//! Changes that this site decides for others, as its collections' `home_site` (`home.rs` asks for them).

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Mutex;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::super::{Site, locked};
use super::home::{Change, Changed, Heard, PART_MAX, Part};
use crate::bus::Subscription;
use crate::error::{Error, Kind, Result};
use crate::limits::{CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX};
use crate::model::{Address, Condition, Dot, Name, Version};
use crate::telemetry::metrics::labels::Point;
use crate::tiers::{Accepted, Handover, Sending};

/// Changes for other sites that are at work at the same time; others wait on the bus.
const CHANGES_MAX: usize = 16;

/// Pushes for other sites of which more is to come.
const UNFINISHED_MAX: usize = 64;

/// So many voices ago whoever asks for a change has heard the one who makes it.
const VOICES_PAST: u64 = 32;

/// Changes that are remembered, so that none is made twice.
const MADE_MAX: usize = 1 << 16;

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

/// Makes changes until the bus is gone.
pub(super) async fn make(site: Site, changes: Subscription) {
    super::answer::at_most(site, changes, CHANGES_MAX, "changes for other sites").await;
}

/// Takes parts of pushes that have begun, which never wait for those that want to begin.
pub(super) async fn take_parts(site: Site, parts: Subscription) {
    super::answer::at_most(site, parts, UNFINISHED_MAX, "parts of changes for other sites").await;
}

impl Site {
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
