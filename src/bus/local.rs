//! The bus inside one process: a container alone is a whole site, without any server.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::{Bus, Message, Pattern, Responder, SUBSCRIBER_QUEUE_MAX, Serving, Subject, Subscription};
use crate::error::{Error, Result};

/// A bus in process; clones are the same bus.
#[derive(Clone, Default)]
pub struct LocalBus {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    subscribers: Vec<Subscriber>,
    services: BTreeMap<Subject, Service>,
    next: u64,
}

struct Subscriber {
    pattern: Pattern,
    queue: mpsc::Sender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Default)]
struct Service {
    responders: Vec<(u64, Arc<Responder>)>,
    /// Whose turn it is.
    turn: usize,
}

/// Ends a responder's service.
struct End {
    bus: LocalBus,
    subject: Subject,
    id: u64,
}

impl LocalBus {
    /// A bus with nobody on it.
    pub fn new() -> Self {
        LocalBus::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Bus for LocalBus {
    fn publish(&self, message: Message) -> Result<()> {
        self.state().subscribers.retain(|subscriber| {
            if !subscriber.pattern.matches(&message.subject) {
                return !subscriber.queue.is_closed();
            }
            match subscriber.queue.try_send(message.clone()) {
                Ok(()) => true,
                Err(mpsc::error::TrySendError::Full(_)) => {
                    subscriber.lost.fetch_add(1, Ordering::AcqRel);
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
            }
        });
        Ok(())
    }

    fn subscribe(&self, pattern: &Pattern) -> Result<Subscription> {
        let (queue, receiver) = mpsc::channel(SUBSCRIBER_QUEUE_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let subscriber = Subscriber { pattern: pattern.clone(), queue, lost: Arc::clone(&lost) };
        self.state().subscribers.push(subscriber);
        Ok(Subscription { queue: receiver, lost })
    }

    fn serve(&self, subject: &Subject, responder: Responder) -> Result<Serving> {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.services.entry(subject.clone()).or_default().responders.push((id, Arc::new(responder)));
        drop(state);
        Ok(Serving { _end: Box::new(End { bus: self.clone(), subject: subject.clone(), id }) })
    }

    fn request(&self, message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>> {
        Box::pin(async move {
            let responder = self.state().services.get_mut(&message.subject).and_then(Service::next);
            let subject = message.subject.clone();
            let nobody = || Error::unavailable("nobody serves this subject").with("subject", &subject);
            let answer = (responder.ok_or_else(nobody)?)(message);
            let late = || Error::deadline("the answer did not come in time").with("subject", &subject);
            tokio::time::timeout(deadline, answer).await.map_err(|_| late())?
        })
    }
}

impl Service {
    /// Whoever serves takes turns.
    fn next(&mut self) -> Option<Arc<Responder>> {
        self.turn = self.turn.wrapping_add(1);
        let at = self.turn.checked_rem(self.responders.len())?;
        self.responders.get(at).map(|(_, responder)| Arc::clone(responder))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.bus.state();
        if let Some(service) = state.services.get_mut(&self.subject) {
            service.responders.retain(|(id, _)| *id != self.id);
        }
    }
}
