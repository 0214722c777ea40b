//! The load generator: one thread, many connections, one request in flight on each. The same code drives
//! every server; what they speak is behind [`Talk`].
//!
//! It writes a request with one call where it can, reads into one buffer, checks status and length of each
//! answer, and throws the bytes away: on few cores whatever it does is taken from the server.

pub mod http;
pub mod nats;
pub mod redis;
mod sample;

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};

use crate::process::thread_cpu;
pub use sample::{Sample, quantile};

const READ_BYTES: usize = 256 << 10;

/// A server that says nothing for so long has lost a request.
const SILENCE: Duration = Duration::from_secs(60);

const SAID_BYTES_MAX: usize = 600;

/// What is said on a connection.
pub trait Talk {
    type Reader: Answer;

    /// A connection is new, also where there was one of this number before.
    fn connected(&mut self, _connection: usize) {}

    /// The next request, on this connection, which is free.
    fn request(&mut self, connection: usize) -> Request;

    /// What reads the answers of one connection.
    fn reader(&self) -> Self::Reader;

    /// Whether each request has a connection of its own.
    fn anew(&self) -> bool {
        false
    }
}

/// Reads one answer after the other.
pub trait Answer {
    /// Takes in bytes; says whether they end the answer.
    fn take(&mut self, bytes: &[u8]) -> Result<bool>;
}

/// A request in up to three pieces, so that a large body is shared and not copied.
#[derive(Clone, Default)]
pub struct Request {
    pub head: Bytes,
    pub body: Bytes,
    pub end: Bytes,
}

impl Request {
    pub fn of(head: impl Into<Bytes>) -> Self {
        Request { head: head.into(), ..Request::default() }
    }

    fn is_sent(&self) -> bool {
        self.head.is_empty() && self.body.is_empty() && self.end.is_empty()
    }

    fn sent(&mut self, mut bytes: usize) {
        for piece in [&mut self.head, &mut self.body, &mut self.end] {
            let part = bytes.min(piece.len());
            piece.advance(part);
            bytes -= part;
        }
    }
}

/// How many connections, and for how long.
#[derive(Clone, Copy)]
pub struct Pace {
    pub connections: usize,
    pub span: Duration,
    /// However long they take.
    pub requests_min: u64,
}

/// Drives a server at this pace.
pub fn drive<T: Talk>(addr: SocketAddr, talk: &mut T, pace: Pace) -> Result<Sample> {
    let mut driver = Driver::connect(addr, talk, pace)?;
    driver.run(talk).with_context(|| format!("the server at {addr}"))
}

struct Driver<R> {
    poll: Poll,
    connections: Vec<Connection<R>>,
    desk: Desk,
}

/// What all connections share.
struct Desk {
    addr: SocketAddr,
    registry: Registry,
    pace: Pace,
    buffer: Vec<u8>,
    start: Instant,
    started: u64,
    latencies: Vec<Duration>,
}

struct Connection<R> {
    token: Token,
    stream: TcpStream,
    reader: R,
    request: Request,
    since: Option<Instant>,
}

impl<R: Answer> Driver<R> {
    fn connect<T: Talk<Reader = R>>(addr: SocketAddr, talk: &mut T, pace: Pace) -> Result<Self> {
        let poll = Poll::new()?;
        let registry = poll.registry().try_clone()?;
        let desk = Desk {
            addr,
            registry,
            pace,
            buffer: vec![0; READ_BYTES],
            start: Instant::now(),
            started: 0,
            latencies: Vec::new(),
        };
        let connect = |token| {
            talk.connected(token);
            let (token, request) = (Token(token), Request::default());
            Ok(Connection { token, stream: desk.connect(token)?, reader: talk.reader(), request, since: None })
        };
        let connections: Result<Vec<_>> = (0..pace.connections).map(connect).collect();
        Ok(Driver { poll, connections: connections?, desk })
    }

    fn run<T: Talk>(&mut self, talk: &mut T) -> Result<Sample> {
        let cpu = thread_cpu();
        self.desk.start = Instant::now();
        for connection in &mut self.connections {
            connection.go(talk, &mut self.desk)?;
        }
        let mut events = Events::with_capacity(self.connections.len().max(16));
        while self.desk.latencies.len() < self.desk.started as usize {
            match self.poll.poll(&mut events, Some(SILENCE)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            ensure!(!events.is_empty(), "is silent");
            for event in &events {
                let connection = self.connections.get_mut(event.token().0).context("an event of nobody")?;
                connection.go(talk, &mut self.desk)?;
            }
        }
        let elapsed = self.desk.start.elapsed();
        let latencies = std::mem::take(&mut self.desk.latencies);
        let done = latencies.len() as u64;
        Ok(Sample { done, elapsed, latencies, driver_cpu: thread_cpu() - cpu, ..Sample::default() })
    }
}

impl Desk {
    fn connect(&self, token: Token) -> Result<TcpStream> {
        let addr = self.addr;
        // Connected before it is made non-blocking: the first request finds it open.
        let stream = std::net::TcpStream::connect(addr).with_context(|| format!("cannot connect to {addr}"))?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        self.registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    fn wants_more(&self) -> bool {
        self.started < self.pace.requests_min || self.start.elapsed() < self.pace.span
    }
}

impl<R: Answer> Connection<R> {
    /// Goes on as far as it can without waiting.
    fn go<T: Talk>(&mut self, talk: &mut T, desk: &mut Desk) -> Result<()> {
        loop {
            let since = match self.since {
                Some(since) => since,
                None if desk.wants_more() => self.begin(talk, desk),
                None => return Ok(()),
            };
            self.write()?;
            if !self.read(&mut desk.buffer)? {
                return Ok(());
            }
            ensure!(self.request.is_sent(), "answered before it was asked");
            desk.latencies.push(since.elapsed());
            self.since = None;
            if talk.anew() && desk.wants_more() {
                // Dropping the old one also ends its registration.
                self.stream = desk.connect(self.token)?;
                talk.connected(self.token.0);
            }
        }
    }

    fn begin<T: Talk>(&mut self, talk: &mut T, desk: &mut Desk) -> Instant {
        self.request = talk.request(self.token.0);
        desk.started += 1;
        *self.since.insert(Instant::now())
    }

    fn write(&mut self) -> Result<()> {
        while !self.request.is_sent() {
            let Request { head, body, end } = &self.request;
            match self.stream.write_vectored(&[IoSlice::new(head), IoSlice::new(body), IoSlice::new(end)]) {
                Ok(bytes) => self.request.sent(bytes),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("does not take a request"),
            }
        }
        Ok(())
    }

    /// Whether the answer is complete.
    fn read(&mut self, buffer: &mut [u8]) -> Result<bool> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => bail!("closed a connection"),
                Ok(bytes) => {
                    if self.reader.take(buffer.get(..bytes).unwrap_or_default())? {
                        return Ok(true);
                    }
                    // A short read has emptied the socket, and more will wake us.
                    if bytes < buffer.len() {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error).context("does not answer"),
            }
        }
    }
}

/// The beginning of an answer, for an error.
pub fn said(bytes: &[u8]) -> String {
    // On one line: it is part of a sentence.
    String::from_utf8_lossy(bytes.get(..SAID_BYTES_MAX).unwrap_or(bytes)).replace(['\r', '\n'], " ")
}
