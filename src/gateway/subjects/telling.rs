//! What happens in the container, told on `mesh.event.{site}.{kind}`: so whoever listens there hears of the whole site.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Desk, Until};
use crate::bus::{Headers, Message, Subject};
use crate::error::{Kind, Result};
use crate::gateway::events::Shown;
use crate::limits::EVENTS_AT_ONCE;
use crate::telemetry::events::{Event, Happened, Told};

/// Who tells; what has no such header is the outcome of a push that nobody waits for.
pub(in crate::gateway) const TELLER: &str = "Mesh-Container";

/// How long what happens next is gathered: the messages then leave together, and beside the answers, not before them.
const GATHER: Duration = Duration::from_millis(2);

/// Tells until it is stopped, or nothing happens any more.
pub(super) async fn tell(desk: Arc<Desk>, mut until: watch::Receiver<Until>) {
    let mut reader = desk.door.core.events().follow();
    loop {
        let told = tokio::select! {
            // First, so that nothing stays untold at the end.
            biased;
            told = reader.next() => told,
            changed = until.changed() => match changed.is_err() || *until.borrow() == Until::Stopped {
                true => return,
                false => continue,
            },
        };
        let (told, may_gather) = match told {
            None => return,
            Some(Told::Gap(lost)) => (desk.tell_gap(lost).await, false),
            Some(Told::Events(events)) => (desk.tell_all(&events).await, events.len() < EVENTS_AT_ONCE),
        };
        let (ends, failed) = (*until.borrow() == Until::Stopped, told.is_err());
        if let Err(error) = told {
            tracing::debug!(%error, "an event could not be told on the bus");
        }
        match ends {
            true if failed => return,
            false if may_gather => tokio::time::sleep(GATHER).await,
            _ => {}
        }
    }
}

impl Desk {
    async fn tell_gap(&self, lost: Option<u64>) -> Result<()> {
        let body = serde_json::json!({
            "kind": "gap", "lost": lost, "site": self.names.site, "container": self.names.container,
        });
        let subject = self.subject("gap")?;
        self.bus.publish(self.event(subject, Headers::new(), body.to_string())).await
    }

    /// Tells them, until the bus takes nothing: each further one would wait for it. Says why one could not be told.
    async fn tell_all(&self, events: &[Arc<Event>]) -> Result<()> {
        let mut told = Ok(());
        // Of each kind where it is told, if anybody may be listening there.
        let mut subjects = HashMap::new();
        for event in events {
            let kind = event.happened.kind().name();
            let subject = match subjects.entry(kind) {
                Entry::Occupied(known) => &*known.into_mut(),
                Entry::Vacant(place) => {
                    let subject = self.subject(kind)?;
                    &*place.insert(self.bus.may_be_heard(&subject).then_some(subject))
                }
            };
            if let Some(subject) = subject {
                match self.bus.publish(self.event_of(subject.clone(), event)).await {
                    Err(error) if error.kind() == Kind::Unavailable => return Err(error),
                    sent => told = sent.and(told),
                }
            }
        }
        told
    }

    fn subject(&self, kind: &str) -> Result<Subject> {
        format!("mesh.event.{}.{kind}", self.names.site).parse()
    }

    fn event_of(&self, subject: Subject, event: &Event) -> Message {
        let mut headers = Headers::new();
        let mut say = |name: &str, value: String| headers.push((name.to_owned(), value));
        // What somebody who pushed without waiting wants to know.
        if let Happened::Push { address, version, durability, created, .. } = &event.happened {
            say("Mesh-Status", if *created { "201" } else { "200" }.to_owned());
            say("Mesh-Address", address.as_str().escape_default().to_string());
            say("Mesh-Version", version.to_string());
            say("Mesh-Durability", durability.name().to_owned());
        }
        let by = Some((&self.names.site, &self.names.container));
        self.event(subject, headers, Shown { event, by }.json())
    }

    fn event(&self, subject: Subject, mut headers: Headers, body: String) -> Message {
        headers.push((TELLER.to_owned(), self.names.container.to_string()));
        Message { subject, reply: None, headers, body: body.into() }
    }
}
