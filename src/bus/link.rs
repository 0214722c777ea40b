//! Links between buses of one process, as leaf links join the servers of sites: what somebody beyond listens to goes over,
//! in order and after the link's delay, unless the link is cut. Logs stay where they are.
//!
//! The buses and their links are a tree; each bus gives a message to one of a queue.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};

use super::local::{LocalBus, Shared};
use super::{Message, Subject};

/// Messages that may be on their way; more are lost.
const UNDER_WAY_MAX: usize = 4096;

/// A link between two buses, which is there until both are gone.
#[derive(Clone)]
pub struct Link {
    is_up: Arc<AtomicBool>,
    carried: Arc<[Count; KINDS.len()]>,
}

/// Messages, and their bytes.
#[derive(Default)]
struct Count(AtomicU64, AtomicU64);

/// What is counted apart of what goes over a link: by how subjects begin.
pub const KINDS: [&str; 6] = ["mesh.voice.", "mesh.news.", "mesh.ask.", "mesh.piece.", "_INBOX.", ""];

impl Link {
    /// Nothing goes over from now on, not even what is on its way.
    pub fn cut(&self) {
        self.is_up.store(false, Ordering::Release);
    }

    /// Messages of each of [`KINDS`] that have gone over both ways, and their bytes.
    pub fn carried(&self) -> [[u64; 2]; KINDS.len()] {
        self.carried
            .each_ref()
            .map(|Count(messages, bytes)| [messages, bytes].map(|count| count.load(Ordering::Relaxed)))
    }

    fn carries(&self, message: &Message) {
        let subject = message.subject.as_str();
        let of_kind = KINDS.iter().zip(&*self.carried).find(|(kind, _)| subject.starts_with(**kind));
        if let Some((_, Count(messages, bytes))) = of_kind {
            messages.fetch_add(1, Ordering::Relaxed);
            bytes.fetch_add((message.wire_bytes() + subject.len()) as u64, Ordering::Relaxed);
        }
    }

    /// What is said from now on goes over again.
    pub fn mend(&self) {
        self.is_up.store(true, Ordering::Release);
    }
}

/// One direction of a link, as the bus at its beginning knows it.
#[derive(Clone)]
pub(super) struct Way {
    link: Link,
    to: Weak<Shared>,
    under_way: mpsc::Sender<(Pin<Box<Sleep>>, Message)>,
    delay: Duration,
}

impl LocalBus {
    /// Links two buses, with this delay each way. Must be called inside a tokio runtime.
    pub fn link(&self, other: &LocalBus, delay: Duration) -> Link {
        let link = Link { is_up: Arc::new(AtomicBool::new(true)), carried: Arc::default() };
        self.add_way(other, &link, delay);
        other.add_way(self, &link, delay);
        link
    }

    fn add_way(&self, other: &LocalBus, link: &Link, delay: Duration) {
        let (under_way, mut arriving) = mpsc::channel::<(Pin<Box<Sleep>>, Message)>(UNDER_WAY_MAX);
        let (link, from, to) = (link.clone(), self.weak(), other.weak());
        let way = Way { link: link.clone(), to: Weak::clone(&to), under_way, delay };
        self.lead(way);
        tokio::spawn(async move {
            while let Some((due, message)) = arriving.recv().await {
                due.await;
                let Some(to) = LocalBus::of(&to) else { return };
                if link.is_up.load(Ordering::Acquire) {
                    link.carries(&message);
                    to.spread(&message, Some(&from));
                }
            }
        });
    }
}

impl Way {
    /// Whether it ends at this bus.
    pub(super) fn leads_to(&self, bus: &Weak<Shared>) -> bool {
        self.to.ptr_eq(bus)
    }

    /// Takes a message over, if somebody beyond listens to it.
    pub(super) fn take(&self, message: &Message, from: &Weak<Shared>) -> bool {
        let wanted = self.wants(&message.subject, from);
        // What does not fit is lost, as on any link.
        wanted && self.under_way.try_send((Box::pin(sleep(self.delay)), message.clone())).is_ok()
    }

    pub(super) fn wants(&self, subject: &Subject, from: &Weak<Shared>) -> bool {
        let is_up = self.link.is_up.load(Ordering::Acquire);
        is_up && LocalBus::of(&self.to).is_some_and(|bus| bus.wants(subject, from))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bus, Delivery, Subscription};
    use super::*;
    use crate::Kind;

    const DELAY: Duration = Duration::from_millis(20);

    fn message(subject: &str, body: &str) -> Message {
        Message::to(subject.parse().unwrap(), body.to_owned())
    }

    async fn next(subscription: &mut Subscription) -> Option<Message> {
        match tokio::time::timeout(10 * DELAY, subscription.next()).await {
            Ok(Some(Delivery::Message(message))) => Some(message),
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_is_listened_to_beyond_goes_over_in_order_until_the_link_is_cut() {
        let (edge, hub, fog) = (LocalBus::new(), LocalBus::new(), LocalBus::new());
        let (to_edge, _to_fog) = (edge.link(&hub, DELAY), fog.link(&hub, DELAY));
        let mut heard = fog.subscribe(&"news.*".parse().unwrap(), None).await.unwrap();
        let mut own = edge.subscribe(&"news.a".parse().unwrap(), None).await.unwrap();
        let began = tokio::time::Instant::now();
        for body in ["1", "2", "3"] {
            edge.publish(message("news.a", body)).await.unwrap();
            edge.publish(message("other", body)).await.unwrap();
        }
        for body in ["1", "2", "3"] {
            assert_eq!(next(&mut own).await, Some(message("news.a", body)));
            assert_eq!(next(&mut heard).await, Some(message("news.a", body)));
        }
        assert!(began.elapsed() >= 2 * DELAY);
        edge.publish(message("news.a", "on its way")).await.unwrap();
        to_edge.cut();
        edge.publish(message("news.a", "cut off")).await.unwrap();
        assert_eq!(next(&mut heard).await, None);
        to_edge.mend();
        edge.publish(message("news.a", "back")).await.unwrap();
        assert_eq!(next(&mut heard).await, Some(message("news.a", "back")));
        assert_eq!(to_edge.carried().map(|[messages, _]| messages), [0, 0, 0, 0, 0, 4]);
    }

    #[tokio::test]
    async fn requests_are_answered_beyond_by_who_was_asked() {
        let (edge, hub, fog) = (LocalBus::new(), LocalBus::new(), LocalBus::new());
        let (link, _other) = (edge.link(&hub, DELAY), fog.link(&hub, DELAY));
        let mut asked = edge.subscribe(&"ask".parse().unwrap(), Some("q")).await.unwrap();
        let answering = edge.clone();
        tokio::spawn(async move {
            while let Some(Delivery::Message(question)) = asked.next().await {
                let body = format!("to {}", String::from_utf8_lossy(&question.body));
                answering.publish(Message::to(question.reply.unwrap(), body)).await.unwrap();
            }
        });
        let ask = async |bus: &LocalBus, body: &str| bus.request(message("ask", body), 10 * DELAY).await;
        let (fogs, hubs) = tokio::join!(ask(&fog, "fog"), ask(&hub, "hub"));
        assert_eq!((&fogs.unwrap().body[..], &hubs.unwrap().body[..]), (&b"to fog"[..], &b"to hub"[..]));
        let nobody = fog.request(message("nobody", ""), DELAY).await.unwrap_err();
        assert_eq!(nobody.kind(), Kind::Unavailable);
        link.cut();
        assert_eq!(ask(&fog, "fog").await.unwrap_err().kind(), Kind::Unavailable);
    }
}
