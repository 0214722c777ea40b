//! The bus over NATS: requests and events over its core, logs over JetStream.
//!
//! Of JetStream only three questions are asked (make a stream, publish with an acknowledgement, read a batch
//! directly), and they are messages like any other; so the client is built without its JetStream part.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{
    Client, ConnectOptions, Event, HeaderMap, HeaderName, HeaderValue, RequestErrorKind, ServerAddr, StatusCode,
};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::feed::{Feed, Subscription, feed};
use super::{Bus, Described, Headers, Log, Logged, Message, Pattern};
use crate::error::{Error, Result};

/// The oldest server that is taken: before it there is no batched direct read.
pub const SERVER_LEAST: (u64, u64, u64) = (2, 12, 0);

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Silence after which the server is asked whether it is there; two unanswered pings end a connection.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Between two tries to come back; the first one is soon, the others further and further apart.
const RECONNECT_MAX: Duration = Duration::from_secs(4);
/// How long a message may wait to be sent, as while there is no connection.
const SEND_MAX: Duration = Duration::from_secs(2);
/// How long JetStream may take to answer.
const LOG_MAX: Duration = Duration::from_secs(5);
/// Messages that the client holds for one subscription; it is emptied at once into our own queue, which counts
/// what it cannot take.
const CLIENT_QUEUE_MAX: usize = 16_384;
/// Messages that wait to be sent; whoever brings more waits with them.
const SENDING_MAX: usize = 64;
/// Within this time an entry's id is known to the log.
const DUPLICATES: Duration = Duration::from_secs(120);
/// How long a log keeps its entries: who was away for longer asks for everything.
const LOG_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Sealed bytes of a log on the server's disk, the oldest going first.
const LOG_BYTES_MAX: u64 = 1 << 30;
/// What the server answers when a stream of that name is there already, with other words.
const STREAM_NAME_IN_USE: u64 = 10_058;

/// A bus over one server, or a cluster of them; clones are the same connection.
#[derive(Clone)]
pub struct NatsBus {
    client: Client,
    link: Arc<Link>,
}

/// How the connection stands.
#[derive(Default)]
struct Link {
    name: String,
    drained: AtomicBool,
    disconnects: AtomicU64,
}

impl NatsBus {
    /// Connects to a server, or fails at once; afterwards it comes back by itself whenever the connection is lost.
    /// `who` is the name that the server shows for us.
    pub async fn connect(url: &str, who: &str) -> Result<Self> {
        let shown = without_credentials(url);
        let about = |error: Error| error.with("bus", &shown);
        let addr: ServerAddr = url.parse().map_err(|error| {
            about(Error::invalid("this is no URL of a NATS server; write nats://HOST:PORT").because(error))
        })?;
        let link = Arc::new(Link { name: shown.clone(), ..Link::default() });
        let watched = Arc::clone(&link);
        let options = ConnectOptions::new()
            .name(who)
            .connection_timeout(CONNECT_MAX)
            .ping_interval(PING_EVERY)
            .max_reconnects(None)
            .reconnect_delay_callback(|tries| {
                (Duration::from_millis(50) * (1 << tries.min(7)) as u32).min(RECONNECT_MAX)
            })
            .subscription_capacity(CLIENT_QUEUE_MAX)
            .client_capacity(SENDING_MAX)
            .event_callback(move |event| {
                watched.note(&event);
                std::future::ready(())
            });
        let client = timeout(CONNECT_MAX, options.connect(addr)).await;
        let client = client.map_err(|_| about(Error::deadline("the NATS server does not answer")))?;
        let client = client.map_err(|error| {
            about(
                Error::unavailable("cannot connect to the NATS server; start one there, or name another with --bus")
                    .because(error),
            )
        })?;
        let found = client.server_info().version;
        if version(&found).is_none_or(|version| version < SERVER_LEAST) {
            let (major, minor, patch) = SERVER_LEAST;
            let why = "this NATS server is too old; update it, or name another with --bus";
            return Err(about(
                Error::unavailable(why).with("found", found).with("wanted", format!("{major}.{minor}.{patch}")),
            ));
        }
        Ok(NatsBus { client, link })
    }

    async fn send(&self, message: Message) -> Result<()> {
        self.open()?;
        message.check(self.payload_max())?;
        let Message { subject, reply, headers, body } = message;
        let (to, headers) = (subject.as_str().to_owned(), to_theirs(&headers));
        let sending = async {
            match reply {
                Some(reply) => {
                    let reply = reply.as_str().to_owned();
                    self.client.publish_with_reply_and_headers(to, reply, headers, body).await
                }
                None => self.client.publish_with_headers(to, headers, body).await,
            }
        };
        let sent = timeout(SEND_MAX, sending).await;
        let sent = sent.map_err(|_| self.away().with("subject", &subject))?;
        sent.map_err(|error| Error::unavailable("the bus takes no message").with("subject", &subject).because(error))
    }

    /// Whether others than this host's users may reach the server, by what it says of itself.
    pub fn is_open_to_others(&self) -> bool {
        let info = self.client.server_info();
        let host = |place: &str| place.rsplit_once(':').map_or(place, |(host, _)| host).to_owned();
        let alone = |host: &str| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        };
        !alone(&info.host) || info.connect_urls.iter().any(|place| !alone(&host(place)))
    }

    /// An error once the bus was drained.
    fn open(&self) -> Result<()> {
        match self.link.drained.load(Ordering::Acquire) {
            true => Err(Error::unavailable("the bus was drained")),
            false => Ok(()),
        }
    }

    fn away(&self) -> Error {
        Error::unavailable("there is no connection to the NATS server").with("bus", &self.link.name)
    }

    /// Asks JetStream something; its refusals are errors.
    async fn ask(&self, subject: &str, question: Value) -> Result<Value> {
        let message = Message::to(subject.parse()?, question.to_string());
        let answer = self.request(message, LOG_MAX).await.map_err(|error| match error.kind() {
            crate::error::Kind::Unavailable => {
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
}

impl Link {
    fn note(&self, event: &Event) {
        let bus = self.name.as_str();
        match event {
            Event::Connected => {
                tracing::info!(bus, "connected to the NATS server");
            }
            Event::Disconnected => {
                self.disconnects.fetch_add(1, Ordering::AcqRel);
                tracing::warn!(bus, "the connection to the NATS server is lost; trying again");
            }
            Event::SlowConsumer(subscription) => {
                tracing::error!(bus, subscription, "messages were dropped before they could be read");
            }
            other => tracing::debug!(bus, event = %other, "the NATS client"),
        }
    }
}

impl Bus for NatsBus {
    fn publish(&self, message: Message) -> BoxFuture<'_, Result<()>> {
        self.send(message).boxed()
    }

    fn subscribe<'a>(&'a self, pattern: &Pattern, queue: Option<&str>) -> BoxFuture<'a, Result<Subscription>> {
        let (pattern, queue) = (pattern.as_str().to_owned(), queue.map(str::to_owned));
        Box::pin(async move {
            self.open()?;
            let subscribed = match queue {
                Some(queue) => self.client.queue_subscribe(pattern, queue).await,
                None => self.client.subscribe(pattern).await,
            };
            let cannot = |error| Error::unavailable("the bus takes no subscription").because(error);
            let subscriber = subscribed.map_err(cannot)?;
            // Whoever goes on from here may count on hearing what is published next.
            timeout(SEND_MAX, self.client.flush())
                .await
                .map_err(|_| self.away())?
                .map_err(|error| Error::unavailable("the bus takes no subscription").because(error))?;
            let (feed, subscription) = feed(());
            tokio::spawn(pump(subscriber, feed));
            Ok(subscription)
        })
    }

    fn request(&self, message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>> {
        Box::pin(async move {
            self.open()?;
            message.check(self.payload_max())?;
            let Message { subject, headers, body, .. } = message;
            let request = async_nats::Request::new().headers(to_theirs(&headers)).payload(body).timeout(Some(deadline));
            let answer = self.client.send_request(subject.as_str().to_owned(), request).await;
            let answer = answer.map_err(|error| {
                let error = match error.kind() {
                    RequestErrorKind::NoResponders => Error::unavailable("nobody listens to this subject"),
                    RequestErrorKind::TimedOut if self.client.connection_state() != State::Connected => self.away(),
                    RequestErrorKind::TimedOut => Error::deadline("the answer did not come in time"),
                    _ => Error::unavailable("the bus carries no request").because(error),
                };
                error.with("subject", &subject)
            })?;
            to_ours(answer)
        })
    }

    fn log<'a>(&'a self, name: &str, subjects: &Pattern) -> BoxFuture<'a, Result<Box<dyn Log>>> {
        let (name, subjects) = (name.to_owned(), subjects.as_str().to_owned());
        Box::pin(async move {
            let config = json!({
                "name": name, "subjects": [subjects], "retention": "limits", "storage": "file", "discard": "old",
                "allow_direct": true, "max_bytes": LOG_BYTES_MAX, "num_replicas": 1,
                "max_age": LOG_AGE.as_nanos() as u64, "duplicate_window": DUPLICATES.as_nanos() as u64,
            });
            match self.ask(&format!("$JS.API.STREAM.CREATE.{name}"), config).await {
                Ok(_) => {}
                // Made by another, perhaps with other limits: it is there, and who made it decides on those.
                Err(error) if error.context("code") == Some(&STREAM_NAME_IN_USE.to_string()) => {}
                Err(error) => return Err(error.with("log", &name)),
            }
            Ok(Box::new(NatsLog { bus: self.clone(), name }) as Box<dyn Log>)
        })
    }

    fn payload_max(&self) -> usize {
        self.client.max_payload()
    }

    fn describe(&self) -> Described {
        Described {
            name: self.link.name.clone(),
            version: Some(self.client.server_info().version),
            connected: self.client.connection_state() == State::Connected,
            disconnects: self.link.disconnects.load(Ordering::Acquire),
        }
    }

    fn drain(&self) -> BoxFuture<'_, Result<()>> {
        Box::pin(async move {
            let cannot = |error: String| Error::unavailable("the bus could not be drained").because(error);
            self.link.drained.store(true, Ordering::Release);
            // What was published is with the server before the connection goes.
            let flushed = timeout(SEND_MAX, self.client.flush()).await.map_err(|_| self.away())?;
            flushed.map_err(|error| cannot(error.to_string()))?;
            self.client.drain().await.map_err(|error| cannot(error.to_string()))
        })
    }
}

/// Empties the client's queue into the subscriber's, which counts what it cannot take.
async fn pump(mut subscriber: async_nats::Subscriber, feed: Feed) {
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = feed.closed() => return,
        };
        match message.map(to_ours) {
            None => return,
            Some(Ok(message)) => {
                if !feed.give(message) {
                    return;
                }
            }
            Some(Err(error)) => {
                tracing::warn!(%error, "a message cannot be read");
                feed.lost(1);
            }
        }
    }
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
            let answer = self.bus.ask(&format!("$JS.API.STREAM.INFO.{}", self.name), json!({})).await?;
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

fn to_theirs(headers: &Headers) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        // What neither takes was refused by the check of the message.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            out.append(name, value);
        }
    }
    out
}

fn to_ours(message: async_nats::Message) -> Result<Message> {
    let mut headers = Headers::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        headers.extend(values.iter().map(|value| (name.to_string(), value.to_string())));
    }
    let reply = message.reply.map(|reply| reply.as_str().parse()).transpose()?;
    Ok(Message { subject: message.subject.as_str().parse()?, reply, headers, body: message.payload })
}

fn version(text: &str) -> Option<(u64, u64, u64)> {
    let mut parts = text.split(['.', '-', '+']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)))
}

/// A URL as it may be shown: its user and password, or token, are left out.
fn without_credentials(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((_, host)) => format!("{scheme}://{host}"),
            None => url.to_owned(),
        },
        None => url.rsplit_once('@').map_or(url, |(_, host)| host).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert!(version("2.9.10").unwrap() < SERVER_LEAST);
        assert!(version("2.12.0-RC.1").unwrap() >= SERVER_LEAST && version("2.15.1").unwrap() >= SERVER_LEAST);
        assert_eq!(version("x"), None);
    }

    #[test]
    fn what_opens_a_server_is_not_shown() {
        assert_eq!(without_credentials("nats://u:p@h:4222"), "nats://h:4222");
        assert_eq!(without_credentials("nats://h"), "nats://h");
        assert_eq!(without_credentials("token@h:1"), "h:1");
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_told_at_once() {
        let error = NatsBus::connect("nats://u:planted@127.0.0.1:1", "test").await.err().unwrap();
        assert_eq!(error.kind(), crate::Kind::Unavailable);
        assert!(error.to_string().contains("nats://127.0.0.1:1") && !error.to_string().contains("planted"), "{error}");
    }
}
