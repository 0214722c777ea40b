//! Sending an object: its options as headers, its body whole or as a stream.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue};
use reqwest::{Body, Method, RequestBuilder, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::answer::{self, strange};
use super::object::as_text;
use super::options::{session_of, with_condition, with_peer, with_session};
use super::{Client, about, transport};
use crate::error::{Error, Result};
use crate::model::{Address, Condition, Digest, Durability, NfrOverride, Version};

/// How an object is to be kept; what is `None` comes from the collection's policy.
#[derive(Clone, Debug, Default)]
pub struct PushOptions {
    /// When to acknowledge.
    pub durability: Option<Durability>,
    /// How to seal, as in `Mesh-Nfr`.
    pub nfr: Option<String>,
    /// Kept and given back.
    pub content_type: Option<String>,
    /// Kept and given back; names in lower case.
    pub meta: BTreeMap<String, String>,
    /// Checked by the container before it acknowledges.
    pub content_digest: Option<Digest>,
    /// What must hold for it.
    pub condition: Condition,
    /// How long the object lives, in seconds; the collection's policy may say less.
    pub ttl_s: Option<u64>,
    /// What the caller has seen; the answer adds the push to it.
    pub session: Option<String>,
    /// What proves that a container of the site passes the push on.
    pub peer: Option<String>,
}

/// The acknowledgement of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pushed {
    /// The new version.
    #[serde(with = "as_text")]
    pub version: Version,
    /// The class reached.
    pub durability: String,
    /// Of the plain bytes, as the container received them.
    #[serde(with = "as_text")]
    pub digest: Digest,
    /// Plain bytes.
    pub size: u64,
    /// Whether the address held nothing before.
    pub created: bool,
    /// What the session has seen now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// What is pushed.
pub struct Upload {
    body: Body,
    size: Option<u64>,
    /// Tells how the stream ended; `None` for bytes, which cannot end badly.
    ended: Option<oneshot::Receiver<io::Result<()>>>,
}

impl Upload {
    /// Bytes that are in memory already.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Upload { body: Body::from(bytes.into()), size: None, ended: None }
    }

    /// A stream of bytes; when its size is known, a body of another length is an error.
    pub fn stream(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, size: Option<u64>) -> Self {
        let (sender, ended) = oneshot::channel();
        let watched =
            futures_util::stream::unfold((Box::pin(stream), Some(sender)), |(mut stream, mut sender)| async move {
                let piece = stream.next().await;
                let end = match &piece {
                    Some(Ok(_)) => None,
                    Some(Err(error)) => Some(Err(io::Error::new(error.kind(), error.to_string()))),
                    None => Some(Ok(())),
                };
                if let Some(end) = end
                    && let Some(sender) = sender.take()
                {
                    // Nobody listens any more when the container has answered before the end.
                    let _ = sender.send(end);
                }
                piece.map(|piece| (piece, (stream, sender)))
            });
        Upload { body: Body::wrap_stream(watched), size, ended: Some(ended) }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The JSON body of the answer.
#[derive(Deserialize)]
struct Stored {
    #[serde(with = "as_text")]
    version: Version,
    size: u64,
    #[serde(with = "as_text")]
    digest: Digest,
    durability: String,
}

pub(super) async fn push(client: &Client, address: &Address, body: Upload, options: &PushOptions) -> Result<Pushed> {
    let mut request = headers(client.request(Method::PUT, &transport::object_path(address))?, options)?;
    if let Some(size) = body.size {
        request = request.header(CONTENT_LENGTH, size);
    }
    let answer = deliver(client, request.body(body.body), body.ended).await.map_err(|error| about(error, address))?;
    let created = answer.status() == StatusCode::CREATED;
    let session = session_of(answer.headers());
    let bytes = answer::whole(answer).await?;
    acknowledged(&bytes, created, session, address)
}

/// What the body of an acknowledgement says.
pub(super) fn acknowledged(bytes: &[u8], created: bool, session: Option<String>, address: &Address) -> Result<Pushed> {
    let stored: Stored = serde_json::from_slice(bytes)
        .map_err(|error| about(strange("its acknowledgement cannot be read").because(error), address))?;
    Ok(Pushed {
        version: stored.version,
        durability: stored.durability,
        digest: stored.digest,
        size: stored.size,
        created,
        session,
    })
}

/// Sends the body, however long its source takes; the wait for the answer begins at its end.
async fn deliver(
    client: &Client,
    request: RequestBuilder,
    ended: Option<oneshot::Receiver<io::Result<()>>>,
) -> Result<reqwest::Response> {
    let Some(ended) = ended else { return client.send(request).await };
    let sending = request.send();
    tokio::pin!(sending);
    let mut failed = None;
    tokio::select! {
        // The end first: a source that failed is the reason why the sending then fails too.
        biased;
        end = ended => if let Ok(Err(error)) = end { failed = Some(error) },
        outcome = &mut sending => return client.answered(outcome).await,
    }
    if let Some(error) = failed {
        // Dropping the request breaks the connection, so the container discards what it has.
        return Err(Error::invalid("cannot read what is to be pushed").because(error));
    }
    match tokio::time::timeout(client.silence, sending).await {
        Ok(outcome) => client.answered(outcome).await,
        Err(_) => Err(client.silent()),
    }
}

pub(super) fn headers(request: RequestBuilder, options: &PushOptions) -> Result<RequestBuilder> {
    let mut request = with_condition(with_session(request, options.session.as_deref())?, &options.condition);
    request = with_peer(request, options.peer.as_deref())?;
    if let Some(seconds) = options.ttl_s {
        request = request.header("mesh-ttl-s", seconds);
    }
    if let Some(durability) = options.durability {
        request = request.header("mesh-durability", durability.name());
    }
    if let Some(nfr) = &options.nfr {
        // Read here too, so that a typing error is told before gigabytes are sent.
        nfr.parse::<NfrOverride>()?;
        request = request.header("mesh-nfr", value(nfr, "nfr")?);
    }
    if let Some(content_type) = &options.content_type {
        request = request.header(CONTENT_TYPE, value(content_type, "content_type")?);
    }
    if let Some(digest) = options.content_digest {
        request = request.header("content-digest", digest.to_string());
    }
    for (name, text) in &options.meta {
        let header = HeaderName::try_from(format!("mesh-meta-{name}")).map_err(|_| {
            Error::invalid("a metadata name holds letters, digits and hyphens").with("meta", name.escape_default())
        })?;
        request = request.header(header, value(text, "meta")?);
    }
    Ok(request)
}

fn value(text: &str, what: &'static str) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| Error::invalid("this cannot hold control characters").with(what, text.escape_default()))
}
