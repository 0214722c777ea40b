//! The protocol of Redis as far as the load generator speaks it: GET and SET.

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

use super::{Answer, Request, Talk};

const LINE_END: &[u8] = b"\r\n";

/// Commands that a function makes.
pub struct Commands<F> {
    pub next: F,
    /// Bytes of the value that is answered; `None` where the answer is a word.
    pub value: Option<u64>,
}

impl<F: FnMut() -> Request> Talk for Commands<F> {
    type Reader = Reader;

    fn request(&mut self, _: usize) -> Request {
        (self.next)()
    }

    fn reader(&self) -> Reader {
        Reader { value: self.value, line: Vec::new(), left: None }
    }
}

pub fn get(key: &str) -> Request {
    Request::of(format!("*2\r\n$3\r\nGET\r\n${}\r\n{key}\r\n", key.len()))
}

pub fn set(key: &str, value: Bytes) -> Request {
    let head = format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n", key.len(), value.len());
    Request { body: value, end: Bytes::from_static(LINE_END), ..Request::of(head) }
}

/// Reads answers and checks that they are good.
pub struct Reader {
    value: Option<u64>,
    /// The first line, while it arrives.
    line: Vec<u8>,
    /// Bytes of the value and its line end that are still to come.
    left: Option<u64>,
}

impl Reader {
    /// What the first line says, once it is whole.
    fn begun(&mut self) -> Result<u64> {
        let line = std::str::from_utf8(&self.line).context("no answer of Redis")?.trim_end();
        let left = match self.value {
            None => {
                ensure!(line == "+OK", "answered {line}");
                0
            }
            Some(bytes) => {
                let told = line.strip_prefix('$').and_then(|length| length.parse::<u64>().ok());
                ensure!(told == Some(bytes), "answered {line} instead of {bytes} bytes");
                bytes + LINE_END.len() as u64
            }
        };
        self.line.clear();
        Ok(left)
    }
}

impl Answer for Reader {
    fn take(&mut self, bytes: &[u8]) -> Result<bool> {
        let mut rest = bytes;
        let left = match self.left {
            Some(left) => left,
            None => {
                let end = rest.iter().position(|byte| *byte == b'\n');
                let (line, behind) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
                self.line.extend_from_slice(line);
                rest = behind;
                if end.is_none() {
                    return Ok(false);
                }
                self.begun()?
            }
        };
        let Some(left) = left.checked_sub(rest.len() as u64) else { bail!("says more than it was asked") };
        self.left = (left > 0).then_some(left);
        Ok(left == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_end_with_their_last_byte() {
        for (answer, value) in [(&b"+OK\r\n"[..], None), (b"$5\r\nhello\r\n", Some(5)), (b"$0\r\n\r\n", Some(0))] {
            for step in 1..=answer.len() {
                let mut reader = Reader { value, line: Vec::new(), left: None };
                let mut pieces = answer.chunks(step).peekable();
                while let Some(piece) = pieces.next() {
                    assert_eq!(reader.take(piece).unwrap(), pieces.peek().is_none(), "{step}");
                }
            }
        }
        let mut reader = Reader { value: Some(5), line: Vec::new(), left: None };
        assert!(reader.take(b"$-1\r\n").is_err());
    }
}
