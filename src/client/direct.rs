//! Long answers over plain HTTP, read from the socket straight into the buffers of who wants them: a library that reads
//! into buffers of its own costs a copy of every byte, and the pages to hold it.
//!
//! It speaks as much HTTP as a container's door does: an answer that has a length. Whatever else answers is left to the
//! library.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use reqwest::header::{CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Request, StatusCode, Url};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::{Error, Kind, Result};
use crate::limits::CLIENT_CONNECT_TIMEOUT;

/// Connections of one client that wait for their next request.
const IDLE_MAX: usize = 8;

/// Read at once while the head is awaited; most heads are shorter.
const HEAD_BYTES: usize = 4 << 10;

/// The longest head of an answer, and the most headers in it.
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEADERS_MAX: usize = 256;

/// Connections that are open and idle.
#[derive(Clone, Debug, Default)]
pub(super) struct Idle(Arc<Mutex<Vec<TcpStream>>>);

/// An answer whose head has come.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    stream: TcpStream,
    /// What came with the head.
    rest: Bytes,
    left: u64,
    idle: Option<Idle>,
    silence: Duration,
}

impl Idle {
    /// Sends a request without a body. `None` when the answer is of a kind that only the library understands.
    pub(super) async fn send(&self, request: &Request, silence: Duration) -> Result<Option<Answer>> {
        let text = text_of(request);
        if let Some(stream) = self.take() {
            match self.ask(stream, &text, silence).await {
                Ok(answer) => return Ok(answer),
                // It may have been closed over there just now; whether anybody is there shows next.
                Err(error) if error.kind() == Kind::Unavailable => {
                    tracing::debug!(%error, "an idle connection is of no use any more");
                }
                Err(error) => return Err(error),
            }
        }
        let stream = timeout(CLIENT_CONNECT_TIMEOUT, connect(request.url())).await;
        self.ask(stream.map_err(|_| silent(CLIENT_CONNECT_TIMEOUT))??, &text, silence).await
    }

    /// One that is still open, and on which nothing has come that nobody asked for.
    fn take(&self) -> Option<TcpStream> {
        let pop = || self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        std::iter::from_fn(pop).find(|stream| {
            let read = stream.try_read(&mut [0]);
            read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        })
    }

    fn put(&self, stream: TcpStream) {
        let mut idle = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX {
            idle.push(stream);
        }
    }

    async fn ask(&self, mut stream: TcpStream, text: &[u8], silence: Duration) -> Result<Option<Answer>> {
        let asking = async {
            stream.write_all(text).await.map_err(broken)?;
            let mut came = BytesMut::new();
            loop {
                came.reserve(HEAD_BYTES);
                if stream.read_buf(&mut came).await.map_err(broken)? == 0 {
                    return Err(Error::unavailable("the container closed the connection instead of answering"));
                }
                match head(&came) {
                    Ok(Some(head)) => return Ok(Some((head, came))),
                    Ok(None) if came.len() < HEAD_BYTES_MAX => {}
                    _ => return Ok(None),
                }
            }
        };
        let Some((head, mut came)) = timeout(silence, asking).await.map_err(|_| silent(silence))?? else {
            return Ok(None);
        };
        let (length, status, headers) = head;
        came.advance(length);
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let left = text(CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let Some(left) = left.filter(|_| !status.is_informational()) else { return Ok(None) };
        if came.len() as u64 > left {
            return Ok(None);
        }
        let stays = !text(CONNECTION).is_some_and(|said| said.eq_ignore_ascii_case("close"));
        let idle = stays.then(|| self.clone());
        Ok(Some(Answer { status, headers, stream, rest: came.freeze(), left, idle, silence }))
    }
}

impl Answer {
    /// Bytes of the body that were not taken yet.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// Waits until some of them have come.
    pub(super) async fn wait(&mut self) -> Result<()> {
        if self.rest.is_empty() && self.left > 0 {
            let ready = timeout(self.silence, self.stream.readable()).await;
            ready.map_err(|_| silent(self.silence))?.map_err(broken)?;
        }
        Ok(())
    }

    /// Puts the next of them into a part, until it is full. With the last one the connection is free again.
    pub(super) async fn fill(&mut self, part: &mut [u8]) -> Result<()> {
        let long = || Error::internal("more is read than the answer holds");
        self.left = self.left.checked_sub(part.len() as u64).ok_or_else(long)?;
        let here = self.rest.len().min(part.len());
        let (now, mut part) = part.split_at_mut(here);
        now.copy_from_slice(&self.rest.split_to(here));
        while !part.is_empty() {
            let read = timeout(self.silence, self.stream.read(part)).await;
            match read.map_err(|_| silent(self.silence))?.map_err(broken)? {
                0 => return Err(Error::unavailable("the body ended before all of it arrived")),
                some => part = part.split_at_mut(some).1,
            }
        }
        Ok(())
    }

    /// The connection may be used again, if all of the body was taken.
    pub(super) fn end(self) {
        if let Some(idle) = self.idle.filter(|_| self.left == 0) {
            idle.put(self.stream);
        }
    }
}

async fn connect(url: &Url) -> Result<TcpStream> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let why = "no container answers where the other one says that its door is";
    let stream = TcpStream::connect((host, url.port_or_known_default().unwrap_or_default())).await;
    let stream = stream.map_err(|error| Error::unavailable(why).with("url", url.authority()).because(error))?;
    // A request is one write, which nothing is to hold back.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

fn text_of(request: &Request) -> Vec<u8> {
    let url = request.url();
    let query = url.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut text = format!("{} {}{query} HTTP/1.1\r\nhost: {}\r\n", request.method(), url.path(), url.authority());
    text.push_str(concat!("user-agent: meshstore/", env!("CARGO_PKG_VERSION"), "\r\n"));
    let mut text = text.into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

type Head = (usize, StatusCode, HeaderMap);

/// The head at the beginning of what came, with its length; `None` when more of it is to come.
fn head(came: &[u8]) -> Result<Option<Head>> {
    let strange = || Error::internal("what answers does not speak HTTP/1");
    let mut places = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut places);
    let length = match answer.parse(came).map_err(|_| strange())? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or_else(strange)?;
    let mut headers = HeaderMap::new();
    for header in answer.headers.iter() {
        let name = HeaderName::from_bytes(header.name.as_bytes()).map_err(|_| strange())?;
        headers.append(name, HeaderValue::from_bytes(header.value).map_err(|_| strange())?);
    }
    // Lengths that contradict each other are where two readers of one answer part.
    match headers.get_all(CONTENT_LENGTH).iter().count() {
        0 | 1 => Ok(Some((length, status, headers))),
        _ => Err(strange()),
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::unavailable("the connection to the container broke").because(error)
}

fn silent(after: Duration) -> Error {
    Error::deadline(format!("the container said nothing for {} s", after.as_secs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_piece_by_piece() {
        let text = b"HTTP/1.1 206 Partial Content\r\ncontent-length: 5\r\nMesh-Level: disk\r\n\r\nhello";
        let end = text.len() - 5;
        for length in 0..end {
            assert!(head(&text[..length]).unwrap().is_none(), "{length}");
        }
        let (length, status, headers) = head(text).unwrap().unwrap();
        assert_eq!((length, status.as_u16(), headers["mesh-level"].to_str().unwrap()), (end, 206, "disk"));
        assert!(head(b"SSH-2.0-OpenSSH\r\n\r\n").is_err());
        assert!(head(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n").is_err());
    }
}
