//! A log kept by JetStream, asked by plain messages.

use std::time::Duration;

use async_nats::StatusCode;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::NatsBus;
use super::wire::to_ours;
use crate::bus::log::{check_belongs, overtaken};
use crate::bus::{Log, Logged, Message, Pattern, Subject};
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
/// What it answers when the last entry of a subject is not at the expected place; the second one is what a cluster
/// answers while an entry that came before is still on its way.
const WRONG_LAST_SEQUENCE: [u64; 2] = [10_071, 10_164];
/// Names an entry, so that it is not added twice.
const ID: &str = "Nats-Msg-Id";
/// Where the last entry of this entry's subject must be.
const EXPECTED_LAST: &str = "Nats-Expected-Last-Subject-Sequence";

/// The log of this name, made if there is none.
pub(super) async fn open(bus: NatsBus, name: String, subjects: Pattern) -> Result<Box<dyn Log>> {
    let config = json!({
        "name": name, "subjects": [subjects.as_str()], "retention": "limits", "storage": "file", "discard": "old",
        "allow_direct": true, "max_bytes": LOG_BYTES_MAX, "num_replicas": 1,
        "max_age": LOG_AGE.as_nanos() as u64, "duplicate_window": DUPLICATES.as_nanos() as u64,
    });
    match ask(&bus, &format!("$JS.API.STREAM.CREATE.{name}"), config).await {
        Ok(_) => {}
        // Made by another, perhaps with other limits: it is there, and who made it decides on those.
        Err(error) if error.context("code") == Some(&STREAM_NAME_IN_USE.to_string()) => {}
        Err(error) => return Err(error.with("log", &name)),
    }
    Ok(Box::new(NatsLog { bus, name, subjects }) as Box<dyn Log>)
}

/// A log kept by JetStream.
struct NatsLog {
    bus: NatsBus,
    name: String,
    subjects: Pattern,
}

impl NatsLog {
    /// Publishes an entry under one of JetStream's own headers and returns its place.
    async fn add(&self, header: &str, value: String, mut entry: Message) -> Result<u64> {
        check_belongs(&self.subjects, &entry)?;
        let subject = entry.subject.clone();
        let about = |error: Error| error.with("log", &self.name).with("subject", &subject);
        entry.headers.push((header.to_owned(), value));
        let answer = match self.bus.ask(entry, LOG_MAX).await {
            Ok(Some(answer)) => granted(&answer.payload).map_err(about)?,
            Ok(None) => {
                self.info().await?;
                return Err(about(Error::unavailable("the log was made for other subjects")));
            }
            // Who subscribes to the entries hears them without JetStream as well: then nobody is there to answer, and
            // nobody to say so.
            Err(error) if error.kind() == Kind::Deadline => {
                self.info().await?;
                return Err(error.with("log", &self.name));
            }
            Err(error) => return Err(error.with("log", &self.name)),
        };
        // Whoever hears an entry could answer it.
        let ours = answer.get("stream").and_then(Value::as_str) == Some(&self.name);
        let place = answer.get("seq").and_then(Value::as_u64).filter(|_| ours);
        place.ok_or_else(|| about(Error::internal("what answers an entry is not the log")))
    }

    async fn info(&self) -> Result<Value> {
        let info = ask(&self.bus, &format!("$JS.API.STREAM.INFO.{}", self.name), json!({})).await;
        info.map_err(|error| error.with("log", &self.name))
    }
}

impl Log for NatsLog {
    fn append<'a>(&'a self, id: &str, entry: Message) -> BoxFuture<'a, Result<u64>> {
        self.add(ID, id.to_owned(), entry).boxed()
    }

    fn append_behind<'a>(&'a self, place: u64, entry: Message) -> BoxFuture<'a, Result<u64>> {
        self.add(EXPECTED_LAST, place.to_string(), entry).boxed()
    }

    fn last<'a>(&'a self, subject: &'a Subject) -> BoxFuture<'a, Result<Option<Logged>>> {
        Box::pin(async move {
            let question = json!({ "last_by_subj": subject.as_str() }).to_string();
            let question = Message::to(format!("$JS.API.DIRECT.GET.{}", self.name).parse()?, question);
            let Some(answer) = self.bus.ask(question, LOG_MAX).await? else {
                // Neither is a log that is gone one without entries.
                self.info().await?;
                return Err(Error::unavailable("the log cannot be read directly").with("log", &self.name));
            };
            match answer.status {
                None => logged(answer).map(Some),
                Some(StatusCode::NOT_FOUND) => Ok(None),
                Some(status) => {
                    let error = Error::unavailable("the log cannot be read").with("log", &self.name);
                    Err(error.with("subject", subject).with("status", status.as_u16()))
                }
            }
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
            let answer = self.info().await?;
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
    let missing = || Error::unavailable("the NATS server runs without JetStream; start it with -js");
    let answer = bus.ask(message, LOG_MAX).await?.ok_or_else(missing)?;
    granted(&answer.payload)
}

/// What JetStream answers, unless it refuses.
fn granted(answer: &[u8]) -> Result<Value> {
    let answer: Value = serde_json::from_slice(answer)
        .map_err(|error| Error::internal("JetStream's answer is not understood").because(error))?;
    let Some(error) = answer.get("error") else { return Ok(answer) };
    let text = error.get("description").and_then(Value::as_str).unwrap_or_default();
    let code = error.get("err_code").and_then(Value::as_u64).unwrap_or_default();
    let refused = match WRONG_LAST_SEQUENCE.contains(&code) {
        true => overtaken(),
        false => Error::unavailable("JetStream refuses"),
    };
    Err(refused.with("why", text.escape_default()).with("code", code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{Bus, Delivery};
    use crate::nats_server::NatsServer;

    fn entry(body: &str) -> Message {
        Message::to("mesh.log.edge.catalog".parse().unwrap(), body.to_owned())
    }

    async fn bus(server: &NatsServer) -> NatsBus {
        NatsBus::connect(server.url(), "log").await.unwrap()
    }

    fn log(bus: &NatsBus) -> NatsLog {
        let subjects = "mesh.log.edge.>".parse().unwrap();
        NatsLog { bus: bus.clone(), name: "MESH_LOG_EDGE".to_owned(), subjects }
    }

    async fn made(bus: &NatsBus) -> NatsLog {
        let log = log(bus);
        bus.log(&log.name, &log.subjects).await.unwrap();
        log
    }

    #[test]
    fn refusals_are_known_by_their_code() {
        let refused = |code: u64| {
            let answer = json!({ "error": { "code": 400, "err_code": code, "description": "wrong last sequence: 7" } });
            granted(answer.to_string().as_bytes()).unwrap_err()
        };
        assert_eq!(refused(10_071).kind(), Kind::PreconditionFailed);
        assert_eq!(refused(10_164).kind(), Kind::PreconditionFailed);
        assert_eq!(refused(10_077).kind(), Kind::Unavailable);
        assert_eq!(refused(10_077).context("code"), Some("10077"));
        assert_eq!(granted(b"+OK").unwrap_err().kind(), Kind::Internal);
        assert_eq!(granted(b"{\"seq\":7}").unwrap(), json!({ "seq": 7 }));
    }

    #[tokio::test]
    async fn what_the_log_refuses_is_told_with_its_code() {
        let server = NatsServer::start();
        let bus = bus(&server).await;
        let log = made(&bus).await;
        log.append("1", entry("small")).await.unwrap();
        let small = json!({ "name": log.name, "subjects": [log.subjects.as_str()], "max_msg_size": 100 });
        ask(&bus, &format!("$JS.API.STREAM.UPDATE.{}", log.name), small).await.unwrap();
        let error = log.append("2", entry(&"large".repeat(100))).await.unwrap_err();
        assert_eq!(error.context("code"), Some("10054"), "{error}");
        assert_eq!(error.context("log"), Some("MESH_LOG_EDGE"), "{error}");
        assert_eq!(log.bounds().await.unwrap(), Some((1, 1)));
    }

    #[tokio::test]
    async fn a_log_that_is_gone_is_told() {
        let server = NatsServer::start();
        let bus = bus(&server).await;
        let log = made(&bus).await;
        ask(&bus, &format!("$JS.API.STREAM.DELETE.{}", log.name), json!({})).await.unwrap();
        // Of a stream that is not there.
        let gone = |error: Error| assert_eq!(error.context("code"), Some("10059"), "{error}");
        gone(log.append("1", entry("")).await.unwrap_err());
        gone(log.append_behind(0, entry("")).await.unwrap_err());
        gone(log.last(&entry("").subject).await.unwrap_err());
    }

    #[tokio::test]
    async fn without_jetstream_entries_are_refused() {
        let server = NatsServer::without_jetstream();
        let bus = bus(&server).await;
        let log = log(&bus);
        let missing = |error: Error| {
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.message().contains("without JetStream"), "{error}");
        };
        missing(bus.log(&log.name, &log.subjects).await.err().unwrap());
        missing(log.append("1", entry("")).await.unwrap_err());
        missing(log.append_behind(0, entry("")).await.unwrap_err());
        missing(log.last(&entry("").subject).await.unwrap_err());
        // Somebody hears the entry, and it is kept nowhere.
        let _reader = bus.subscribe(&log.subjects, None).await.unwrap();
        missing(log.append("1", entry("")).await.unwrap_err());
    }

    #[tokio::test]
    async fn who_is_not_the_log_acknowledges_nothing() {
        let server = NatsServer::without_jetstream();
        let bus = bus(&server).await;
        let mut heard = bus.subscribe(&"mesh.log.edge.>".parse().unwrap(), None).await.unwrap();
        let answering = bus.clone();
        let forger = tokio::spawn(async move {
            let Some(Delivery::Message(entry)) = heard.next().await else { panic!("nothing is heard") };
            let answer = json!({ "stream": "OTHER", "seq": 7 }).to_string();
            answering.publish(Message::to(entry.reply.unwrap(), answer)).await.unwrap();
        });
        assert_eq!(log(&bus).append("1", entry("")).await.unwrap_err().kind(), Kind::Internal);
        forger.await.unwrap();
    }
}
