//! `multipart/mixed` whose parts are HTTP messages (`application/http`), read and written piece by piece.
//!
//! The reader is given bytes and says what they are; it never holds more than one head and what it was
//! last given. A body is exactly as long as its `Content-Length` says, so that no bytes in it can be
//! taken for a boundary; whatever stands where a boundary should is an error. `docs/batch.md` has it all.

use bytes::{Buf, Bytes, BytesMut};

use super::head::{Head, header_lines, number, single};
use crate::error::{Error, Result};
use crate::limits::{BATCH_HEAD_BYTES_MAX, BATCH_PARTS_MAX};

/// The content type of a part.
pub const PART_TYPE: &str = "application/http";

/// Longest boundary (RFC 2046).
const BOUNDARY_BYTES_MAX: usize = 70;
/// Longest `Content-ID`.
const CONTENT_ID_BYTES_MAX: usize = 200;

/// What the bytes turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// More bytes are needed to tell.
    More,
    /// A part begins.
    Part(Part),
    /// Bytes of the part's body.
    Body(Bytes),
    /// The part is complete.
    PartEnd,
    /// The closing boundary was read.
    End,
}

/// How a part begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// The message's head.
    pub head: Head,
    /// Bytes of the body that follows.
    pub length: u64,
    /// The part's own name, given back in its answer.
    pub content_id: Option<String>,
}

enum State {
    /// Before the first boundary.
    Start,
    /// In the lines of a part before its body.
    Head,
    /// So many bytes of a body are still to come.
    Body(u64),
    /// Behind a body, where a boundary must stand.
    Boundary,
    /// Behind the closing boundary.
    End,
}

/// Reads a multipart body.
pub struct Reader {
    /// `--boundary`.
    delimiter: Vec<u8>,
    buffer: BytesMut,
    /// Where the part's own headers end, once that is known.
    first: Option<usize>,
    /// Bytes of the buffer that hold no empty line that is still looked for.
    scanned: usize,
    state: State,
    parts: usize,
}

impl Reader {
    /// A reader of bodies with this boundary.
    pub fn new(boundary: &str) -> Reader {
        let delimiter = format!("--{boundary}").into_bytes();
        Reader { delimiter, buffer: BytesMut::new(), first: None, scanned: 0, state: State::Start, parts: 0 }
    }

    /// Adds bytes; to be called when [`Reader::step`] asked for more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What comes next. After an error nothing that follows can be told apart.
    pub fn step(&mut self) -> Result<Step> {
        match self.state {
            State::Start => self.boundary(b""),
            State::Head => self.head(),
            State::Body(0) => {
                self.state = State::Boundary;
                Ok(Step::PartEnd)
            }
            State::Body(_) if self.buffer.is_empty() => Ok(Step::More),
            State::Body(left) => {
                let take = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
                self.state = State::Body(left - take as u64);
                Ok(Step::Body(self.buffer.split_to(take).freeze()))
            }
            State::Boundary => self.boundary(b"\r\n"),
            State::End => self.end(),
        }
    }

    /// Says whether the input may end here.
    pub fn finish(&self) -> Result<()> {
        match self.state {
            State::End if matches!(&self.buffer[..], b"" | b"\r\n") => Ok(()),
            _ => Err(Error::invalid("the batch ended before its closing boundary; nothing behind this point was done")),
        }
    }

    /// Reads `lead`, the delimiter, and a line end or the two hyphens that close everything.
    fn boundary(&mut self, lead: &[u8]) -> Result<Step> {
        let wanted = lead.len() + self.delimiter.len();
        let shown = self.buffer.iter().take(wanted);
        if !shown.eq(lead.iter().chain(&self.delimiter).take(self.buffer.len())) {
            return Err(match self.state {
                State::Start => Error::invalid("the body does not start with the boundary that Content-Type names"),
                _ => Error::invalid("no boundary stands behind a part's body; its Content-Length is wrong or missing"),
            });
        }
        let closing = match self.buffer.get(wanted..wanted + 2) {
            None => return Ok(Step::More),
            Some(b"\r\n") => false,
            Some(b"--") => true,
            Some(_) => return Err(Error::invalid("a boundary's line ends with CRLF, the last one's with two hyphens")),
        };
        self.buffer.advance(wanted + 2);
        if closing {
            self.state = State::End;
            return Ok(Step::End);
        }
        if self.parts == BATCH_PARTS_MAX {
            return Err(
                Error::too_large("a batch has at most 1000 parts; send several").with("parts_max", BATCH_PARTS_MAX)
            );
        }
        self.parts += 1;
        self.state = State::Head;
        (self.first, self.scanned) = (None, 0);
        self.head()
    }

    /// Reads the part's headers and the message's head, each of which ends with an empty line.
    fn head(&mut self) -> Result<Step> {
        let first = match self.first {
            Some(first) => first,
            None => match self.empty_line(0) {
                Some(first) => *self.first.insert(first),
                None => return self.unfinished(),
            },
        };
        // The message's head needs a line of its own before its empty one.
        let Some(second) = self.empty_line(first) else { return self.unfinished() };
        if second > BATCH_HEAD_BYTES_MAX {
            return self.unfinished();
        }
        let text = self.buffer.split_to(second);
        let (outer, inner) = text.split_at(first);
        let part = part(outer, inner)?;
        self.state = State::Body(part.length);
        Ok(Step::Part(part))
    }

    /// Where the first empty line behind `from` ends.
    fn empty_line(&mut self, from: usize) -> Option<usize> {
        // The start of the lines counts as the end of a line: an empty block is one empty line.
        let start = from.max(self.scanned.saturating_sub(3));
        if self.buffer.get(from..from + 2) == Some(b"\r\n") {
            return Some(from + 2);
        }
        let found = self.buffer.get(start..)?.windows(4).position(|four| four == b"\r\n\r\n");
        if found.is_none() {
            self.scanned = self.buffer.len();
        }
        found.map(|at| start + at + 4)
    }

    fn unfinished(&self) -> Result<Step> {
        if self.buffer.len() > BATCH_HEAD_BYTES_MAX {
            return Err(Error::too_large("the headers of a part are too long").with("bytes_max", BATCH_HEAD_BYTES_MAX));
        }
        Ok(Step::More)
    }

    fn end(&mut self) -> Result<Step> {
        // One line end is what most writers put behind the last boundary. It stays in the buffer, so that a second
        // one is seen as such, however the bytes arrive.
        if b"\r\n".starts_with(&self.buffer) {
            return Ok(Step::More);
        }
        Err(Error::invalid("something follows the closing boundary"))
    }
}

fn part(outer: &[u8], inner: &[u8]) -> Result<Part> {
    let headers = header_lines(outer)?;
    let kind = single(&headers, "content-type")?.unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(PART_TYPE) {
        return Err(Error::invalid("each part is of Content-Type application/http; parts cannot be nested")
            .with("content-type", kind.escape_default()));
    }
    if let Some(coding) = single(&headers, "content-transfer-encoding")?
        && !["binary", "8bit", "7bit"].iter().any(|plain| coding.eq_ignore_ascii_case(plain))
    {
        return Err(Error::invalid("parts are sent as they are, without a transfer encoding")
            .with("content-transfer-encoding", coding.escape_default()));
    }
    let content_id = single(&headers, "content-id")?.map(str::to_owned);
    if content_id.as_ref().is_some_and(|id| id.len() > CONTENT_ID_BYTES_MAX) {
        return Err(Error::too_large("a Content-ID has at most 200 bytes"));
    }
    let head = Head::parse(inner)?;
    let length = head.length()?;
    if let Some(whole) = single(&headers, "content-length")?
        && Some(number(whole)?) != length.checked_add(inner.len() as u64)
    {
        return Err(Error::invalid("a part's own Content-Length is that of its whole message; leave it out")
            .with("content-length", whole));
    }
    Ok(Part { head, length, content_id })
}

/// The boundary that a `Content-Type` of `multipart/mixed` names.
pub fn boundary_of(content_type: &str) -> Result<&str> {
    let bad = |why: &'static str| Error::invalid(why).with("content-type", content_type.escape_default());
    let (essence, mut rest) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !essence.trim().eq_ignore_ascii_case("multipart/mixed") {
        return Err(bad("a batch is multipart/mixed; boundary=…"));
    }
    let mut found = None;
    while !rest.trim().is_empty() {
        let (name, value) = rest.split_once('=').ok_or_else(|| bad("a parameter is NAME=VALUE"))?;
        let (value, behind) = match value.strip_prefix('"') {
            // No character of a boundary needs a backslash.
            Some(quoted) => {
                let (value, behind) = quoted.split_once('"').ok_or_else(|| bad("a quote is not closed"))?;
                let behind = behind.trim();
                (value, behind.strip_prefix(';').or(behind.is_empty().then_some("")))
            }
            None => {
                let (value, behind) = value.split_once(';').unwrap_or((value, ""));
                (value.trim(), Some(behind))
            }
        };
        if name.trim().eq_ignore_ascii_case("boundary") && found.replace(value).is_some() {
            return Err(bad("the boundary is named once"));
        }
        rest = behind.ok_or_else(|| bad("something follows a quoted parameter"))?;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&b);
    found
        .filter(|text| {
            (1..=BOUNDARY_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain) && !text.ends_with(' ')
        })
        .ok_or_else(|| bad("a boundary has 1 to 70 letters, digits or '()+_,-./:=?"))
}

/// Writes a boundary and the headers of a part; the message follows. `first` says that nothing stands before.
pub fn open_part(out: &mut Vec<u8>, boundary: &str, first: bool, content_id: Option<&str>) {
    let lead = if first { "" } else { "\r\n" };
    out.extend_from_slice(format!("{lead}--{boundary}\r\nContent-Type: {PART_TYPE}\r\n").as_bytes());
    if let Some(id) = content_id {
        out.extend_from_slice(format!("Content-ID: {id}\r\n").as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the closing boundary.
pub fn close(out: &mut Vec<u8>, boundary: &str) {
    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
}

#[cfg(test)]
mod tests;
