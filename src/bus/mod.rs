//! How containers, sites and functions hear of each other: one trait, and a file for each bus.
//!
//! Subjects are words joined by dots. A subscription may hold `*` for one word and end in `>` for all
//! that follow, as NATS has it. This module carries bytes; what they mean is for its users to know.

mod local;
mod subject;

#[cfg(test)]
mod conformance;

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

pub use local::LocalBus;
pub use subject::{Pattern, Subject};

use crate::error::Result;

/// Messages that may wait for one subscriber; one that falls further behind is told of its loss.
pub const SUBSCRIBER_QUEUE_MAX: usize = 4096;

/// What a message carries beside its body.
pub type Headers = Vec<(String, String)>;

/// A message as it was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub subject: Subject,
    /// Names and values.
    pub headers: Headers,
    /// Its bytes.
    pub body: Bytes,
}

/// What a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// So many messages came while the queue was full, and are lost to this subscriber.
    Lost(u64),
}

/// Answers requests; called for one request at a time or for many at once.
pub type Responder = Box<dyn Fn(Message) -> BoxFuture<'static, Result<Message>> + Send + Sync>;

/// Where messages go. Implementations differ in reach, not in meaning.
pub trait Bus: Send + Sync {
    /// Tells everybody who subscribed; does not wait for them.
    fn publish(&self, message: Message) -> Result<()>;

    /// Receives what is published from now on; ends when dropped.
    fn subscribe(&self, pattern: &Pattern) -> Result<Subscription>;

    /// Answers requests to a subject; requests are shared among all who serve it. Ends when the
    /// guard is dropped.
    fn serve(&self, subject: &Subject, responder: Responder) -> Result<Serving>;

    /// Asks one of those who serve the subject.
    fn request(&self, message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>>;
}

/// A stream of messages.
pub struct Subscription {
    queue: mpsc::Receiver<Message>,
    lost: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

impl Subscription {
    /// The next message, or the news that some were lost; `None` when the bus is gone.
    pub async fn next(&mut self) -> Option<Delivery> {
        let lost = self.lost.swap(0, std::sync::atomic::Ordering::AcqRel);
        if lost > 0 {
            return Some(Delivery::Lost(lost));
        }
        self.queue.recv().await.map(Delivery::Message)
    }
}

/// Keeps a responder in service until it is dropped.
pub struct Serving {
    _end: Box<dyn std::any::Any + Send + Sync>,
}
