//! The bus over NATS: requests and events over its core, logs over JetStream.
//!
//! Of JetStream only a few questions are asked (make a stream or look at it, publish with an acknowledgement, read
//! directly), and they are messages like any other (`log.rs`); so the client is built without its JetStream part.

mod log;
mod wire;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectOptions, Event, RequestErrorKind, ServerAddr};
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::feed::{Feed, Subscription, feed};
use super::{Bus, Described, Log, Message, Pattern, Subject};
use crate::error::{Error, Result};
use wire::{to_ours, to_theirs};

/// The oldest server that is taken: before it there is no batched direct read.
const SERVER_LEAST: (u64, u64, u64) = (2, 12, 0);

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Silence after which the server is asked whether it is there; two unanswered pings end a connection.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Between two tries to come back; the first one is soon, the others further and further apart.
const RECONNECT_MAX: Duration = Duration::from_secs(4);
/// How long a message may wait to be sent, as while there is no connection.
const SEND_MAX: Duration = Duration::from_secs(2);
/// Messages that the client holds for one subscription; it is emptied at once into our own queue, which counts
/// what it cannot take.
const CLIENT_QUEUE_MAX: usize = 16_384;
/// Messages that wait to be sent; whoever brings more waits with them.
const SENDING_MAX: usize = 64;
/// How long the server may take to say that it has taken a subscription.
const CATCH_UP_MAX: Duration = Duration::from_secs(1);

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
        let options = opened_by(&addr)
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

    /// Asks, and gives the answer as the client has it, with its status; nothing where nobody listens.
    async fn ask(&self, message: Message, deadline: Duration) -> Result<Option<async_nats::Message>> {
        self.open()?;
        message.check(self.payload_max())?;
        let Message { subject, headers, body, .. } = message;
        let request = async_nats::Request::new().headers(to_theirs(&headers)).payload(body).timeout(Some(deadline));
        let failed = match self.client.send_request(subject.as_str().to_owned(), request).await {
            Ok(answer) => return Ok(Some(answer)),
            Err(error) => error,
        };
        let error = match failed.kind() {
            RequestErrorKind::NoResponders => return Ok(None),
            RequestErrorKind::TimedOut if self.client.connection_state() != State::Connected => self.away(),
            RequestErrorKind::TimedOut => Error::deadline("the answer did not come in time"),
            _ => Error::unavailable("the bus carries no request").because(failed),
        };
        Err(error.with("subject", &subject))
    }

    /// Waits until the server has taken what was sent: a flush tells only that it was sent.
    async fn caught_up(&self) {
        let Ok(nowhere) = self.client.new_inbox().parse() else { return };
        // It says that nobody listens there, and takes in order what one connection sends. One that keeps us from
        // asking takes it as well, a moment later.
        if let Err(error) = self.ask(Message::to(nowhere, ""), CATCH_UP_MAX).await {
            tracing::debug!(%error, "it is not known whether the server hears what was subscribed to");
        }
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
            self.caught_up().await;
            let (feed, subscription) = feed(());
            tokio::spawn(pump(self.client.clone(), subscriber, feed));
            Ok(subscription)
        })
    }

    fn request(&self, message: Message, deadline: Duration) -> BoxFuture<'_, Result<Message>> {
        Box::pin(async move {
            let subject = message.subject.clone();
            let nobody = || Error::unavailable("nobody listens to this subject").with("subject", &subject);
            to_ours(self.ask(message, deadline).await?.ok_or_else(nobody)?)
        })
    }

    fn log<'a>(&'a self, name: &str, subjects: &Pattern) -> BoxFuture<'a, Result<Box<dyn Log>>> {
        log::open(self.clone(), name.to_owned(), subjects.clone()).boxed()
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
async fn pump(client: Client, mut subscriber: async_nats::Subscriber, feed: Feed) {
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = feed.closed() => return,
        };
        let Some(message) = message else { return };
        let reply = message.reply.clone();
        match to_ours(message) {
            Ok(message) => {
                if !feed.give(message) {
                    return;
                }
            }
            Err(error) => refuse(&client, reply, &error).await,
        }
    }
}

/// Tells whoever sent what is no message, as one published to a pattern, why nobody answers it.
async fn refuse(client: &Client, reply: Option<async_nats::Subject>, error: &Error) {
    tracing::debug!(%error, "a message cannot be read");
    let Some(reply) = reply.filter(|reply| reply.as_str().parse::<Subject>().is_ok()) else { return };
    let told = error.to_string();
    let headers = [("Nats-Service-Error-Code", "400"), ("Nats-Service-Error", &told)];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let told = client.publish_with_headers(reply, to_theirs(&headers.to_vec()), bytes::Bytes::new());
    // Where it cannot be told, whoever asked waits until its own deadline, as for any answer that is lost.
    let _ = timeout(SEND_MAX, told).await;
}

/// The client reads what opens a server nowhere but in its options: what the URL says of it is put there.
fn opened_by(addr: &ServerAddr) -> ConnectOptions {
    let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    match (addr.username(), addr.password()) {
        (Some(user), Some(password)) => ConnectOptions::with_user_and_password(plain(user), plain(password)),
        (Some(token), None) => ConnectOptions::with_token(plain(token)),
        (None, _) => ConnectOptions::new(),
    }
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
