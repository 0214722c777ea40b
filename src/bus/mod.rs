//! How containers, sites and functions hear of each other: one trait, and a file for each bus.
//!
//! Subjects are words joined by dots. A subscription may hold `*` for one word and end in `>` for all
//! that follow, as NATS has it. This module carries bytes; what they mean is for its users to know.

mod feed;
mod link;
mod local;
mod log;
mod nats;
mod subject;

#[cfg(test)]
mod conformance;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;

pub use feed::{Delivery, Gauge, Subscription};
pub use link::{KINDS, Link};
pub use local::LocalBus;
pub use log::{Log, Logged};
pub use nats::NatsBus;
pub use subject::{Pattern, Subject};

use crate::error::{Error, Result};

/// What a message carries beside its body, in order; a name may come more than once.
pub type Headers = Vec<(String, String)>;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it is published.
    pub subject: Subject,
    /// Where an answer goes, if one is wanted.
    pub reply: Option<Subject>,
    /// Names and values.
    pub headers: Headers,
    /// Its bytes.
    pub body: Bytes,
}

impl Message {
    /// A message without headers that wants no answer.
    pub fn to(subject: Subject, body: impl Into<Bytes>) -> Self {
        Message { subject, reply: None, headers: Headers::new(), body: body.into() }
    }

    /// The first header of this name, whatever its case: names come from people.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Refuses what no bus carries: more than `most` bytes, headers that would not come out as they went in.
    fn check(&self, most: usize) -> Result<()> {
        let bytes = self.wire_bytes();
        if bytes > most {
            let error = Error::too_large("the message is larger than the bus carries");
            return Err(error.with("bytes", bytes).with("bytes_max", most).with("subject", &self.subject));
        }
        let name = |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        let value = |value: &str| !value.contains(char::is_control) && value.trim() == value;
        match self.headers.iter().find(|(n, v)| !name(n) || !value(v)) {
            None => Ok(()),
            Some((name, _)) => {
                let error = Error::invalid("a message's header holds what no header can");
                Err(error.with("header", name.escape_default()))
            }
        }
    }

    /// Bytes that it takes on the wire, a little over-estimated: what a server counts against its limit.
    pub fn wire_bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        headers + self.body.len() + 16
    }
}

/// Where messages go. Implementations differ in reach, not in meaning.
///
/// A message reaches who is there to hear it, at most once. What must arrive goes through a [`Log`].
pub trait Bus: Send + Sync + 'static {
    /// Tells everybody who subscribed; does not wait for them.
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>>;

    /// Whether anybody may be listening to a subject. Who is alone on a bus need not say what nobody hears.
    fn may_be_heard(&self, _subject: &Subject) -> bool {
        true
    }

    /// Receives what is published from now on. Subscriptions of one `queue` share the messages: each goes to one
    /// of them. Ends when dropped.
    fn subscribe<'a>(&'a self, pattern: &Pattern, queue: Option<&str>) -> BoxFuture<'a, Result<Subscription>>;

    /// Publishes with a reply subject of its own and waits for the first answer: `unavailable` when nobody
    /// listens, `deadline` when nobody answers in time.
    fn request(&self, message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>>;

    /// The log of this name, made with these subjects if there is none. What is published to one of them by
    /// [`Log::append`] is kept, and subscribers hear it as well.
    fn log<'a>(&'a self, name: &str, subjects: &Pattern) -> BoxFuture<'a, Result<Box<dyn Log>>>;

    /// The largest message it carries, in bytes of headers and body.
    fn payload_max(&self) -> usize;

    /// What it is and how it stands, for people.
    fn describe(&self) -> Described;

    /// Lets what was published arrive, ends every subscription, and takes nothing more.
    fn drain(&self) -> BoxFuture<'_, Result<()>>;
}

/// A bus, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// `local`, or the server's URL without what opens it.
    pub name: String,
    /// The server's version.
    pub version: Option<String>,
    /// Whether messages can be sent right now.
    pub connected: bool,
    /// Times that the connection was lost.
    pub disconnects: u64,
}

impl Described {
    /// Whether others than this process can be on it.
    pub fn is_shared(&self) -> bool {
        self.version.is_some()
    }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            None => f.write_str("in process"),
            Some(version) => write!(f, "{} (nats-server {version})", self.name),
        }
    }
}
