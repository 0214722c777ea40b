//! The book of events: the last few thousand things that happened, for whoever watches.
//!
//! Writing never waits for a reader: the book keeps a fixed number of events and forgets the oldest. Each
//! reader has a place of its own in it; one that falls behind what is kept is told how much it missed.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use super::event::{CollectionChange, Event, EventKind, Happened};
use crate::error::{Error, Result};
use crate::limits::{EVENT_READERS_MAX, EVENTS_AT_ONCE, EVENTS_KEPT};

/// The events of one life of a container.
pub struct EventBook {
    /// Tells the lives apart: numbers start anew in each.
    life: u64,
    kept: usize,
    pages: Mutex<Pages>,
    news: watch::Sender<News>,
    places: Arc<Semaphore>,
    /// Events that readers missed, all of them together.
    missed: AtomicU64,
}

struct Pages {
    events: VecDeque<Arc<Event>>,
    /// The number of the next event.
    next: u64,
}

/// What readers wait for.
#[derive(Clone, Copy)]
struct News {
    next: u64,
    closed: bool,
}

/// A place in the book: behind this event. As text it is the id of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    life: u64,
    seq: u64,
}

/// What a reader is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// These happened, in this order.
    Events(Vec<Arc<Event>>),
    /// So many events were forgotten before they were read; `None` when nobody knows how many, since
    /// they were of an earlier life.
    Gap(Option<u64>),
}

/// A reader of the book.
pub struct Reader {
    book: Arc<EventBook>,
    news: watch::Receiver<News>,
    /// The number of the next event to read.
    next: u64,
    /// Whether it comes from another life, and has not been told so yet.
    stranger: bool,
    _place: Option<OwnedSemaphorePermit>,
}

impl EventBook {
    /// An empty book; `life` is random.
    pub fn new(life: u64) -> Arc<Self> {
        Self::keeping(life, EVENTS_KEPT)
    }

    fn keeping(life: u64, kept: usize) -> Arc<Self> {
        Arc::new(EventBook {
            life,
            kept,
            pages: Mutex::new(Pages { events: VecDeque::new(), next: 1 }),
            news: watch::channel(News { next: 1, closed: false }).0,
            places: Arc::new(Semaphore::new(EVENT_READERS_MAX)),
            missed: AtomicU64::new(0),
        })
    }

    /// Takes note of something that happened. Waits for nobody.
    pub fn record(&self, at_ms: u64, happened: Happened) {
        self.record_all(at_ms, [happened]);
    }

    /// Takes note of what happened at once, and wakes readers once: most of them run on another thread.
    pub fn record_all(&self, at_ms: u64, happened: impl IntoIterator<Item = Happened>) {
        let next = {
            let mut pages = self.pages();
            let before = pages.next;
            for happened in happened {
                let seq = pages.next;
                pages.next += 1;
                if pages.events.len() == self.kept {
                    pages.events.pop_front();
                }
                pages.events.push_back(Arc::new(Event { seq, at_ms, happened }));
            }
            if pages.next == before {
                return;
            }
            pages.next
        };
        self.news.send_modify(|news| news.next = news.next.max(next));
    }

    /// Reads on behind an event, or from now on. `busy` when there are too many readers.
    pub fn read(self: &Arc<Self>, after: Option<Position>) -> Result<Reader> {
        let news = self.news.subscribe();
        if news.borrow().closed {
            return Err(Error::unavailable("the container is drained; there is nothing more to tell"));
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            Error::busy("too many readers of events; close one or try again").with("readers_max", EVENT_READERS_MAX)
        })?;
        let now = self.pages().next;
        let (next, stranger) = match after {
            None => (now, false),
            Some(after) if after.life != self.life => (1, true),
            Some(after) if after.seq < now => (after.seq + 1, false),
            Some(after) => {
                return Err(Error::invalid("no event has this id; leave Last-Event-ID out to read from now on")
                    .with("last-event-id", after));
            }
        };
        Ok(Reader { book: Arc::clone(self), news, next, stranger, _place: Some(place) })
    }

    /// How many read, and how many events readers have missed since the start.
    pub fn readers(&self) -> (usize, u64) {
        let free = self.places.available_permits();
        (EVENT_READERS_MAX.saturating_sub(free), self.missed.load(Ordering::Relaxed))
    }

    /// The container's own reader, from now on: it takes nobody's place.
    pub fn follow(self: &Arc<Self>) -> Reader {
        let (news, next) = (self.news.subscribe(), self.pages().next);
        Reader { book: Arc::clone(self), news, next, stranger: false, _place: None }
    }

    /// Ends every reader, once it has read what is there. Whatever happens later is not told any more.
    pub fn close(&self) {
        self.news.send_modify(|news| news.closed = true);
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// What happened since the last time; waits for something. `None` at the end. May be given up and
    /// called again.
    pub async fn next(&mut self) -> Option<Told> {
        loop {
            // Looked at first: what is recorded after this look wakes the wait below.
            let closed = self.news.borrow_and_update().closed;
            if let Some(told) = self.take() {
                return Some(told);
            }
            if closed || self.news.changed().await.is_err() {
                return None;
            }
        }
    }

    /// Behind what was told last.
    pub fn position(&self) -> Position {
        Position { life: self.book.life, seq: self.next.saturating_sub(1) }
    }

    /// The id of an event of this book.
    pub fn id(&self, event: &Event) -> Position {
        Position { life: self.book.life, seq: event.seq }
    }

    fn take(&mut self) -> Option<Told> {
        let pages = self.book.pages();
        let oldest = pages.events.front().map_or(pages.next, |event| event.seq);
        let lost = oldest.saturating_sub(self.next);
        if self.stranger || lost > 0 {
            self.book.missed.fetch_add(lost, Ordering::Relaxed);
            let told = Told::Gap((!self.stranger).then_some(lost));
            (self.next, self.stranger) = (self.next.max(oldest), false);
            return Some(told);
        }
        let from = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
        let events: Vec<_> = pages.events.iter().skip(from).take(EVENTS_AT_ONCE).cloned().collect();
        self.next = events.last().map_or(self.next, |event| event.seq + 1);
        (!events.is_empty()).then_some(Told::Events(events))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{}", self.life, self.seq)
    }
}

impl FromStr for Position {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (life, seq) = text.split_once('-').unwrap_or_default();
        let plain = life.len() == 16 && seq.len() <= 20 && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
        match (u64::from_str_radix(life, 16), seq.parse()) {
            (Ok(life), Ok(seq)) if plain => Ok(Position { life, seq }),
            _ => Err(Error::invalid("this is no id of an event; send back what an `id:` line said")
                .with("last-event-id", text.escape_default())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::error::Kind;
    use crate::model::Level;

    fn note(book: &EventBook, n: u64) {
        let address = format!("c/{n}").parse().unwrap();
        book.record(n, Happened::Conflict { address, why: String::new() });
    }

    /// What is there now; `None` when the reader would wait.
    fn now(reader: &mut Reader) -> Option<Option<Told>> {
        match pin!(reader.next()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(told) => Some(told),
            Poll::Pending => None,
        }
    }

    fn seqs(told: Option<Option<Told>>) -> Vec<u64> {
        match told {
            Some(Some(Told::Events(events))) => events.iter().map(|event| event.seq).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn readers_are_told_everything_in_order_and_wait_for_more() {
        let book = EventBook::keeping(1, 100);
        note(&book, 1);
        let mut reader = book.read(None).unwrap();
        assert_eq!(now(&mut reader), None, "what was before is not told");
        (2..5).for_each(|n| note(&book, n));
        assert_eq!(seqs(now(&mut reader)), [2, 3, 4]);
        assert_eq!(now(&mut reader), None);
        let mut resumed = book.read(Some(Position { life: 1, seq: 3 })).unwrap();
        assert_eq!(seqs(now(&mut resumed)), [4]);
        assert_eq!(resumed.position().to_string(), "0000000000000001-4");
    }

    #[test]
    fn what_happened_at_once_is_told_at_once_and_nothing_wakes_nobody() {
        let book = EventBook::keeping(1, 100);
        let mut reader = book.read(None).unwrap();
        book.record_all(1, []);
        assert!(!reader.news.has_changed().unwrap());
        let evict =
            |n: u64| Happened::Evict { address: format!("c/{n}").parse().unwrap(), level: Level::Ram, bytes: n };
        book.record_all(1, (1..4).map(evict));
        assert_eq!(seqs(now(&mut reader)), [1, 2, 3]);
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed_and_holds_nobody_up() {
        let book = EventBook::keeping(1, 4);
        let mut reader = book.read(None).unwrap();
        (1..=10).for_each(|n| note(&book, n));
        assert_eq!(now(&mut reader), Some(Some(Told::Gap(Some(6)))));
        assert_eq!(reader.position(), Position { life: 1, seq: 6 });
        assert_eq!(seqs(now(&mut reader)), [7, 8, 9, 10]);
        assert!(book.pages().events.len() <= 4);
    }

    #[test]
    fn a_reader_of_another_life_is_told_so_and_gets_what_is_there() {
        let book = EventBook::keeping(1, 4);
        let mut early = book.read(Some(Position { life: 2, seq: 7 })).unwrap();
        assert_eq!((now(&mut early), now(&mut early)), (Some(Some(Told::Gap(None))), None));
        note(&book, 1);
        let mut reader = book.read(Some(Position { life: 2, seq: 7 })).unwrap();
        assert_eq!(now(&mut reader), Some(Some(Told::Gap(None))));
        assert_eq!(seqs(now(&mut reader)), [1]);
        let ahead = book.read(Some(Position { life: 1, seq: 2 })).err().unwrap();
        assert_eq!(ahead.kind(), Kind::Invalid);
    }

    #[test]
    fn a_closed_book_is_read_to_its_end() {
        let book = EventBook::keeping(1, 4);
        let mut reader = book.read(None).unwrap();
        note(&book, 1);
        book.close();
        assert_eq!(seqs(now(&mut reader)), [1]);
        assert_eq!(now(&mut reader), Some(None));
        assert_eq!(book.read(None).err().unwrap().kind(), Kind::Unavailable);
    }

    #[test]
    fn there_are_only_so_many_readers() {
        let book = EventBook::keeping(1, 4);
        let mut readers: Vec<_> = (0..EVENT_READERS_MAX).map(|_| book.read(None).unwrap()).collect();
        assert_eq!(book.read(None).err().unwrap().kind(), Kind::Busy);
        readers.pop();
        assert!(book.read(None).is_ok());
    }

    #[test]
    fn ids_are_read_as_they_are_written() {
        let position = Position { life: 0xabc, seq: 12 };
        assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        for bad in
            ["", "1", "0000000000000abc", "0000000000000abc-", "abc-1", "0000000000000abc-+1", "000000000000+abc-1"]
        {
            assert!(bad.parse::<Position>().is_err(), "{bad}");
        }
        for kind in EventKind::ALL {
            assert_eq!(kind.name().parse::<EventKind>().unwrap(), kind);
        }
    }
}
