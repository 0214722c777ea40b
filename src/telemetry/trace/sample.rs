//! Which share of new traces is recorded.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A share counts in these parts.
const PARTS: u32 = 1_000_000;

/// A share of all traces, from 0 to 1, in steps of a millionth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(u32);

impl Sample {
    /// No trace.
    pub const NONE: Sample = Sample(0);

    /// Whether the trace with these random bits is in the share. Every container that knows the trace
    /// and the share decides alike.
    pub fn takes(self, bits: u64) -> bool {
        (u128::from(bits) * u128::from(PARTS)) >> 64 < u128::from(self.0)
    }
}

impl FromStr for Sample {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("a share is a number from 0 to 1 with at most six decimals, such as 0.25")
                .with("value", text.escape_default())
        };
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !plain(decimals) || decimals.len() > 6 || !matches!(whole, "0" | "1") {
            return Err(bad());
        }
        let parts: u32 = format!("{whole}{decimals:0<6}").parse().map_err(|_| bad())?;
        if parts > PARTS { Err(bad()) } else { Ok(Sample(parts)) }
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / PARTS, self.0 % PARTS) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, parts) => write!(f, "{whole}.{}", format!("{parts:06}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_read_back() {
        for text in ["0", "1", "0.5", "0.000001", "0.25", "0.999999"] {
            assert_eq!(text.parse::<Sample>().unwrap().to_string(), text);
        }
        assert_eq!("1.0".parse::<Sample>().unwrap().to_string(), "1");
        for bad in ["", ".", "1.", ".5", "2", "1.1", "-0", "+1", "0.0000001", "1e-1", "50%", "0,5", " 1"] {
            assert!(bad.parse::<Sample>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_share_takes_its_share() {
        let taken = |share: &str| {
            let share: Sample = share.parse().unwrap();
            (0..1000u64).filter(|n| share.takes(n << 54 | n)).count()
        };
        assert_eq!((taken("0"), taken("1")), (0, 1000));
        assert!((240..270).contains(&taken("0.25")), "{}", taken("0.25"));
    }
}
