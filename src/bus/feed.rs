//! The bounded queue before a subscriber. What does not fit is lost to it, and it is told: a slow subscriber must
//! hold up neither the others nor the bus.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::Message;

/// Messages that may wait for one subscriber; one that falls further behind is told of its loss.
pub(super) const SUBSCRIBER_QUEUE_MAX: usize = 4096;

/// Bytes that may wait for one subscriber. A single message is let in whatever its size.
pub(super) const SUBSCRIBER_BYTES_MAX: usize = 32 << 20;

/// What a subscriber receives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A message.
    Message(Message),
    /// So many messages came while the queue was full, and are lost to this subscriber.
    Lost(u64),
}

/// A stream of messages.
pub struct Subscription {
    queue: mpsc::Receiver<Message>,
    gauge: Gauge,
    /// Ends the subscription when dropped.
    _end: Box<dyn Any + Send>,
}

#[derive(Default)]
struct State {
    bytes: AtomicUsize,
    lost: AtomicU64,
    /// The same since the beginning, whether or not the subscriber was told yet.
    lost_ever: AtomicU64,
}

/// How full the queue before a subscriber is, for whoever watches. It keeps no queue alive.
#[derive(Clone)]
pub struct Gauge {
    queue: mpsc::WeakSender<Message>,
    state: Arc<State>,
}

impl Gauge {
    /// Messages that wait.
    pub fn waiting(&self) -> usize {
        self.queue.upgrade().map_or(0, |queue| queue.max_capacity() - queue.capacity())
    }

    /// The most that may wait.
    pub fn bound(&self) -> usize {
        SUBSCRIBER_QUEUE_MAX
    }

    /// Messages that found no place, since the beginning.
    pub fn lost(&self) -> u64 {
        self.state.lost_ever.load(Ordering::Relaxed)
    }
}

/// The bus's end of a subscription.
#[derive(Clone)]
pub(super) struct Feed {
    queue: mpsc::Sender<Message>,
    state: Arc<State>,
}

/// A queue; `end` is dropped with the subscriber's end of it.
pub(super) fn feed(end: impl Any + Send) -> (Feed, Subscription) {
    let (sender, queue) = mpsc::channel(SUBSCRIBER_QUEUE_MAX);
    let state = Arc::<State>::default();
    let gauge = Gauge { queue: sender.downgrade(), state: Arc::clone(&state) };
    let subscription = Subscription { queue, gauge, _end: Box::new(end) };
    (Feed { queue: sender, state }, subscription)
}

impl Feed {
    /// Hands a message over, or counts it as lost. Says whether the subscriber is still there.
    pub(super) fn give(&self, message: Message) -> bool {
        let bytes = message.wire_bytes();
        let waiting = self.state.bytes.fetch_add(bytes, Ordering::AcqRel);
        let given = match waiting > 0 && waiting + bytes > SUBSCRIBER_BYTES_MAX {
            true => Err(mpsc::error::TrySendError::Full(message)),
            false => self.queue.try_send(message),
        };
        match given {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.state.bytes.fetch_sub(bytes, Ordering::AcqRel);
                self.lost(1);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// So many messages were lost on their way here.
    pub(super) fn lost(&self, count: u64) {
        self.state.lost.fetch_add(count, Ordering::AcqRel);
        self.state.lost_ever.fetch_add(count, Ordering::Relaxed);
    }

    /// Waits until the subscriber is gone.
    pub(super) async fn closed(&self) {
        self.queue.closed().await;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }
}

impl Subscription {
    /// How full its queue is, from now on.
    pub fn gauge(&self) -> Gauge {
        self.gauge.clone()
    }

    /// Ends it: what is on its way is lost, what has come can still be taken.
    pub fn close(&mut self) {
        self.queue.close();
    }

    /// The next message, or the news that some were lost; `None` when the bus is gone.
    pub async fn next(&mut self) -> Option<Delivery> {
        let lost = self.gauge.state.lost.swap(0, Ordering::AcqRel);
        if lost > 0 {
            return Some(Delivery::Lost(lost));
        }
        let message = self.queue.recv().await?;
        self.gauge.state.bytes.fetch_sub(message.wire_bytes(), Ordering::AcqRel);
        Some(Delivery::Message(message))
    }
}
