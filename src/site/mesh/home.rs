//! Changes whose condition another site decides: that of the collection's `home_site`. The object is kept there.
//!
//! A push travels over the bus, part by part to one container of that site, each part after the last one was taken: what
//! is under way is little, and a site that only dials out is reached as well. What that one does is in `making.rs`.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::super::{Site, locked};
use super::call::{Answer, Call};
use crate::bus::Message;
use crate::error::{Error, Kind, Result};
use crate::model::{Address, Condition, ContainerId, Dot, Incarnation, Name, Rng, Version};
use crate::nfr::SystemRng;
use crate::tiers::{Accepted, Handover, Sending};

/// Bytes of a part: a slow link is needed for other things as well.
const PART_BYTES_MAX: usize = 128 << 10;

/// The longest that a part may wait until it is taken in.
pub(super) const PART_MAX: Duration = Duration::from_secs(10);

/// The voice of who is asked, as whoever asks heard it last: what was asked for long ago counts for nothing.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(in crate::site) struct Heard(pub(super) Incarnation, pub(super) u64);

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
    pub(super) bytes: Vec<u8>,
    pub(super) is_last: bool,
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
}

impl Decider {
    /// What a change that failed was about, to whoever wanted it.
    fn name_in(&self, error: Error, address: &Address) -> Error {
        error.with("address", address).with("home_site", &self.home)
    }
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
