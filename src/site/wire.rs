//! What containers of a site say to each other, and how it is written: signed, and checked before it is believed.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::shared::Shared;
use crate::error::{Error, Kind, Result};
use crate::model::{Address, ContainerId, Dot, Entry, Holds, Incarnation, Manifest, Name, Version};
use crate::nfr::Keyring;
use crate::store::KnownPlace;

/// Bytes that a message may carry beside what is asked for.
pub(super) const SLACK_BYTES: usize = 1024;

/// Said every second by each container: that it lives, where it is reached, how full it is, what it knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Beat {
    pub container: ContainerId,
    pub incarnation: Incarnation,
    /// One more with each beat of an incarnation.
    pub nth: u64,
    /// When it was sent, by a clock of its sender's own.
    pub sent_ms: u64,
    pub name: String,
    /// Where its HTTP door is reached.
    pub url: String,
    /// Wall-clock milliseconds since 1970 at its start.
    pub started_ms: u64,
    /// Its program's version.
    pub program: String,
    /// Whether it is about to leave in order.
    pub leaving: bool,
    /// Whether it takes changes.
    pub takes_changes: bool,
    pub load: Load,
    /// How far the changes of every life of every container are there.
    pub vector: Vec<Dot>,
    /// The sum over all that every container holds alike.
    pub shared: u64,
    /// The greatest version that it has given or seen: clocks that meet go on from the later one.
    pub clock: Version,
}

/// How full a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Sealed bytes on its disk.
    pub disk_bytes: u64,
    /// How many it should hold at most.
    pub disk_budget: u64,
    /// Plain bytes in its memory.
    pub ram_bytes: u64,
    /// How many may be there.
    pub ram_budget: u64,
    /// Requests at work.
    pub requests: u64,
}

/// Changes of one life of a container, in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Batch {
    pub from: ContainerId,
    pub incarnation: Incarnation,
    /// Every change behind this one…
    pub after: u64,
    /// …up to this one is in here, or was replaced since.
    pub upto: u64,
    pub entries: Vec<Told>,
}

/// An entry and its address as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Told(pub String, pub Entry);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Question {
    /// What is known of an address; of this version, whether it is there.
    Latest(String, Option<Version>),
    /// The same for who decides at the address in this epoch.
    Decide(String, u64),
    /// What all hold alike, behind a key; or one record alone.
    Shared { after: Option<String>, only: Option<String> },
    /// What somebody lacks who has seen this much.
    Lacking { seen: Vec<Dot>, place: Place },
    /// What is there of an address.
    Holds(String),
    /// That it keeps from now on what this container keeps so far.
    TakeOver(String, ContainerId, Box<Manifest>),
}

/// How far the walk through what somebody lacks has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// In what memory alone holds, behind this address.
    Memory(Option<String>),
    /// In what the store knows.
    Store(KnownPlace),
}

impl Place {
    pub(super) fn first() -> Self {
        Place::Memory(None)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Reply {
    Latest(Option<Box<Entry>>),
    /// The epoch that is known there, and what is known of the address.
    Decide(u64, Option<Box<Entry>>),
    /// A page of it, and behind which key there is more.
    Shared(Vec<Shared>, Option<String>),
    Lacking(Page),
    /// Why there is no better answer.
    Refused(String),
    Holds(Holds),
}

/// A part of what somebody lacks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Page {
    pub entries: Vec<Told>,
    /// How far whoever takes in all pages from the first one on has come, as of this page.
    pub vector: Vec<Dot>,
    pub next: Option<Place>,
}

impl Told {
    pub(super) fn new(address: &Address, entry: Entry) -> Self {
        Told(address.as_str().to_owned(), entry)
    }

    /// The lesson in it, unless its address is none.
    pub(super) fn lesson(self) -> Option<(Address, Entry)> {
        Some((self.0.parse().ok()?, self.1))
    }
}

impl Beat {
    pub(super) fn name(&self) -> Result<Name> {
        self.name.parse()
    }
}

/// What is signed. The kind is signed with it, so that no message can be taken for one of another kind, or of another
/// program's idea of it: the number in it grows with each change of the form.
pub(super) trait Said {
    /// What it is called.
    const KIND: &'static str;
}

impl Said for Beat {
    const KIND: &'static str = "beat";
}

impl Said for Batch {
    const KIND: &'static str = "batch 2";
}

impl Said for Question {
    const KIND: &'static str = "question 2";
}

impl Said for Reply {
    const KIND: &'static str = "reply 3";
}

/// What a message is signed for.
pub(super) fn purpose<T: Said>(subject: &str) -> String {
    format!("{} {subject}", T::KIND)
}

/// A message for this subject.
pub(super) fn write<T: Serialize + Said>(ring: &Keyring, subject: &str, message: &T) -> Result<Vec<u8>> {
    ring.sign(&purpose::<T>(subject), &plain(message)?)
}

/// Bytes of a message before it is signed.
pub(super) fn plain<T: Serialize>(message: &T) -> Result<Vec<u8>> {
    postcard::to_stdvec(message).map_err(|error| Error::internal("a message cannot be written").because(error))
}

/// A message that [`plain`] wrote, once it is proven whose it is.
pub(super) fn from_plain<T: DeserializeOwned>(message: &[u8]) -> Result<T> {
    let strange = |error| {
        Error::new(Kind::Invalid, "another container says what this one does not understand; run one version")
            .because(error)
    };
    postcard::from_bytes(message).map_err(strange)
}

/// A message of another container.
pub(super) fn read<T: DeserializeOwned + Said>(ring: &Keyring, subject: &str, signed: &[u8]) -> Result<T> {
    from_plain(ring.verified(&purpose::<T>(subject), signed)?)
}
