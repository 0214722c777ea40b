//! `GET /v1/events?collection=&kind=&scope=`: what happens, as it happens (server-sent events). `docs/events.md`.
//!
//! A reader has a place in the container's book of events and is never waited for: if it is too slow it
//! is told of a gap. `Last-Event-ID` goes on where an earlier connection ended.

mod shown;
mod site;

use std::convert::Infallible;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodyStream, BoxBody};
use actix_web::dev::RequestHead;
use actix_web::http::ConnectionType;
use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

pub(in crate::gateway) use shown::Shown;

use crate::error::{Error, Result};
use crate::gateway::server::Shared;
use crate::gateway::{headers, path};
use crate::model::Name;
use crate::telemetry::events::{EventKind, Happened, Position, Reader, Told};

/// What a client that lost its connection waits before it comes back.
const RETRY_MS: u64 = 1000;

/// Answers with a stream that ends when the container is drained.
pub(in crate::gateway) async fn stream(door: &Shared, head: &RequestHead) -> Result<HttpResponse> {
    let (mut filter, mut whole_site) = (Filter::default(), false);
    path::query(head.uri.query(), |name, value| {
        match name {
            "collection" => filter.collection = Some(value.parse()?),
            "scope" if matches!(&*value, "site" | "container") => whole_site = value == "site",
            "scope" => return Err(Error::invalid("a scope is site or container").with("scope", value.escape_default())),
            "kind" => filter.kinds = Some(value.split(',').map(str::parse).collect::<Result<_>>()?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if whole_site {
        return site::stream(door, filter).await;
    }
    let after = headers::single(&head.headers, &headers::LAST_EVENT_ID)?;
    let reader = door.core.events().read(after.map(str::parse).transpose()?)?;
    let opening = format!("retry: {RETRY_MS}\nid: {}\n\n", reader.position());
    let watch = Watch { reader, filter, keep_alive: door.options.events_keep_alive, opening: Some(opening) };
    let pieces = stream::unfold(watch, |mut watch| async {
        let piece = watch.next().await?;
        Some((Ok::<_, Infallible>(piece), watch))
    });
    Ok(answer(BoxBody::new(BodyStream::new(Box::pin(pieces)))))
}

fn answer(body: BoxBody) -> HttpResponse {
    let mut response = HttpResponse::new(StatusCode::OK);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // The end of the stream is the end of the connection: one that idles on would hold up a stop.
    response.head_mut().set_connection_type(ConnectionType::Close);
    response.set_body(body)
}

/// What a reader wants to hear of.
#[derive(Default)]
struct Filter {
    collection: Option<Name>,
    kinds: Option<Vec<EventKind>>,
}

impl Filter {
    fn wants(&self, happened: &Happened) -> bool {
        self.takes(happened.kind().name(), happened.collection())
    }

    fn takes(&self, kind: &str, collection: &str) -> bool {
        self.collection.as_ref().is_none_or(|name| name.as_str() == collection)
            && self.kinds.as_ref().is_none_or(|kinds| kinds.iter().any(|wanted| wanted.name() == kind))
    }
}

/// One reader's stream.
struct Watch {
    reader: Reader,
    filter: Filter,
    keep_alive: Duration,
    /// Sent first: it tells the client where it is, also if nothing happens before it loses its connection.
    opening: Option<String>,
}

impl Watch {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(opening) = self.opening.take() {
            return Some(opening.into());
        }
        let quiet = tokio::time::sleep(self.keep_alive);
        tokio::pin!(quiet);
        loop {
            let told = tokio::select! {
                told = self.reader.next() => told?,
                // The id moves on with it, past what the filter kept back.
                () = &mut quiet => return Some(format!(": nothing new\nid: {}\n\n", self.reader.position()).into()),
            };
            let mut text = String::new();
            match told {
                Told::Gap(lost) => {
                    write(&mut text, self.reader.position(), "gap", &json!({ "lost": lost }).to_string());
                }
                Told::Events(events) => {
                    for event in events.iter().filter(|event| self.filter.wants(&event.happened)) {
                        let id = self.reader.id(event);
                        write(&mut text, id, event.happened.kind().name(), &Shown { event, by: None }.json());
                    }
                }
            }
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }
}

fn write(text: &mut String, id: Position, kind: &str, data: &str) {
    text.push_str(&format!("id: {id}\nevent: {kind}\ndata: {data}\n\n"));
}
