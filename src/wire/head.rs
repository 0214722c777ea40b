//! The head of an HTTP message inside a part: start line and header lines, read strictly.
//!
//! There is one spelling of everything: CRLF ends a line, nothing is folded, no blank stands before a
//! colon. What a lenient reader would take in two ways is refused, so that no two readers disagree.

use crate::error::{Error, Result};

/// Headers that one head may have.
const HEADERS_MAX: usize = 96;

/// A head as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The request line or the status line.
    pub start: String,
    /// Names in lower case, values without blanks around them, in the order in which they came.
    pub headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    /// Reads a start line and header lines; `bytes` ends with the empty line.
    pub(super) fn parse(bytes: &[u8]) -> Result<Head> {
        let (start, rest) = cut_line(bytes)?;
        let start = std::str::from_utf8(start).ok().filter(|line| line.bytes().all(|b| (b' '..0x7f).contains(&b)));
        let start = start.filter(|line| !line.is_empty()).map(str::to_owned);
        let start = start.ok_or_else(|| Error::invalid("the first line of a message is visible ASCII text"))?;
        Ok(Head { start, headers: header_lines(rest)? })
    }

    /// The value of a header that may come once; `None` when it did not come.
    pub fn single(&self, name: &str) -> Result<Option<&str>> {
        single(&self.headers, name)
    }

    /// The length of the body: without `Content-Length` there is none.
    pub fn length(&self) -> Result<u64> {
        if self.headers.iter().any(|(name, _)| name == "transfer-encoding") {
            return Err(Error::invalid("a part has no Transfer-Encoding; send Content-Length"));
        }
        self.single("content-length")?.map_or(Ok(0), number)
    }
}

/// The value of a header that may come once among these.
pub(super) fn single<'a>(headers: &'a [(String, Vec<u8>)], wanted: &str) -> Result<Option<&'a str>> {
    let mut values = headers.iter().filter(|(name, _)| name == wanted);
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("this header may be sent once").with("header", wanted));
    }
    let text = std::str::from_utf8(value);
    text.map(Some).map_err(|_| Error::invalid("this header is no UTF-8 text").with("header", wanted))
}

/// Plain digits; `+5`, `0x5` and `5, 5` are no lengths.
pub(super) fn number(text: &str) -> Result<u64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let number = text.parse().ok().filter(|_| plain);
    number
        .ok_or_else(|| Error::invalid("a content length is plain digits").with("content-length", text.escape_default()))
}

/// Header lines up to and with the empty line, which ends the bytes.
pub(super) fn header_lines(mut bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
    let mut headers = Vec::new();
    loop {
        let (line, rest) = cut_line(bytes)?;
        if line.is_empty() {
            return if rest.is_empty() { Ok(headers) } else { Err(Error::invalid("a head goes on after its end")) };
        }
        if headers.len() == HEADERS_MAX {
            return Err(Error::too_large("a part has at most 96 headers").with("headers_max", HEADERS_MAX));
        }
        headers.push(header(line)?);
        bytes = rest;
    }
}

fn header(line: &[u8]) -> Result<(String, Vec<u8>)> {
    let bad = |why: &'static str| {
        Error::invalid(why).with("header", line.get(..line.len().min(80)).unwrap_or_default().escape_ascii())
    };
    let colon = line.iter().position(|b| *b == b':').ok_or_else(|| bad("a header is NAME: VALUE"))?;
    let (name, value) = line.split_at(colon);
    let token = |b: &u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b);
    if name.is_empty() || !name.iter().all(token) {
        return Err(bad("a header's name holds letters, digits and hyphens, and its line starts with it"));
    }
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    if value.iter().any(|b| *b != b'\t' && b.is_ascii_control()) {
        return Err(bad("a header's value holds no control characters"));
    }
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

/// The bytes before the next CRLF and those behind it.
fn cut_line(bytes: &[u8]) -> Result<(&[u8], &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n");
    let cut = end.and_then(|end| Some((bytes.get(..end)?, bytes.get(end + 2..)?)));
    let cut = cut.filter(|(line, _)| !line.iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
    cut.ok_or_else(|| Error::invalid("each line of a head ends with CRLF"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_is() {
        let head = Head::parse(b"PUT /x HTTP/1.1\r\nContent-Length: 7\r\nMesh-Meta-A:\t b c \r\n\r\n").unwrap();
        assert_eq!(head.start, "PUT /x HTTP/1.1");
        assert_eq!((head.length().unwrap(), head.single("mesh-meta-a").unwrap()), (7, Some("b c")));
        assert_eq!(Head::parse(b"x\r\n\r\n").unwrap().length().unwrap(), 0);
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for bad in [
            &b""[..],
            b"\r\n\r\n",
            b"x\n\n",
            b"x\r\n",
            b"x\r\na: b\n\r\n",
            b"x\r\na : b\r\n\r\n",
            b"x\r\n a: b\r\n\r\n",
            b"x\r\na\r\n\r\n",
            b"x\r\n: b\r\n\r\n",
            b"x\r\na: b\rc\r\n\r\n",
            b"x\r\na: b\0\r\n\r\n",
            b"x\x01\r\n\r\n",
            b"\xff\r\n\r\n",
            b"x\r\n\r\ny",
        ] {
            assert!(Head::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        for bad in ["+1", "-1", "1 2", "1,1", "0x1", "", "99999999999999999999"] {
            let head = Head::parse(format!("x\r\ncontent-length: {bad}\r\n\r\n").as_bytes()).unwrap();
            assert!(head.length().is_err(), "{bad}");
        }
        for bad in ["content-length: 1\r\ncontent-length: 1", "transfer-encoding: chunked"] {
            assert!(Head::parse(format!("x\r\n{bad}\r\n\r\n").as_bytes()).unwrap().length().is_err(), "{bad}");
        }
    }
}
