//! What the actors write into the book of events: only what is true already, in the order of the commits.

use std::sync::Arc;

use crate::control::Collection;
use crate::error::{Error, Kind, Result};
use crate::model::{Address, Level, Manifest, Name};
use crate::telemetry::events::{CollectionChange, EventBook, Happened};
use crate::tiers::{Change, Job, Keeper, Outcome, Swept};

/// The book, and the clock that dates what is written.
#[derive(Clone)]
pub struct Teller {
    pub(super) book: Arc<EventBook>,
    pub(super) keeper: Arc<Keeper>,
}

/// What there will be to tell of a change, taken down before it is handed over.
pub(super) enum Telling {
    /// A change that somebody asked for.
    Asked(Address),
    /// A move inside the container: the object itself was told of before.
    Moved,
}

impl Teller {
    /// A teller of this keeper's changes.
    pub fn new(book: Arc<EventBook>, keeper: Arc<Keeper>) -> Self {
        Teller { book, keeper }
    }

    /// Something happened just now.
    pub(super) fn tell(&self, happened: Happened) {
        self.book.record(self.keeper.now_ms(), happened);
    }

    /// What became of a group of changes.
    pub(super) fn outcomes(&self, tellings: Vec<Telling>, outcomes: &[Result<Outcome>]) {
        let happened = tellings.into_iter().zip(outcomes).filter_map(|(telling, outcome)| match telling {
            Telling::Asked(address) => became(address, outcome),
            Telling::Moved => None,
        });
        self.book.record_all(self.keeper.now_ms(), happened);
    }

    /// A version was acknowledged.
    pub(super) fn pushed(&self, address: &Address, manifest: &Manifest, created: bool) {
        self.tell(Happened::push(address, manifest, created));
    }

    /// A change was refused; told only where its condition was the reason.
    pub(super) fn refused(&self, address: &Address, error: &Error) {
        if let Some(happened) = refused(address, error) {
            self.tell(happened);
        }
    }

    /// Copies left a level.
    pub(super) fn left(&self, level: Level, copies: impl IntoIterator<Item = (Address, u64)>) {
        let happened = copies.into_iter().map(|(address, bytes)| Happened::Evict { address, level, bytes });
        self.book.record_all(self.keeper.now_ms(), happened);
    }

    /// A collection is there now, made by this push or by one before it.
    pub(super) fn ensured(&self, (collection, created): (Arc<Collection>, bool)) -> Arc<Collection> {
        if created {
            self.collection(&collection.name, CollectionChange::Created, Some(collection.revision));
        }
        collection
    }

    /// A collection was changed.
    pub(super) fn collection(&self, name: &Name, change: CollectionChange, revision: Option<u64>) {
        self.tell(Happened::Collection { name: name.clone(), change, revision });
    }

    /// Objects ended by themselves.
    pub(super) fn swept(&self, swept: &Swept) {
        for (address, version) in &swept.lives {
            self.tell(Happened::Expire { address: address.clone(), version: *version });
        }
    }
}

fn became(address: Address, outcome: &Result<Outcome>) -> Option<Happened> {
    match outcome {
        Ok(Outcome::Stored { manifest, created }) => Some(Happened::push(&address, manifest, *created)),
        Ok(Outcome::Deleted(Some(stamp))) => Some(Happened::Delete { address, version: stamp.version }),
        Ok(Outcome::Deleted(None) | Outcome::Mended | Outcome::Superseded) => None,
        Err(error) => refused(&address, error),
    }
}

fn refused(address: &Address, error: &Error) -> Option<Happened> {
    matches!(error.kind(), Kind::AlreadyExists | Kind::PreconditionFailed)
        .then(|| Happened::Conflict { address: address.clone(), why: error.message().to_owned() })
}

impl Telling {
    pub(super) fn of(job: &Job) -> Self {
        match job.change {
            Change::Store { .. } | Change::Delete { .. } => Telling::Asked(job.address.clone()),
            Change::Adopt { .. } | Change::Mend { .. } | Change::TakeOver { .. } => Telling::Moved,
        }
    }
}
