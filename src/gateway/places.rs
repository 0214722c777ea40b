//! Who has a connection, and who gives its own up when the door is nearly full.
//!
//! A crowd of connections that ask for nothing, or whose heads and bodies dribble in, would otherwise keep
//! everybody else waiting until their timeouts. So while few places are left, those end that never asked for
//! anything, then those that rested the longest, then those whose bodies dribble in; pushes whose turn has not
//! come hear `busy`. Whoever is being served keeps its place.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::HttpResponse;
use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::Notify;

use crate::limits::{CROWD_HEAD_PATIENCE, CROWD_LOOK_PERIOD, CROWD_PATIENCE, DRIBBLE_BYTES_PER_S, SPARE_PLACES_PART};
use crate::telemetry::Telemetry;

/// Answers up to this size are as good as sent: the system takes them at once.
const SENT_BYTES_MAX: u64 = 64 << 10;

/// The door's places.
pub(super) struct Places {
    telemetry: Arc<Telemetry>,
    /// With more open connections than this, some are ended.
    crowded: usize,
    next: AtomicU64,
    seats: Mutex<HashMap<u64, Arc<Seat>>>,
}

/// Kept with a connection while it is open.
pub(super) struct OpenConnection {
    places: Arc<Places>,
    number: u64,
    seat: Arc<Seat>,
}

/// What is known of an open connection. Times are the telemetry's ticks, in nanoseconds.
pub(super) struct Seat {
    telemetry: Arc<Telemetry>,
    /// A second handle on the connection, to end it by; `None` when there were no more files to be had.
    socket: Option<TcpStream>,
    asked: AtomicBool,
    /// Requests that were begun and whose answers have not ended.
    serving: AtomicU32,
    /// When it was opened, began its request, or was last served.
    since: AtomicU64,
    phase: AtomicU8,
    /// When it began to wait for more of the body; 0 while it does not.
    waits_since: AtomicU64,
    waited: AtomicU64,
    received: AtomicU64,
    /// The push is told that it is crowded out.
    out: Notify,
}

/// The body of the request has not been asked for yet: it may still be refused.
const UNREAD: u8 = 1;
const READ: u8 = 2;
/// Refused: the body will not be read.
const REFUSED: u8 = 3;

impl Places {
    /// Places for so many connections, a part of which is kept free.
    pub(super) fn new(connections_max: usize, telemetry: Arc<Telemetry>) -> Arc<Self> {
        let crowded = connections_max - connections_max / SPARE_PLACES_PART;
        Arc::new(Places { telemetry, crowded, next: AtomicU64::new(0), seats: Mutex::default() })
    }

    /// Takes a place; one that others need may be ended for it.
    pub(super) fn take(self: &Arc<Self>, connection: &dyn Any) -> OpenConnection {
        let metrics = &self.telemetry.metrics;
        metrics.http_connections_opened.one(());
        metrics.http_connections.up(());
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let seat = Arc::new(Seat {
            telemetry: Arc::clone(&self.telemetry),
            socket: handle(connection),
            asked: AtomicBool::new(false),
            serving: AtomicU32::new(0),
            since: AtomicU64::new(self.telemetry.ticks_ns()),
            phase: AtomicU8::new(0),
            waits_since: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            received: AtomicU64::new(0),
            out: Notify::new(),
        });
        self.make_room();
        self.seats().insert(number, Arc::clone(&seat));
        OpenConnection { places: Arc::clone(self), number, seat }
    }

    /// Looks again and again whether there are too few free places, for as long as the door is there: who comes
    /// when there is none at all is not seen by [`Places::take`].
    pub(super) async fn watch(places: Weak<Self>) {
        loop {
            tokio::time::sleep(CROWD_LOOK_PERIOD).await;
            match places.upgrade() {
                Some(places) => places.make_room(),
                None => return,
            }
        }
    }

    /// Ends as many connections as there are too many, as far as there are some that may be ended.
    fn make_room(&self) {
        let mut seats = self.seats();
        let many = seats.len().saturating_sub(self.crowded);
        if many == 0 {
            return;
        }
        let now = self.telemetry.ticks_ns();
        let mut least: Vec<((u8, u64), u64)> =
            seats.iter().filter_map(|(number, seat)| Some((seat.rank(now)?, *number))).collect();
        least.sort_unstable();
        for (_, number) in least.into_iter().take(many) {
            if seats.get(&number).is_some_and(|seat| seat.leave()) {
                // It counts as gone, also while its worker takes note.
                seats.remove(&number);
            }
            self.telemetry.metrics.http_connections_crowded_out.one(());
        }
    }

    fn seats(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn handle(connection: &dyn Any) -> Option<TcpStream> {
    let stream = match connection.downcast_ref::<TlsStream<tokio::net::TcpStream>>() {
        Some(stream) => stream.get_ref().0,
        None => connection.downcast_ref::<tokio::net::TcpStream>()?,
    };
    stream.as_fd().try_clone_to_owned().ok().map(TcpStream::from)
}

impl OpenConnection {
    pub(super) fn seat(&self) -> &Arc<Seat> {
        &self.seat
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.places.seats().remove(&self.number);
        self.places.telemetry.metrics.http_connections.down(());
    }
}

impl Seat {
    /// Who leaves first: the least rank; nobody without one leaves.
    fn rank(&self, now: u64) -> Option<(u8, u64)> {
        let since = self.since.load(Ordering::Acquire);
        let patience = CROWD_PATIENCE.as_nanos() as u64;
        let passed = now.saturating_sub(since);
        if self.serving.load(Ordering::Acquire) == 0 {
            // Who has just been let in, or answered, is about to ask.
            return match self.asked.load(Ordering::Relaxed) {
                false => (passed >= CROWD_HEAD_PATIENCE.as_nanos() as u64).then_some((0, since)),
                true => (passed >= patience).then_some((1, since)),
            };
        }
        match self.phase.load(Ordering::Acquire) {
            READ if self.dribbles(now, patience) => Some((2, since)),
            UNREAD if passed >= patience => Some((3, since)),
            _ => None,
        }
    }

    /// Whether the body was waited for long, and little came.
    fn dribbles(&self, now: u64, patience: u64) -> bool {
        let waits = match self.waits_since.load(Ordering::Acquire) {
            0 => 0,
            since => now.saturating_sub(since),
        };
        let waited = self.waited.load(Ordering::Acquire).saturating_add(waits);
        let received = self.received.load(Ordering::Acquire);
        waited >= patience && received.saturating_mul(1_000_000_000) < waited.saturating_mul(DRIBBLE_BYTES_PER_S)
    }

    /// Ends the connection, or refuses the push that it waits with. Whether it is as good as gone.
    fn leave(&self) -> bool {
        let refused = self.phase.compare_exchange(UNREAD, REFUSED, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if refused && self.serving.load(Ordering::Acquire) > 0 {
            self.out.notify_waiters();
            return false;
        }
        // One that is closed already needs no end.
        self.socket.as_ref().is_some_and(|socket| socket.shutdown(Shutdown::Both).is_ok())
    }

    /// It was answered without a wait.
    pub(super) fn answered(&self, now: u64) {
        self.asked.store(true, Ordering::Relaxed);
        self.since.store(now, Ordering::Release);
    }

    /// Begins a request that takes a while; it ends with what is returned.
    pub(super) fn serve(self: &Arc<Self>, with_body: bool, now: u64) -> Serving {
        self.asked.store(true, Ordering::Relaxed);
        self.since.store(now, Ordering::Release);
        self.waits_since.store(0, Ordering::Release);
        self.waited.store(0, Ordering::Release);
        self.received.store(0, Ordering::Release);
        self.phase.store(if with_body { UNREAD } else { 0 }, Ordering::Release);
        self.serving.fetch_add(1, Ordering::AcqRel);
        Serving(Arc::clone(self))
    }
}

/// A request under way on a connection.
pub(super) struct Serving(Arc<Seat>);

impl Drop for Serving {
    fn drop(&mut self) {
        let seat = &self.0;
        seat.phase.store(0, Ordering::Release);
        seat.since.store(seat.telemetry.ticks_ns(), Ordering::Release);
        seat.serving.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Serving {
    /// Does the work unless it is refused for want of places before its body was asked for.
    pub(super) async fn unless_crowded<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.0.out.notified() => None,
        }
    }

    /// The body, with an eye on how fast it comes.
    pub(super) fn watched(&self, payload: Payload) -> Payload {
        let stream: Pin<Box<dyn Stream<Item = Result<Bytes, PayloadError>>>> =
            Box::pin(Watched { payload, seat: Arc::clone(&self.0) });
        Payload::from(stream)
    }

    /// Goes on until the answer was sent.
    pub(super) fn until_sent(self, response: HttpResponse) -> HttpResponse {
        match is_short(&response) {
            true => response,
            false => response.map_body(|_, body| BoxBody::new(Sending { body, _serving: self })),
        }
    }
}

/// Whether an answer is sent in no time.
pub(super) fn is_short(response: &HttpResponse) -> bool {
    !matches!(response.body().size(), BodySize::Sized(SENT_BYTES_MAX..) | BodySize::Stream)
}

struct Watched {
    payload: Payload,
    seat: Arc<Seat>,
}

impl Stream for Watched {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let me = &mut *self;
        let phase = me.seat.phase.compare_exchange(UNREAD, READ, Ordering::AcqRel, Ordering::Acquire);
        if phase == Err(REFUSED) {
            // Whoever refused it has woken the request.
            return Poll::Pending;
        }
        let polled = Pin::new(&mut me.payload).poll_next(context);
        let since = me.seat.waits_since.load(Ordering::Acquire);
        match &polled {
            Poll::Pending if since == 0 => {
                me.seat.waits_since.store(me.seat.telemetry.ticks_ns().max(1), Ordering::Release);
            }
            Poll::Pending => {}
            Poll::Ready(piece) => {
                if since > 0 {
                    let waited = me.seat.telemetry.since_ns(since);
                    me.seat.waited.fetch_add(waited, Ordering::AcqRel);
                    me.seat.waits_since.store(0, Ordering::Release);
                }
                if let Some(Ok(piece)) = piece {
                    me.seat.received.fetch_add(piece.len() as u64, Ordering::AcqRel);
                }
            }
        }
        polled
    }
}

struct Sending {
    body: BoxBody,
    _serving: Serving,
}

impl MessageBody for Sending {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
