//! The bus inside one process: a container alone is a whole site, without any server.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::feed::{Delivery, Feed, Subscription, feed};
use super::link::Way;
use super::log::{check_belongs, overtaken};
use super::{Bus, Described, Log, Logged, Message, Pattern, Subject};
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
pub(super) struct Shared {
    state: Mutex<State>,
}

/// Inboxes that were ever asked for in this process: an answer that comes over a link is for one of them.
static INBOXES: AtomicU64 = AtomicU64::new(0);

#[derive(Default)]
struct State {
    subscribers: Vec<Subscriber>,
    logs: BTreeMap<String, Entries>,
    /// Whose turn it is in each queue.
    turns: BTreeMap<String, usize>,
    /// To the buses that this one is linked with.
    ways: Vec<Way>,
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
    kept: VecDeque<Kept>,
    /// The places of entries that were given an id.
    places: HashMap<String, u64>,
    /// The place of the last entry of each subject, as long as it is kept.
    latest: HashMap<Subject, u64>,
}

struct Kept {
    id: Option<String>,
    logged: Logged,
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

    /// The bus of which this is left, as long as somebody holds it.
    pub(super) fn of(shared: &Weak<Shared>) -> Option<Self> {
        Some(LocalBus { shared: shared.upgrade()? })
    }

    pub(super) fn weak(&self) -> Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    pub(super) fn lead(&self, way: Way) {
        self.state().ways.push(way);
    }

    /// Whether somebody here listens to a subject, or beyond, but for where it comes from.
    pub(super) fn wants(&self, subject: &Subject, from: &Weak<Shared>) -> bool {
        let ways = {
            let state = self.state();
            if state.subscribers.iter().any(|one| !one.feed.is_closed() && one.pattern.matches(subject)) {
                return true;
            }
            state.ways.clone()
        };
        let me = self.weak();
        ways.iter().filter(|way| !way.leads_to(from)).any(|way| way.wants(subject, &me))
    }

    /// Hands a message to those who listen here and beyond, but for where it comes from. Returns how many that are, a bus
    /// beyond counted as one. No lock is held while another bus is asked.
    pub(super) fn spread(&self, message: &Message, from: Option<&Weak<Shared>>) -> usize {
        let (heard, ways) = {
            let mut state = self.state();
            (state.deliver(message), state.ways.clone())
        };
        let me = self.weak();
        let beyond = ways.iter().filter(|way| from.is_none_or(|from| !way.leads_to(from)));
        heard + beyond.filter(|way| way.take(message, &me)).count()
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
        let published = message.check(PAYLOAD_MAX).and_then(|()| self.open().map(drop)).map(|()| {
            self.spread(&message, None);
        });
        ready(published).boxed()
    }

    fn may_be_heard(&self, subject: &Subject) -> bool {
        self.wants(subject, &Weak::new())
    }

    fn subscribe<'a>(&'a self, pattern: &Pattern, queue: Option<&str>) -> BoxFuture<'a, Result<Subscription>> {
        ready(self.listen(pattern, queue)).boxed()
    }

    fn request(&self, mut message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>> {
        Box::pin(async move {
            message.check(PAYLOAD_MAX)?;
            let inbox = format!("_INBOX.{}", INBOXES.fetch_add(1, Ordering::Relaxed));
            let subject = message.subject.clone();
            let mut answers = self.listen(&inbox.parse()?, None)?;
            message.reply = Some(inbox.parse()?);
            if self.spread(&message, None) == 0 {
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

impl Entries {
    /// Those behind a place.
    fn behind(&self, place: u64) -> impl Iterator<Item = &Logged> {
        let first = self.kept.partition_point(|kept| kept.logged.place <= place);
        self.kept.range(first..).map(|kept| &kept.logged)
    }

    /// The last one of a subject.
    fn latest(&self, subject: &Subject) -> Option<&Logged> {
        let place = self.latest.get(subject)?;
        self.behind(place - 1).next()
    }

    fn add(&mut self, id: Option<&str>, message: Message) -> u64 {
        self.last += 1;
        let place = self.last;
        let id = id.map(str::to_owned);
        self.places.extend(id.clone().map(|id| (id, place)));
        self.latest.insert(message.subject.clone(), place);
        self.kept.push_back(Kept { id, logged: Logged { place, message } });
        if self.kept.len() > LOG_ENTRIES_MAX {
            self.drop_first();
        }
        place
    }

    fn drop_first(&mut self) {
        let Some(Kept { id, logged }) = self.kept.pop_front() else { return };
        id.and_then(|id| self.places.remove(&id));
        let subject = &logged.message.subject;
        if self.latest.get(subject) == Some(&logged.place) {
            self.latest.remove(subject);
        }
    }
}

/// What an entry is added under.
enum Under<'a> {
    /// Once for each id.
    Id(&'a str),
    /// Only behind this place.
    Place(u64),
}

impl LocalLog {
    fn add(&self, under: Under<'_>, entry: Message) -> Result<u64> {
        entry.check(PAYLOAD_MAX)?;
        check_belongs(&self.subjects, &entry)?;
        let mut state = self.bus.open()?;
        let entries = state.logs.entry(self.name.clone()).or_default();
        let place = match under {
            Under::Id(id) => match entries.places.get(id) {
                Some(place) => return Ok(*place),
                None => entries.add(Some(id), entry.clone()),
            },
            Under::Place(place) => {
                let last = entries.latest.get(&entry.subject).copied().unwrap_or_default();
                if last != place {
                    return Err(overtaken().with("subject", &entry.subject).with("place", place));
                }
                entries.add(None, entry.clone())
            }
        };
        state.deliver(&entry);
        Ok(place)
    }

    fn entries<T>(&self, look: impl FnOnce(&Entries) -> T) -> Result<T> {
        Ok(look(self.bus.open()?.logs.entry(self.name.clone()).or_default()))
    }
}

impl Log for LocalLog {
    fn append<'a>(&'a self, id: &str, entry: Message) -> BoxFuture<'a, Result<u64>> {
        ready(self.add(Under::Id(id), entry)).boxed()
    }

    fn append_behind<'a>(&'a self, place: u64, entry: Message) -> BoxFuture<'a, Result<u64>> {
        ready(self.add(Under::Place(place), entry)).boxed()
    }

    fn last<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Logged>>> {
        ready(self.entries(|entries| entries.latest(subject).cloned())).boxed()
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Logged>>> {
        let page = self.entries(|entries| entries.behind(after).take(limit).cloned().collect());
        ready(page).boxed()
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Option<(u64, u64)>>> {
        let bounds = self.entries(|entries| entries.kept.front().map(|first| (first.logged.place, entries.last)));
        ready(bounds).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_alone_need_not_speak() {
        let (bus, subject) = (LocalBus::new(), "mesh.event.edge.push".parse().unwrap());
        assert!(!bus.may_be_heard(&subject));
        let listening = bus.subscribe(&"mesh.event.edge.*".parse().unwrap(), None).await.unwrap();
        assert!(bus.may_be_heard(&subject));
        drop(listening);
        assert!(!bus.may_be_heard(&subject));
    }

    #[tokio::test]
    async fn a_record_goes_with_the_oldest_entries() {
        let bus = LocalBus::new();
        let log = bus.log("LOG", &"log.>".parse().unwrap()).await.unwrap();
        let entry = |subject: &str| Message::to(subject.parse().unwrap(), "");
        let record = entry("log.record");
        log.append_behind(0, record.clone()).await.unwrap();
        let second = log.append_behind(1, record.clone()).await.unwrap();
        for n in 2..LOG_ENTRIES_MAX {
            log.append(&n.to_string(), entry("log.other")).await.unwrap();
        }
        log.append("one more", entry("log.other")).await.unwrap();
        assert_eq!(log.bounds().await.unwrap().unwrap().0, second, "the first one went");
        assert_eq!(log.last(&record.subject).await.unwrap().unwrap().place, second);
        log.append("and another", entry("log.other")).await.unwrap();
        assert_eq!(log.last(&record.subject).await.unwrap(), None);
        log.append_behind(0, record).await.unwrap();
    }
}
