//! The plain text protocol of NATS as far as the load generator speaks it: requests with a reply subject.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};

use super::{Answer, Request, Talk};

/// The same request again and again; each connection has an inbox of its own.
pub struct Asking {
    subject: String,
    headers: String,
    body: usize,
    greeted: HashSet<usize>,
}

/// A request whose answer has so many bytes.
pub fn asking(subject: &str, headers: &[(&str, &str)], body: usize) -> Asking {
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    Asking { subject: subject.to_owned(), headers: format!("NATS/1.0\r\n{lines}\r\n"), body, greeted: HashSet::new() }
}

impl Talk for Asking {
    type Reader = Reader;

    fn request(&mut self, connection: usize) -> Request {
        let (subject, headers, bytes) = (&self.subject, &self.headers, self.headers.len());
        let line = format!("HPUB {subject} inbox.{connection} {bytes} {bytes}\r\n{headers}\r\n");
        if !self.greeted.insert(connection) {
            return Request::of(line);
        }
        let hello = "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n";
        Request::of(format!("{hello}SUB inbox.{connection} 1\r\n{line}"))
    }

    fn reader(&self) -> Reader {
        Reader { body: self.body, line: Vec::new(), left: 0 }
    }
}

/// Reads answers and checks their length.
pub struct Reader {
    body: usize,
    line: Vec<u8>,
    /// Bytes of the message and its line end that are still to come.
    left: usize,
}

impl Reader {
    /// How much follows a line.
    fn follows(&self) -> Result<usize> {
        let line = std::str::from_utf8(&self.line).context("no line of NATS")?.trim_end();
        let words: Vec<&str> = line.split(' ').collect();
        let number = |word: Option<&&str>| word.and_then(|word| word.parse::<usize>().ok()).context("no number");
        match words.first() {
            Some(&"MSG") => {
                let all = number(words.last())?;
                ensure!(all == self.body, "answered {all} bytes");
                Ok(all + 2)
            }
            Some(&"HMSG") => {
                let (all, head) = (number(words.last())?, number(words.iter().rev().nth(1))?);
                ensure!(all - head == self.body, "answered {} bytes", all - head);
                Ok(all + 2)
            }
            Some(&("INFO" | "PING" | "+OK")) => Ok(0),
            _ => anyhow::bail!("said {line}"),
        }
    }
}

impl Answer for Reader {
    fn take(&mut self, mut bytes: &[u8]) -> Result<bool> {
        while !bytes.is_empty() {
            if self.left > 0 {
                let part = self.left.min(bytes.len());
                bytes = bytes.get(part..).unwrap_or_default();
                self.left -= part;
                if self.left == 0 {
                    return Ok(true);
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
