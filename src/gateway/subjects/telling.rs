//! What happens in the container, told on `mesh.event.{site}.{kind}`: so whoever listens there hears of the whole site.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Desk, Until};
use crate::bus::{Headers, Message};
use crate::error::Result;
use crate::gateway::events::represent;
use crate::telemetry::events::{Event, Happened, Told};

/// Who tells; what has no such header is the outcome of a push that nobody waits for.
pub(in crate::gateway) const TELLER: &str = "Mesh-Container";

/// Tells until it is stopped, or nothing happens any more.
pub(super) async fn tell(desk: Arc<Desk>, mut until: watch::Receiver<Until>) {
    let mut reader = desk.door.core.events().follow();
    loop {
        let told = tokio::select! {
            told = reader.next() => told,
            changed = until.changed() => match changed.is_err() || *until.borrow() == Until::Stopped {
                true => return,
                false => continue,
            },
        };
        let messages = match told {
            None => return,
            Some(Told::Gap(lost)) => {
                let body = serde_json::json!({ "kind": "gap", "lost": lost });
                vec![desk.event("gap", Headers::new(), body)]
            }
            Some(Told::Events(events)) => events.iter().map(|event| desk.event_of(event)).collect(),
        };
        for message in messages {
            let sent = match message {
                Ok(message) => desk.bus.publish(message).await,
                Err(error) => Err(error),
            };
            if let Err(error) = sent {
                tracing::debug!(%error, "an event could not be told on the bus");
            }
        }
    }
}

impl Desk {
    fn event_of(&self, event: &Event) -> Result<Message> {
        let mut headers = Headers::new();
        let mut say = |name: &str, value: String| headers.push((name.to_owned(), value));
        // What somebody who pushed without waiting wants to know.
        if let Happened::Push { address, version, durability, created, .. } = &event.happened {
            say("Mesh-Status", if *created { "201" } else { "200" }.to_owned());
            say("Mesh-Address", address.as_str().escape_default().to_string());
            say("Mesh-Version", version.to_string());
            say("Mesh-Durability", durability.name().to_owned());
        }
        self.event(event.happened.kind().name(), headers, represent(event))
    }

    fn event(&self, kind: &str, mut headers: Headers, mut body: serde_json::Value) -> Result<Message> {
        headers.push((TELLER.to_owned(), self.names.container.to_string()));
        if let Some(body) = body.as_object_mut() {
            body.insert("site".to_owned(), self.names.site.to_string().into());
            body.insert("container".to_owned(), self.names.container.to_string().into());
        }
        let subject = format!("mesh.event.{}.{kind}", self.names.site).parse()?;
        Ok(Message { subject, reply: None, headers, body: body.to_string().into() })
    }
}
