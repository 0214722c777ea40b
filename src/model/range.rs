//! One byte range of a request, as HTTP writes it.

use std::ops::Range;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A range as asked for; it becomes bytes once the object's size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From a byte to the end.
    From(u64),
    /// From a byte to a byte, both included.
    Between(u64, u64),
    /// The last bytes.
    Last(u64),
}

impl ByteRange {
    /// The bytes it covers of an object of `size`; an error when it covers none.
    pub fn of(self, size: u64) -> Result<Range<u64>> {
        let range = match self {
            ByteRange::From(first) => first..size,
            ByteRange::Between(first, last) => first..last.saturating_add(1).min(size),
            ByteRange::Last(count) => size.saturating_sub(count)..size,
        };
        if range.is_empty() {
            return Err(Error::bad_range("the range covers no byte of the object")
                .with("range", self)
                .with("size", size));
        }
        Ok(range)
    }
}

impl std::fmt::Display for ByteRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ByteRange::From(first) => write!(f, "bytes={first}-"),
            ByteRange::Between(first, last) => write!(f, "bytes={first}-{last}"),
            ByteRange::Last(count) => write!(f, "bytes=-{count}"),
        }
    }
}

impl FromStr for ByteRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &'static str| Error::bad_range(why).with("range", text.escape_default());
        let spec = text
            .trim()
            .strip_prefix("bytes=")
            .ok_or_else(|| bad("a range is bytes=first-last, bytes=first- or bytes=-count"))?;
        if spec.contains(',') {
            return Err(bad("one range at a time; send a request for each"));
        }
        let (first, last) =
            spec.split_once('-').ok_or_else(|| bad("a range is bytes=first-last, bytes=first- or bytes=-count"))?;
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<u64>().ok().filter(|_| plain).ok_or_else(|| bad("a range holds decimal numbers below 2^64"))
        };
        match (first.trim(), last.trim()) {
            ("", last) => Ok(ByteRange::Last(number(last)?)),
            (first, "") => Ok(ByteRange::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                if first > last {
                    return Err(bad("a range's first byte cannot come after its last"));
                }
                Ok(ByteRange::Between(first, last))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_against_a_size() {
        let of = |text: &str| text.parse::<ByteRange>().and_then(|range| range.of(10)).ok();
        assert_eq!(of("bytes=0-"), Some(0..10));
        assert_eq!(of("bytes=2-4"), Some(2..5));
        assert_eq!(of("bytes=2-18446744073709551615"), Some(2..10));
        assert_eq!(of("bytes=-3"), Some(7..10));
        assert_eq!(of("bytes=-99"), Some(0..10));
        for bad in [
            "bytes=10-",
            "bytes=-0",
            "bytes=4-2",
            "bytes=0-1,3-4",
            "0-1",
            "bytes=a-",
            "bytes=-",
            "bytes=+1-2",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
