//! The ways to another container's bytes: its HTTP door, and the bus where that is not reached.
//!
//! What is found out about a door counts for all reads from its container: whoever comes first finds out whether it
//! can be connected to, and a door that cannot is tried again every few seconds, while reads go over the bus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::locked;
use super::members::Member;
use super::pace::Pace;
use super::window::{Step, Window};
use crate::client::Client;
use crate::error::{Error, Kind, Result};
use crate::model::{ContainerId, Name};

/// How long it may take to connect to a door.
const CONNECT_MAX: Duration = Duration::from_millis(300);

/// For so long a door that could not be connected to is left alone.
const SHUT_MS: u64 = 5_000;

/// Threads that may wait for one container's bytes. What was asked of one that stands still is waited for after
/// whoever asked has gone; the disk's readers need threads as well.
const READERS_MAX: usize = 256;

/// Containers that something is known of.
const CONTAINERS_MAX: usize = 256;

/// The least time after which a door counts as late.
const LATE_LEAST: Duration = Duration::from_millis(50);

/// The most.
const LATE_MOST: Duration = Duration::from_secs(2);

/// How many times as long as usual that is.
const LATE_TIMES: u32 = 3;

/// A door that came second so often in a row is taken for shut.
const OUTRUN_MAX: u8 = 3;

/// Ways to the containers that were read from.
pub(super) struct Ways {
    ca: Option<Vec<u8>>,
    known: Mutex<BTreeMap<ContainerId, Arc<Way>>>,
}

/// The ways to one container.
pub(super) struct Way {
    /// Its name.
    pub name: Name,
    /// Its site, where that is another one.
    pub site: Option<Name>,
    url: String,
    /// A client of its door, where it says at which address others reach it.
    pub client: Option<Client>,
    /// Pieces that one read asks for at a time over the bus.
    pub ahead: usize,
    /// What is under way from it over the bus.
    pub window: Window,
    /// Held by threads that wait for its bytes.
    readers: Semaphore,
    pace: Mutex<Pace>,
    /// Held by who finds out whether the door can be connected to.
    trying: tokio::sync::Mutex<()>,
    door: Mutex<Door>,
}

#[derive(Default)]
struct Door {
    state: State,
    /// What it usually takes until an answer begins.
    usual: Duration,
    /// How often in a row the bus was quicker although the door was asked first.
    outrun: u8,
}

#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Unknown,
    Open,
    Shut {
        until_ms: u64,
    },
}

impl Ways {
    pub(super) fn new(ca: Option<Vec<u8>>) -> Self {
        Ways { ca, known: Mutex::default() }
    }

    /// How quick a container is, where something was read from it.
    pub(super) fn pace(&self, container: ContainerId) -> Option<Pace> {
        locked(&self.known).get(&container).map(|way| way.pace())
    }

    /// The ways to a container; one whose door has moved is a new one.
    pub(super) fn to(&self, site: Option<Name>, member: &Member) -> Result<Arc<Way>> {
        let mut known = locked(&self.known);
        if let Some(way) = known.get(&member.container).filter(|way| way.url == member.url) {
            return Ok(Arc::clone(way));
        }
        let client = || Client::trusting(&member.url, None, self.ca.as_deref());
        let client = (!member.url.is_empty()).then(client).transpose()?;
        let step = if site.is_some() { Step::FAR } else { Step::NEAR };
        let way = Arc::new(Way {
            name: member.name.clone(),
            site,
            url: member.url.clone(),
            client,
            ahead: step.ahead,
            window: Window::of(step),
            readers: Semaphore::new(READERS_MAX),
            pace: Mutex::default(),
            trying: tokio::sync::Mutex::default(),
            door: Mutex::default(),
        });
        if known.len() >= CONTAINERS_MAX {
            known.pop_first();
        }
        known.insert(member.container, Arc::clone(&way));
        Ok(way)
    }
}

impl Way {
    /// A place among those who wait for its bytes.
    pub(super) fn reader(&self) -> Result<SemaphorePermit<'_>> {
        let full = |_| {
            let error = Error::busy("too many reads wait for the container that keeps the object; try again");
            error.with("container", &self.name).retry_after(Duration::from_secs(1))
        };
        self.readers.try_acquire().map_err(full)
    }

    /// How quick it is.
    pub(super) fn pace(&self) -> Pace {
        *locked(&self.pace)
    }

    /// It answered a question after so long.
    pub(super) fn answered(&self, took: Duration) {
        locked(&self.pace).answered(took);
    }

    /// Another one was asked as well, because it did not answer.
    pub(super) fn late(&self) {
        locked(&self.pace).late();
    }

    /// So many bytes of it came after so long.
    pub(super) fn gave(&self, bytes: u64, took: Duration, now_ms: u64) {
        locked(&self.pace).gave(bytes, took, now_ms);
    }

    /// The door, if it is to be asked. Who comes first waits until that is known.
    pub(super) async fn door(self: &Arc<Self>, now_ms: impl Fn() -> u64) -> Option<&Client> {
        let client = self.client.as_ref()?;
        if let Some(open) = self.known(now_ms()) {
            return open.then_some(client);
        }
        let _trying = self.trying.lock().await;
        let open = match self.known(now_ms()) {
            Some(open) => open,
            None => self.look(now_ms()).await,
        };
        open.then_some(client)
    }

    /// What is known of the door. When one that was shut is to be tried again, that is begun, and nobody waits for it.
    fn known(self: &Arc<Self>, now_ms: u64) -> Option<bool> {
        let mut door = locked(&self.door);
        match door.state {
            State::Unknown => None,
            State::Open => Some(true),
            State::Shut { until_ms } => {
                if until_ms <= now_ms {
                    door.state = State::Shut { until_ms: now_ms + SHUT_MS };
                    let way = Arc::clone(self);
                    tokio::spawn(async move { way.look(now_ms).await });
                }
                Some(false)
            }
        }
    }

    async fn look(&self, now_ms: u64) -> bool {
        let Some(client) = &self.client else { return false };
        let open = matches!(tokio::time::timeout(CONNECT_MAX, client.answers()).await, Ok(true));
        if !open {
            tracing::debug!(container = %self.name, url = self.url, "its door is not reached; the bus is taken");
        }
        let state = if open { State::Open } else { State::Shut { until_ms: now_ms + SHUT_MS } };
        *locked(&self.door) = Door { state, ..Door::default() };
        open
    }

    /// A read through the door failed. Says whether another way may do better; the door is looked at anew then before the
    /// next read.
    pub(super) fn fails(&self, error: &Error, now_ms: u64) -> bool {
        // What another site calls itself may be the name of a door here, which knows nothing of that site's tickets.
        if self.site.is_some() && matches!(error.kind(), Kind::Unauthorised | Kind::Forbidden) {
            tracing::debug!(container = %self.name, url = self.url, "this is not its door; the bus is taken");
            locked(&self.door).state = State::Shut { until_ms: now_ms + SHUT_MS };
            return true;
        }
        if is_of_the_way(error) {
            let mut door = locked(&self.door);
            if matches!(door.state, State::Open) {
                door.state = State::Unknown;
            }
            return true;
        }
        false
    }

    /// How long an answer may take to begin before it is late.
    pub(super) fn patience(&self) -> Duration {
        (locked(&self.door).usual * LATE_TIMES).clamp(LATE_LEAST, LATE_MOST)
    }

    /// The answer of the door began after so long.
    pub(super) fn began(&self, took: Duration) {
        let mut door = locked(&self.door);
        door.usual = learnt(door.usual, took);
        door.outrun = 0;
    }

    /// The bus was quicker than the door, which had not answered after so long.
    pub(super) fn outrun(&self, took: Duration, now_ms: u64) {
        let mut door = locked(&self.door);
        door.usual = learnt(door.usual, took);
        door.outrun += 1;
        if door.outrun >= OUTRUN_MAX {
            *door = Door { state: State::Shut { until_ms: now_ms + SHUT_MS }, ..Door::default() };
        }
    }
}

/// Whether another way may do better: nothing was said of what was asked for.
pub(super) fn is_of_the_way(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Deadline)
}

/// An eighth of the way from what was usual to what was met.
fn learnt(usual: Duration, took: Duration) -> Duration {
    if usual.is_zero() { took } else { (usual * 7 + took) / 8 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way() -> Arc<Way> {
        Arc::new(Way {
            name: "a".parse().unwrap(),
            site: None,
            url: String::new(),
            client: Some(Client::new("http://127.0.0.1:1", None).unwrap()),
            ahead: Step::NEAR.ahead,
            window: Window::of(Step::NEAR),
            readers: Semaphore::new(READERS_MAX),
            pace: Mutex::default(),
            trying: tokio::sync::Mutex::default(),
            door: Mutex::default(),
        })
    }

    #[tokio::test]
    async fn a_door_that_is_not_reached_is_left_alone_for_a_while() {
        let way = way();
        assert_eq!(way.known(1), None);
        assert!(way.door(|| 1).await.is_none());
        assert_eq!(way.known(SHUT_MS), Some(false));
        // It is looked at again once that time is over.
        assert_eq!(way.known(SHUT_MS + 1), Some(false));
        assert!(matches!(locked(&way.door).state, State::Shut { until_ms } if until_ms > 2 * SHUT_MS));
    }

    #[test]
    fn a_door_of_another_site_that_knows_no_ticket_of_its_is_not_its_door() {
        let refused = Error::new(Kind::Unauthorised, "no");
        let own = way();
        assert!(!own.fails(&refused, 1) && own.fails(&Error::unavailable("gone"), 1));
        let far = Way { site: Some("edge".parse().unwrap()), ..Arc::into_inner(way()).unwrap() };
        assert!(
            far.fails(&refused, 1)
                && matches!(locked(&far.door).state, State::Shut { until_ms } if until_ms == 1 + SHUT_MS)
        );
        assert!(!far.fails(&Error::not_found("gone"), 1));
    }

    #[test]
    fn a_door_is_late_by_what_is_usual_for_it_and_shut_when_it_is_outrun() {
        let way = way();
        assert_eq!(way.patience(), LATE_LEAST);
        (0..50).for_each(|_| way.began(Duration::from_millis(100)));
        assert_eq!(way.patience(), Duration::from_millis(300));
        (0..50).for_each(|_| way.began(Duration::from_secs(9)));
        assert_eq!(way.patience(), LATE_MOST);
        (0..OUTRUN_MAX).for_each(|_| way.outrun(Duration::from_secs(1), 7));
        assert!(matches!(locked(&way.door).state, State::Shut { until_ms } if until_ms == 7 + SHUT_MS));
    }
}
