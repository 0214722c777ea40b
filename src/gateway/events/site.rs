//! `GET /v1/events?scope=site`: what happens at all containers of the site, as they tell it on the bus.

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodyStream, BoxBody};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use super::{Filter, answer};
use crate::bus::{Delivery, Message, Subscription};
use crate::error::{Error, Result};
use crate::gateway::server::Shared;
use crate::gateway::subjects::telling::TELLER;
use crate::telemetry::events::Reader;

/// One reader's stream; there is no place in it to go on from.
struct Listener {
    heard: Subscription,
    place: Reader,
    filter: Filter,
    keep_alive: Duration,
    opened: bool,
}

/// Answers with a stream that ends with the bus.
pub(super) async fn stream(door: &Shared, filter: Filter) -> Result<HttpResponse> {
    let joined = door.site.get();
    let (bus, site) =
        joined.ok_or_else(|| Error::unavailable("the container has not joined its site yet; try again"))?;
    // A place in this container's own book: there are as many as for its own events, and they end with it.
    let place = door.core.events().read(None)?;
    let heard = bus.subscribe(&format!("mesh.event.{site}.*").parse()?, None).await?;
    let listener = Listener { heard, place, filter, keep_alive: door.options.events_keep_alive, opened: false };
    let pieces = stream::unfold(listener, |mut listener| async {
        let piece = listener.next().await?;
        Some((Ok::<_, Infallible>(piece), listener))
    });
    Ok(answer(BoxBody::new(BodyStream::new(Box::pin(pieces)))))
}

impl Listener {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.opened, true) {
            return Some(Bytes::from_static(b": the events of the site\n\n"));
        }
        let quiet = tokio::time::sleep(self.keep_alive);
        tokio::pin!(quiet);
        loop {
            let delivery = tokio::select! {
                delivery = self.heard.next() => delivery?,
                told = self.place.next() => match told {
                    None => return None,
                    Some(_) => continue,
                },
                () = &mut quiet => return Some(Bytes::from_static(b": nothing new\n\n")),
            };
            let (kind, data) = match delivery {
                Delivery::Lost(lost) => ("gap".to_owned(), json!({ "lost": lost })),
                Delivery::Message(message) => match self.wanted(&message) {
                    Some(told) => told,
                    None => continue,
                },
            };
            return Some(format!("event: {kind}\ndata: {data}\n\n").into());
        }
    }

    /// The event that a message tells, if it tells one and this reader wants it. A gap is always told.
    fn wanted(&self, message: &Message) -> Option<(String, Value)> {
        message.header(TELLER)?;
        let event: Value = serde_json::from_slice(&message.body).ok()?;
        let text = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
        let kind = text("kind").to_owned();
        // It stands in a line of its own.
        if kind.is_empty() || !kind.bytes().all(|b| b.is_ascii_lowercase()) {
            return None;
        }
        (kind == "gap" || self.filter.takes(&kind, text("collection"))).then_some((kind, event))
    }
}
