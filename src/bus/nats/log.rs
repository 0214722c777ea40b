//! A log kept by JetStream, asked by plain messages.

use std::time::Duration;

use async_nats::StatusCode;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::NatsBus;
use super::wire::to_ours;
use crate::bus::{Bus, Log, Logged, Message};
use crate::error::{Error, Kind, Result};

/// How long JetStream may take to answer.
const LOG_MAX: Duration = Duration::from_secs(5);
/// Within this time an entry's id is known to the log.
const DUPLICATES: Duration = Duration::from_secs(120);
/// How long a log keeps its entries: who was away for longer asks for everything.
const LOG_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sealed bytes of a log on the server's disk, the oldest going first.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// What the server answers when a stream of that name is there already, with other words.
const STREAM_NAME_IN_USE: u64 = 10_058;

/// The log of this name, made if there is none.
pub(super) async fn open(bus: NatsBus, name: String, subjects: String) -> Result<Box<dyn Log>> {
    let config = json!({
        "name": name, "subjects": [subjects], "retention": "limits", "storage": "file", "discard": "old",
        "allow_direct": true, "max_bytes": LOG_BYTES_MAX, "num_replicas": 1,
        "max_age": LOG_AGE.as_nanos() as u64, "duplicate_window": DUPLICATES.as_nanos() as u64,
    });
    match ask(&bus, &format!("$JS.API.STREAM.CREATE.{name}"), config).await {
        Ok(_) => {}
        // Made by another, perhaps with other limits: it is there, and who made it decides on those.
        Err(error) if error.context("code") == Some(&STREAM_NAME_IN_USE.to_string()) => {}
        Err(error) => return Err(error.with("log", &name)),
    }
    Ok(Box::new(NatsLog { bus, name }) as Box<dyn Log>)
}

/// A log kept by JetStream.
struct NatsLog {
    bus: NatsBus,
    name: String,
}

impl Log for NatsLog {
    fn append<'a>(&'a self, id: &str, mut entry: Message) -> BoxFuture<'a, Result<u64>> {
        entry.headers.push(("Nats-Msg-Id".to_owned(), id.to_owned()));
        Box::pin(async move {
            let answer = self.bus.request(entry, LOG_MAX).await?;
            let answer: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let place = answer.get("seq").and_then(Value::as_u64);
            place.ok_or_else(|| Error::unavailable("the log does not acknowledge the entry").with("log", &self.name))
        })
    }

    fn read(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Logged>>> {
        Box::pin(async move {
            let client = &self.bus.client;
            let lost = |why: String| Error::unavailable("the log cannot be read").with("log", &self.name).because(why);
            let inbox = client.new_inbox();
            let mut answers = client.subscribe(inbox.clone()).await.map_err(|error| lost(error.to_string()))?;
            let question = json!({ "seq": after + 1, "batch": limit, "next_by_subj": ">" }).to_string();
            let subject = format!("$JS.API.DIRECT.GET.{}", self.name);
            let asked = client.publish_with_reply(subject, inbox, question.into()).await;
            asked.map_err(|error| lost(error.to_string()))?;
            let mut page = Vec::new();
            loop {
                let answer = timeout(LOG_MAX, answers.next()).await.map_err(|_| lost("no answer".to_owned()))?;
                let answer = answer.ok_or_else(|| lost("the connection ended".to_owned()))?;
                match answer.status {
                    None => page.push(logged(answer)?),
                    // The end of the batch, or nothing there.
                    Some(status) if status.as_u16() == 204 || status == StatusCode::NOT_FOUND => return Ok(page),
                    Some(status) => return Err(lost(format!("status {}", status.as_u16()))),
                }
            }
        })
    }

    fn bounds(&self) -> BoxFuture<'_, Result<Option<(u64, u64)>>> {
        Box::pin(async move {
            let answer = ask(&self.bus, &format!("$JS.API.STREAM.INFO.{}", self.name), json!({})).await?;
            let number = |name| answer.pointer(name).and_then(Value::as_u64).unwrap_or_default();
            let (first, last) = (number("/state/first_seq"), number("/state/last_seq"));
            Ok((number("/state/messages") > 0).then_some((first, last)))
        })
    }
}

/// An entry as a direct read gives it: where it was published stands in its headers.
fn logged(answer: async_nats::Message) -> Result<Logged> {
    let mut message = to_ours(answer)?;
    let bad = || Error::internal("an entry of the log is not understood");
    let place = message.header("Nats-Sequence").and_then(|place| place.parse().ok()).ok_or_else(bad)?;
    message.subject = message.header("Nats-Subject").ok_or_else(bad)?.parse()?;
    message.headers.retain(|(name, _)| !name.starts_with("Nats-"));
    message.reply = None;
    Ok(Logged { place, message })
}

/// Asks JetStream something; its refusals are errors.
async fn ask(bus: &NatsBus, subject: &str, question: Value) -> Result<Value> {
    let message = Message::to(subject.parse()?, question.to_string());
    let answer = bus.request(message, LOG_MAX).await.map_err(|error| match error.kind() {
        Kind::Unavailable => {
            Error::unavailable("the NATS server runs without JetStream; start it with -js").because(error)
        }
        _ => error,
    })?;
    let answer: Value = serde_json::from_slice(&answer.body)
        .map_err(|error| Error::internal("JetStream's answer is not understood").because(error))?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => {
            let text = error.get("description").and_then(Value::as_str).unwrap_or_default();
            let code = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
            Err(Error::unavailable("JetStream refuses").with("why", text.escape_default()).with("code", code))
        }
    }
}
