//! The plain text protocol of NATS as far as the load generator speaks it: requests with a reply subject.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;

use super::{Answer, Request, Talk, said};

/// Requests that a function makes. Each connection has an inbox of its own.
pub struct Asking<F> {
    next: F,
    wanted: Wanted,
    greeted: HashSet<usize>,
}

/// A message to be answered.
#[derive(Clone)]
pub struct Message {
    pub subject: String,
    /// The whole block of them, or nothing.
    pub headers: String,
    pub body: Bytes,
}

/// What every answer must be.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// So long a body.
    Bytes(usize),
    /// Headers and a body that hold this somewhere.
    Word(&'static str),
}

impl<F: FnMut() -> Message> Asking<F> {
    /// Makes the requests one after the other.
    pub fn each(wanted: Wanted, next: F) -> Self {
        Asking { next, wanted, greeted: HashSet::new() }
    }
}

/// The same request again and again.
pub fn same(message: Message, wanted: Wanted) -> Asking<impl FnMut() -> Message> {
    Asking::each(wanted, move || message.clone())
}

/// A block of headers.
pub fn headers(headers: &[(&str, &str)]) -> String {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("NATS/1.0\r\n{lines}\r\n")
}

impl<F: FnMut() -> Message> Talk for Asking<F> {
    type Reader = Reader;

    fn connected(&mut self, connection: usize) {
        self.greeted.remove(&connection);
    }

    fn request(&mut self, connection: usize) -> Request {
        let Message { subject, headers, body } = (self.next)();
        let (head, all) = (headers.len(), headers.len() + body.len());
        let line = match headers.is_empty() {
            true => format!("PUB {subject} inbox.{connection} {all}\r\n"),
            false => format!("HPUB {subject} inbox.{connection} {head} {all}\r\n{headers}"),
        };
        let head = match self.greeted.insert(connection) {
            true => format!("{HELLO}SUB inbox.{connection} 1\r\n{line}"),
            false => line,
        };
        Request { body, end: Bytes::from_static(b"\r\n"), ..Request::of(head) }
    }

    fn reader(&self) -> Reader {
        Reader { wanted: self.wanted, line: Vec::new(), left: 0, kept: Vec::new() }
    }
}

const HELLO: &str = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";

/// Reads answers and checks that they are good.
pub struct Reader {
    wanted: Wanted,
    line: Vec<u8>,
    /// Bytes of the message and its line end that are still to come.
    left: usize,
    /// The message, where more than its length is looked at.
    kept: Vec<u8>,
}

impl Reader {
    /// How much follows a line.
    fn follows(&self) -> Result<usize> {
        let line = std::str::from_utf8(&self.line).context("no line of NATS")?.trim_end();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: Option<&&str>| word.and_then(|word| word.parse::<usize>().ok()).context("no number");
        match words.first() {
            Some(&"MSG") => self.message(0, number(words.last())?),
            Some(&"HMSG") => self.message(number(words.iter().rev().nth(1))?, number(words.last())?),
            Some(&("INFO" | "PING" | "+OK")) => Ok(0),
            _ => anyhow::bail!("said {line}"),
        }
    }

    fn message(&self, head: usize, all: usize) -> Result<usize> {
        let body = all.checked_sub(head).context("more headers than bytes")?;
        if let Wanted::Bytes(bytes) = self.wanted {
            ensure!(body == bytes, "answered {body} bytes");
        }
        Ok(all + 2)
    }

    fn keep(&mut self, part: &[u8]) {
        if let Wanted::Word(_) = self.wanted {
            self.kept.extend_from_slice(part);
        }
    }

    fn done(&mut self) -> Result<()> {
        if let Wanted::Word(word) = self.wanted {
            let found = self.kept.windows(word.len()).any(|part| part == word.as_bytes());
            ensure!(found, "answered without {word}: {}", said(&self.kept));
            self.kept.clear();
        }
        Ok(())
    }
}

impl Answer for Reader {
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                self.keep(part);
                bytes = rest;
                self.left -= part.len();
                if self.left == 0 {
                    return self.done().map(|()| true);
                }
                continue;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
            let (line, rest) = bytes.split_at(end);
            self.line.extend_from_slice(line);
            bytes = rest;
            if self.line.ends_with(b"\n") {
                self.left = self.follows()?;
                self.line.clear();
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "INFO {}\r\n";

    fn reader(wanted: Wanted) -> Reader {
        same(Message { subject: String::new(), headers: String::new(), body: Bytes::new() }, wanted).reader()
    }

    #[test]
    fn answers_end_with_their_last_byte() {
        let with_headers = "HMSG inbox.1 1 26 31\r\nNATS/1.0\r\nStatus: good\r\n\r\nhello\r\n";
        for (answer, wanted) in [
            ("MSG inbox.1 1 5\r\nhello\r\n", Wanted::Bytes(5)),
            ("MSG inbox.1 1 5\r\nhello\r\n", Wanted::Word("ell")),
            (with_headers, Wanted::Bytes(5)),
            (with_headers, Wanted::Word("Status: good")),
        ] {
            let answer = format!("{INFO}{answer}");
            for step in 1..=answer.len() {
                let mut reader = reader(wanted);
                for _ in 0..2 {
                    let mut pieces = answer.as_bytes().chunks(step).peekable();
                    while let Some(piece) = pieces.next() {
                        assert_eq!(reader.take(piece).unwrap(), pieces.peek().is_none(), "{step}");
                    }
                }
            }
        }
    }

    #[test]
    fn bad_answers_are_errors() {
        let refused = |answer: &[u8], wanted| reader(wanted).take(answer).unwrap_err();
        refused(b"MSG inbox.1 1 4\r\nhell\r\n", Wanted::Bytes(5));
        refused(b"MSG inbox.1 1 4\r\nhell\r\n", Wanted::Word("hello"));
        refused(b"-ERR 'Unknown Protocol Operation'\r\n", Wanted::Word("hello"));
    }
}
