//! The bus inside one process: a container alone is a whole site, without any server.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::feed::{Delivery, Feed, Subscription, feed};
use super::{Bus, Described, Log, Logged, Message, Pattern};
use crate::error::{Error, Result};

/// The largest message, as a NATS server has it by default: what works here works there.
const PAYLOAD_MAX: usize = 1 << 20;

/// Entries that a log keeps: who is in this process reads the store for what is older.
const LOG_ENTRIES_MAX: usize = 65_536;

/// A bus in process; clones are the same bus.
#[derive(Clone, Default)]
pub struct LocalBus {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    inboxes: AtomicU64,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Subscriber>,
    logs: BTreeMap<String, Entries>,
    /// Whose turn it is in each queue.
    turns: BTreeMap<String, usize>,
    drained: bool,
}

struct Subscriber {
    pattern: Pattern,
    queue: Option<String>,
    feed: Feed,
}

#[derive(Default)]
struct Entries {
    last: u64,
    kept: VecDeque<(String, Logged)>,
    places: HashMap<String, u64>,
}

struct LocalLog {
    bus: LocalBus,
    name: String,
    subjects: Pattern,
}

impl LocalBus {
    /// A bus with nobody on it.
    pub fn new() -> Self {
        LocalBus::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.drained { Err(Error::unavailable("the bus was drained")) } else { Ok(state) }
    }

    fn listen(&self, pattern: &Pattern, queue: Option<&str>) -> Result<Subscription> {
        let (feed, subscription) = feed(());
        let subscriber = Subscriber { pattern: pattern.clone(), queue: queue.map(str::to_owned), feed };
        self.open()?.subscribers.push(subscriber);
        Ok(subscription)
    }
}

impl State {
    /// Hands a message to all who want it, and to one of each queue. Returns how many got it.
    fn deliver(&mut self, message: &Message) -> usize {
        self.subscribers.retain(|subscriber| !subscriber.feed.is_closed());
        let wanting = || self.subscribers.iter().filter(|subscriber| subscriber.pattern.matches(&message.subject));
        let mut queues: BTreeMap<&str, Vec<&Feed>> = BTreeMap::new();
        let mut heard = 0;
        for subscriber in wanting() {
            match &subscriber.queue {
                Some(queue) => queues.entry(queue).or_default().push(&subscriber.feed),
                None => heard += usize::from(subscriber.feed.give(message.clone())),
            }
        }
        for (queue, members) in queues {
            let turn = self.turns.entry(queue.to_owned()).or_default();
            *turn = turn.wrapping_add(1);
            let chosen = turn.checked_rem(members.len()).and_then(|at| members.get(at));
            heard += chosen.map_or(0, |feed| usize::from(feed.give(message.clone())));
        }
        heard
    }
}

impl Bus for LocalBus {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        let published = message.check(PAYLOAD_MAX).and_then(|()| self.open()).map(|mut state| {
            state.deliver(&message);
        });
        ready(published).boxed()
    }

    fn subscribe<'a>(&'a self, pattern: &Pattern, queue: Option<&str>) -> BoxFuture<'a, Result<Subscription>> {
        ready(self.listen(pattern, queue)).boxed()
    }

    fn request(&self, mut message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>> {
        Box::pin(async move {
            message.check(PAYLOAD_MAX)?;
            let inbox = format!("_INBOX.{}", self.shared.inboxes.fetch_add(1, Ordering::Relaxed));
            let subject = message.subject.clone();
            let mut answers = self.listen(&inbox.parse()?, None)?;
            message.reply = Some(inbox.parse()?);
            if self.open()?.deliver(&message) == 0 {
                return Err(Error::unavailable("nobody listens to this subject").with("subject", &subject));
            }
            let late = || Error::deadline("the answer did not come in time").with("subject", &subject);
            match tokio::time::timeout(deadline, answers.next()).await.map_err(|_| late())? {
                Some(Delivery::Message(answer)) => Ok(answer),
                _ => Err(Error::unavailable("the bus was drained")),
            }
        })
    }

    fn log<'a>(&'a self, name: &str, subjects: &Pattern) -> BoxFuture<'a, Result<Box<dyn Log>>> {
        let log = LocalLog { bus: self.clone(), name: name.to_owned(), subjects: subjects.clone() };
        let made = self.open().map(|mut state| {
            state.logs.entry(name.to_owned()).or_default();
        });
        ready(made.map(|()| Box::new(log) as _)).boxed()
    }

    fn payload_max(&self) -> usize {
        PAYLOAD_MAX
    }

    fn describe(&self) -> Described {
        Described { name: "local".to_owned(), version: None, connected: !self.state().drained, disconnects: 0 }
    }

    fn drain(&self) -> BoxFuture<'_, Result<()>> {
        let mut state = self.state();
        state.drained = true;
        state.subscribers.clear();
        ready(Ok(())).boxed()
    }
}

impl LocalLog {
    fn add(&self, id: &str, entry: Message) -> Result<u64> {
        entry.check(PAYLOAD_MAX)?;
        if !self.subjects.matches(&entry.subject) {
            return Err(Error::internal("an entry does not belong to this log").with("subject", &entry.subject));
        }
        let mut state = self.bus.open()?;
        let entries = state.logs.entry(self.name.clone()).or_default();
        if let Some(place) = entries.places.get(id) {
            return Ok(*place);
        }
        entries.last += 1;
        let place = entries.last;
        entries.kept.push_back((id.to_owned(), Logged { place, message: entry.clone() }));
        entries.places.insert(id.to_owned(), place);
        if entries.kept.len() > LOG_ENTRIES_MAX
            && let Some((id, _)) = entries.kept.pop_front()
        {
            entries.places.remove(&id);
        }
        state.deliver(&entry);
        Ok(place)
    }

    fn entries<T>(&self, look: impl FnOnce(&Entries) -> T) -> Result<T> {
        Ok(look(self.bus.open()?.logs.entry(self.name.clone()).or_default()))
    }
}

impl Log for LocalLog {
    fn append<'a>(&'a self, id: &str, entry: Message) -> BoxFuture<'a, Result<u64>> {
        ready(self.add(id, entry)).boxed()
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Logged>>> {
        let page = self.entries(|entries| {
            let behind = entries.kept.partition_point(|(_, logged)| logged.place <= after);
            entries.kept.iter().skip(behind).take(limit).map(|(_, logged)| logged.clone()).collect()
        });
        ready(page).boxed()
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Option<(u64, u64)>>> {
        let bounds = self.entries(|entries| entries.kept.front().map(|(_, first)| (first.place, entries.last)));
        ready(bounds).boxed()
    }
}
