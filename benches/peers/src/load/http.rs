//! HTTP/1.1 as far as the load generator speaks it.

use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::{Answer, Request, Talk, said};

const HEADERS_MAX: usize = 32;

/// The same request again and again.
pub struct Same {
    pub request: Request,
    pub wanted: Wanted,
}

/// Requests that a function makes, each another one.
pub struct Each<F> {
    pub next: F,
    pub wanted: Wanted,
    /// Each on a connection of its own.
    pub anew: bool,
}

impl<F: FnMut() -> Request> Each<F> {
    pub fn new(next: F) -> Self {
        Each { next, wanted: Wanted::default(), anew: false }
    }
}

/// What every answer must be.
#[derive(Clone, Default)]
pub struct Wanted {
    /// Length of the body, where it is known.
    pub bytes: Option<u64>,
    /// Keep the bodies and check them.
    pub check: Option<Check>,
}

pub type Check = Rc<dyn Fn(&[u8]) -> Result<()>>;

impl Talk for Same {
    type Reader = Reader;

    fn request(&mut self, _: usize) -> Request {
        self.request.clone()
    }

    fn reader(&self) -> Reader {
        Reader::new(self.wanted.clone())
    }
}

impl<F: FnMut() -> Request> Talk for Each<F> {
    type Reader = Reader;

    fn anew(&self) -> bool {
        self.anew
    }

    fn request(&mut self, _: usize) -> Request {
        (self.next)()
    }

    fn reader(&self) -> Reader {
        Reader::new(self.wanted.clone())
    }
}

pub fn get(path: &str) -> Request {
    Request::of(format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"))
}

/// A PUT with further header lines, each of which ends with CRLF.
pub fn put(path: &str, lines: &str, body: Bytes) -> Request {
    with_body("PUT", path, lines, body)
}

pub fn post(path: &str, lines: &str, body: Bytes) -> Request {
    with_body("POST", path, lines, body)
}

fn with_body(method: &str, path: &str, lines: &str, body: Bytes) -> Request {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{lines}\r\n");
    Request { body, ..Request::of(head) }
}

/// Reads answers and checks that they are good.
pub struct Reader {
    wanted: Wanted,
    /// A head of which more is to come.
    head: Vec<u8>,
    at: At,
    length: u64,
    kept: Vec<u8>,
}

/// Where in an answer we are.
#[derive(Clone, Copy)]
enum At {
    Head,
    Body {
        left: u64,
    },
    /// In the line that tells the size of a chunk.
    Size {
        value: u64,
        extension: bool,
    },
    Chunk {
        left: u64,
    },
    /// In the line end behind a chunk.
    ChunkEnd {
        left: u8,
    },
    /// In the line end behind the last chunk.
    Last {
        left: u8,
    },
}

impl Reader {
    fn new(wanted: Wanted) -> Self {
        Reader { wanted, head: Vec::new(), at: At::Head, length: 0, kept: Vec::new() }
    }

    fn head<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let earlier = self.head.len();
        // Nearly always all of it comes at once and is read where it is.
        let parsed = if earlier == 0 {
            parse(bytes)?
        } else {
            self.head.extend_from_slice(bytes);
            parse(&self.head)?
        };
        let Some((end, length)) = parsed else {
            if earlier == 0 {
                self.head.extend_from_slice(bytes);
            }
            return Ok(&[]);
        };
        self.at = match length {
            Some(left) => At::Body { left },
            None => At::Size { value: 0, extension: false },
        };
        self.length = 0;
        self.head.clear();
        bytes.get(end - earlier..).context("a head that ended before")
    }

    fn body(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if self.wanted.check.is_some() {
            self.kept.extend_from_slice(bytes);
        }
    }

    /// One step of a chunked body; returns what is left of the bytes.
    fn chunked<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8]> {
        let [first, rest @ ..] = bytes else { return Ok(bytes) };
        match self.at {
            At::Size { value, .. } if *first == b'\n' => {
                self.at = if value == 0 { At::Last { left: 2 } } else { At::Chunk { left: value } };
            }
            At::Size { value, extension } => {
                let digit = char::from(*first).to_digit(16).filter(|_| !extension);
                self.at = match digit {
                    Some(digit) => At::Size { value: value * 16 + u64::from(digit), extension },
                    None => At::Size { value, extension: true },
                };
            }
            At::Chunk { left } => {
                let part = left.min(bytes.len() as u64);
                let (part, rest) = bytes.split_at(part as usize);
                self.body(part);
                let left = left - part.len() as u64;
                self.at = if left == 0 { At::ChunkEnd { left: 2 } } else { At::Chunk { left } };
                return Ok(rest);
            }
            At::ChunkEnd { left: 1 } => self.at = At::Size { value: 0, extension: false },
            At::ChunkEnd { left } => self.at = At::ChunkEnd { left: left - 1 },
            At::Last { left: 1 } => self.at = At::Body { left: 0 },
            At::Last { left } => self.at = At::Last { left: left - 1 },
            At::Head | At::Body { .. } => bail!("no chunk"),
        }
        Ok(rest)
    }

    fn done(&mut self) -> Result<()> {
        if let Some(bytes) = self.wanted.bytes {
            ensure!(bytes == self.length, "answered {} bytes instead of {bytes}", self.length);
        }
        if let Some(check) = &self.wanted.check {
            check(&self.kept)?;
            self.kept.clear();
        }
        self.at = At::Head;
        Ok(())
    }
}

impl Answer for Reader {
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        loop {
            match self.at {
                At::Head if bytes.is_empty() => return Ok(false),
                At::Head => bytes = self.head(bytes)?,
                At::Body { left } => {
                    ensure!(bytes.len() as u64 <= left, "says more than it was asked");
                    self.body(bytes);
                    self.at = At::Body { left: left - bytes.len() as u64 };
                    if bytes.len() as u64 == left {
                        return self.done().map(|()| true);
                    }
                    return Ok(false);
                }
                _ if bytes.is_empty() => return Ok(false),
                _ => bytes = self.chunked(bytes)?,
            }
        }
    }
}

/// Where the head ends and how long the body is (`None`: in chunks); nothing when more is to come.
fn parse(bytes: &[u8]) -> Result<Option<(usize, Option<u64>)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(end) = response.parse(bytes).context("no HTTP")? else { return Ok(None) };
    let status = response.code.unwrap_or(0);
    ensure!((200..300).contains(&status), "answered {status}: {}", said(bytes));
    let length = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
    let length = length.map(|header| std::str::from_utf8(header.value).unwrap_or_default().parse());
    Ok(Some((end, length.transpose().context("a strange length")?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever pieces an answer comes in.
    fn ends_with_last_byte(answer: &[u8], wanted: &Wanted) {
        for step in 1..=answer.len() {
            let mut reader = Reader::new(wanted.clone());
            for _ in 0..2 {
                let mut pieces = answer.chunks(step).peekable();
                while let Some(piece) = pieces.next() {
                    assert_eq!(reader.take(piece).unwrap(), pieces.peek().is_none(), "{step}");
                }
            }
        }
    }

    #[test]
    fn answers_end_with_their_last_byte() {
        let check = |body: &[u8]| {
            ensure!(body == b"hello");
            Ok(())
        };
        let wanted = &Wanted { bytes: Some(5), check: Some(Rc::new(check)) };
        ends_with_last_byte(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", wanted);
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=1\r\nhell\r\n1\r\no\r\n0\r\n\r\n";
        ends_with_last_byte(chunked, wanted);
        ends_with_last_byte(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", &Wanted::default());
    }

    #[test]
    fn bad_answers_are_errors() {
        let refused = |answer: &[u8], wanted| Reader::new(wanted).take(answer).unwrap_err();
        refused(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", Wanted::default());
        refused(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nab", Wanted::default());
        refused(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na", Wanted { bytes: Some(2), check: None });
    }
}
