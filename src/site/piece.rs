//! Pieces of what a container keeps, over the bus: for who does not reach its HTTP door.
//!
//! They have a subject of their own, so that neither bulk waits behind questions nor questions behind bulk. Who reads
//! asks for each piece, and a window bounds those under way (`window.rs`); who answers holds a few of them at a time
//! and nothing between two of them.
//!
//! The bytes travel as they are, beside a signature in a header. It is for their length and, where the reader says so,
//! for their fingerprint; the reader makes the same message of what it has. An encrypted frame needs no fingerprint:
//! nobody without its data key makes bytes that open, so they are hashed neither here nor there.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::Site;
use super::route::Way;
use super::window::PIECES_MAX;
use super::wire::{self, Said};
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::limits::PIECE_BYTES_MAX;
use crate::model::{Address, Buffer, Version, from_hex, push_hex};
use crate::nfr::{Signature, fingerprint};

/// What a message carries beside the bytes.
const SLACK_BYTES: usize = 1024;

/// How long a piece may take. It is asked for twice.
const PIECE_MAX: Duration = Duration::from_secs(5);

/// How often it is asked for: a server that was lost may be back.
const TRIES: usize = 2;

/// Names the signature.
const SIGNATURE: &str = "Mesh-Signature";

/// What this container has, a piece at a time.
pub trait Pieces: Send + Sync {
    /// Sealed bytes of a version.
    fn sealed(&self, part: Part) -> BoxFuture<'_, Result<Bytes>>;

    /// Plain bytes of a version, checked.
    fn plain(&self, part: Part) -> BoxFuture<'_, Result<Bytes>>;
}

/// A part of a version that is wanted.
#[derive(Clone, Debug)]
pub struct Part {
    /// Of which object.
    pub address: Address,
    /// Of which version: no other one does.
    pub version: Version,
    /// Which bytes; never none.
    pub range: Range<u64>,
    /// How long it may take.
    pub deadline: Duration,
}

/// A version whose bytes are read.
#[derive(Clone)]
pub(super) struct Wanted {
    pub address: Address,
    pub version: Version,
    pub form: Form,
}

/// In which form, and what proves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Form {
    /// Sealed and encrypted.
    Encrypted,
    /// Sealed, and not encrypted: anybody could make such a frame.
    Sealed,
    Plain,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub address: String,
    version: Version,
    pub form: Form,
    start: u64,
    end: u64,
}

/// What is signed beside the bytes.
#[derive(Serialize)]
struct Given {
    bytes: u64,
    fingerprint: Option<[u8; 32]>,
}

/// Why there are none.
#[derive(Serialize, Deserialize)]
struct Refused {
    kind: String,
    why: String,
}

/// Gives pieces until the bus is gone.
pub(super) async fn give(site: Site, mut asked: Subscription) {
    let places = Arc::new(Semaphore::new(PIECES_MAX));
    while let Some(message) = site.next(&mut asked, "pieces").await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let site = site.clone();
        tokio::spawn(async move {
            if let Err(error) = site.give_one(message).await {
                tracing::debug!(%error, "a piece is not given");
            }
            drop(place);
        });
    }
}

impl Said for Ask {
    const KIND: &'static str = "ask for bytes";
}

impl Said for Refused {
    const KIND: &'static str = "refusal of bytes";
}

impl Site {
    async fn give_one(&self, message: Message) -> Result<()> {
        let ask: Ask = self.believe(message.subject.as_str(), &message.body)?;
        let Some(to) = message.reply else { return Ok(()) };
        let form = ask.form;
        let answer = match self.look_up(ask).await {
            Ok(bytes) => {
                let signature = self.ring().signature(to.as_str(), &given(form, &bytes)?)?;
                let mut text = Vec::with_capacity(2 * signature.len());
                push_hex(&mut text, &signature);
                let text = String::from_utf8_lossy(&text).into_owned();
                Message { headers: vec![(SIGNATURE.to_owned(), text)], ..Message::to(to, bytes) }
            }
            Err(error) => {
                let refused = Refused { kind: error.kind().to_string(), why: error.message().to_owned() };
                let body = wire::write(&self.ring(), to.as_str(), &refused)?;
                Message::to(to, body)
            }
        };
        self.0.parts.bus.publish(answer).await
    }

    /// The bytes that are asked for.
    pub(super) async fn look_up(&self, ask: Ask) -> Result<Bytes> {
        let Ask { address, version, form, start, end } = ask;
        let address: Address = address.parse()?;
        let bytes = end.checked_sub(start).filter(|bytes| *bytes > 0).ok_or_else(|| Error::invalid("no range"))?;
        if bytes > self.piece_bytes() {
            return Err(Error::too_large("a piece is to be smaller").with("bytes", bytes));
        }
        let part = Part { address, version, range: start..end, deadline: PIECE_MAX };
        let found = match form {
            Form::Plain => self.0.parts.pieces.plain(part).await?,
            Form::Encrypted | Form::Sealed => self.0.parts.pieces.sealed(part).await?,
        };
        match found.len() as u64 == bytes {
            true => Ok(found),
            false => Err(Error::corrupt("what is here is shorter than it should be")),
        }
    }

    fn piece_bytes(&self) -> u64 {
        PIECE_BYTES_MAX.min(self.0.parts.bus.payload_max().saturating_sub(SLACK_BYTES)).max(1) as u64
    }

    /// A range of a version's bytes, read piece by piece, in order.
    pub(super) fn pieces(
        &self,
        way: &Arc<Way>,
        wanted: &Wanted,
        range: Range<u64>,
    ) -> impl Stream<Item = Result<Bytes>> + Send + use<> {
        let (site, way, wanted) = (self.clone(), Arc::clone(way), wanted.clone());
        let (most, ahead) = (self.piece_bytes(), way.ahead);
        let asked = Arc::clone(&way);
        // Each as long as the window allows when its turn comes.
        let pieces = stream::unfold(range, move |left| {
            let next = cut(&left, asked.window.piece_bytes().min(most));
            std::future::ready(next.map(|piece| (piece.clone(), piece.end..left.end)))
        });
        // Each is a task: whoever takes them slowly gives its places in the window back all the same.
        let ask = move |piece| Task::start(piece_of(site.clone(), Arc::clone(&way), wanted.clone(), piece)).done();
        pieces.map(ask).buffered(ahead)
    }
}

/// Pieces of a range that are put together again, whatever their length.
pub(super) struct Gathering {
    stream: BoxStream<'static, Result<Bytes>>,
    /// What is left of the last one.
    rest: Bytes,
}

impl Gathering {
    pub(super) fn of(site: &Site, way: &Arc<Way>, wanted: &Wanted, range: Range<u64>) -> Self {
        Gathering { stream: site.pieces(way, wanted, range).boxed(), rest: Bytes::new() }
    }

    /// The next so many bytes.
    pub(super) async fn gather(&mut self, bytes: usize) -> Result<Buffer> {
        let mut part = Buffer::of(bytes);
        let mut missing = &mut *part;
        while !missing.is_empty() {
            if self.rest.is_empty() {
                let ended = || Error::internal("the pieces ended before the range");
                self.rest = self.stream.next().await.ok_or_else(ended)??;
            }
            let some = self.rest.split_to(missing.len().min(self.rest.len()));
            let (now, later) = missing.split_at_mut(some.len());
            now.copy_from_slice(&some);
            missing = later;
        }
        Ok(part)
    }
}

/// Work that goes on while nobody looks, and ends with who waits for it.
struct Task<T>(JoinHandle<Result<T>>);

impl<T: Send + 'static> Task<T> {
    fn start(work: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Task(tokio::spawn(work))
    }

    async fn done(mut self) -> Result<T> {
        (&mut self.0).await.map_err(|error| Error::internal("a piece was given up").because(error))?
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One piece, once there is a place for it in the window.
async fn piece_of(site: Site, way: Arc<Way>, wanted: Wanted, range: Range<u64>) -> Result<Bytes> {
    let ticks = || site.0.parts.telemetry.ticks_ns();
    let mut place = way.window.enter(range.end - range.start, ticks).await;
    way.window.spread(&mut place, ticks).await;
    let mut tries = 0;
    loop {
        let asked = ask(&site, &way, &wanted, &range).await;
        tries += 1;
        match asked {
            Err(error) if is_lost(&error) => {
                // Too much may have been under way for what the link carries now.
                way.window.lost(&place, ticks());
                if tries >= TRIES {
                    return Err(error);
                }
            }
            Ok(bytes) => {
                way.window.came(&place, ticks());
                return Ok(bytes);
            }
            Err(error) => return Err(error),
        }
    }
}

async fn ask(site: &Site, way: &Way, wanted: &Wanted, range: &Range<u64>) -> Result<Bytes> {
    let ring = site.ring();
    let Wanted { address, version, form } = wanted;
    let text = address.as_str().to_owned();
    let ask = Ask { address: text, version: *version, form: *form, start: range.start, end: range.end };
    let (subject, body) = match &way.site {
        Some(other) => site.far_piece(other, &way.name, ask)?,
        None => {
            let subject = site.piece_subject(&way.name);
            let body = wire::write(&ring, &subject, &ask)?;
            (subject, body)
        }
    };
    site.0.parts.telemetry.metrics.peer_pieces.one(());
    let answer = site.0.parts.bus.request(Message::to(subject.parse()?, body), PIECE_MAX).await.map_err(|error| {
        let why = "the container that keeps the object is reached neither over HTTP nor over the bus";
        Error::unavailable(why).with("container", &way.name).because(error)
    })?;
    let subject = answer.subject.as_str();
    if let Some(other) = &way.site {
        let bytes = site.far_bytes(other, *form, &answer)?;
        return match bytes.len() as u64 == range.end - range.start {
            true => Ok(bytes),
            false => Err(Error::corrupt("a piece has not the length that it should have")),
        };
    }
    let Some(signature) = answer.header(SIGNATURE) else {
        let Refused { kind, why } = site.believe(subject, &answer.body)?;
        return Err(Error::new(Kind::from_name(&kind).unwrap_or(Kind::Unavailable), why));
    };
    let signature: Signature = from_hex(signature).ok_or_else(|| Error::corrupt("a piece is signed strangely"))?;
    if answer.body.len() as u64 != range.end - range.start {
        return Err(Error::corrupt("a piece has not the length that it should have"));
    }
    ring.check_signature(subject, &given(*form, &answer.body)?, signature)
        .map_err(|error| Error::corrupt("a piece is not what the container that keeps it has signed").because(error))?;
    Ok(answer.body)
}

/// Whether the same may be had the same way a moment later.
fn is_lost(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Busy | Kind::Deadline)
}

/// What both sides say of bytes that were given.
fn given(form: Form, bytes: &Bytes) -> Result<Vec<u8>> {
    let fingerprint = (form != Form::Encrypted).then(|| fingerprint(bytes));
    wire::plain(&Given { bytes: bytes.len() as u64, fingerprint })
}

/// The first of the pieces of about the same length that a range is cut into, none longer than `most`.
fn cut(range: &Range<u64>, most: u64) -> Option<Range<u64>> {
    let bytes = range.end.saturating_sub(range.start);
    let step = bytes.div_ceil(bytes.div_ceil(most).max(1));
    (bytes > 0).then(|| range.start..range.start + step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_range_once() {
        for (start, end, most) in [(0, 1, 5), (3, 3, 5), (7, 1_048_640, 262_144), (0, 10, 5), (0, 11, 5), (0, 3, 1)] {
            let mut at = start;
            while let Some(piece) = cut(&(at..end), most) {
                assert!(piece.start == at && piece.end > at && piece.end - piece.start <= most, "{piece:?}");
                at = piece.end;
            }
            assert_eq!(at, end);
        }
        let mut left = 0..1_048_640;
        while let Some(piece) = cut(&left, PIECE_BYTES_MAX as u64) {
            assert_eq!(piece.end - piece.start, 262_160);
            left.start = piece.end;
        }
    }
}
