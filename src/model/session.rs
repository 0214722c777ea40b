//! What a client has seen so far, as a token that travels with it: no later answer may be older.
//!
//! The newest changes are named one by one; those before them are covered by a vector of dots. The token
//! is no secret and proves nothing: a forged one only makes its own sender wait.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::str::FromStr;

use super::address::Address;
use super::dot::{Dot, Incarnation};
use super::random::fingerprint;
use super::version::Version;
use crate::error::{Error, Result};

/// Changes that are named one by one.
const PAIRS_MAX: usize = 64;
/// Lives of containers in the vector.
const DOTS_MAX: usize = 64;
/// The first byte of the token.
const FORMAT: u8 = 1;
const PAIR_BYTES: usize = 8 + 16 + 16;
const DOT_BYTES: usize = 16;

/// What a client has written and read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// Oldest first.
    pairs: VecDeque<Pair>,
    dots: BTreeMap<Incarnation, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pair {
    address: u64,
    version: Version,
    dot: Dot,
}

impl Session {
    /// Takes note that the client knows of this version.
    pub fn note(&mut self, address: &Address, version: Version, dot: Dot) {
        self.note_pair(Pair { address: short(address), version, dot });
        self.shorten();
    }

    fn note_pair(&mut self, new: Pair) {
        if self.pairs.iter().any(|pair| pair.address == new.address && pair.version >= new.version) {
            return;
        }
        // The pair that gives way needs no trace: whoever has the newer version has replaced it.
        self.pairs.retain(|pair| pair.address != new.address);
        self.pairs.push_back(new);
    }

    fn shorten(&mut self) {
        while self.pairs.len() > PAIRS_MAX
            && let Some(old) = self.pairs.pop_front()
        {
            let seen = self.dots.entry(old.dot.incarnation).or_default();
            *seen = old.dot.seq.max(*seen);
        }
        while self.dots.len() > DOTS_MAX {
            self.dots.pop_first();
        }
    }

    /// Takes note of everything that another client knows.
    pub fn merge(&mut self, other: &Session) {
        for dot in other.dots() {
            let seen = self.dots.entry(dot.incarnation).or_default();
            *seen = dot.seq.max(*seen);
        }
        for pair in &other.pairs {
            self.note_pair(*pair);
        }
        self.shorten();
    }

    /// The version of this object that the client surely knows; nothing older may be shown to it.
    pub fn wants(&self, address: &Address) -> Option<Version> {
        let address = short(address);
        self.pairs.iter().find(|pair| pair.address == address).map(|pair| pair.version)
    }

    /// The change that made the version of this object that the client surely knows.
    pub fn dot_of(&self, address: &Address) -> Option<Dot> {
        let address = short(address);
        self.pairs.iter().find(|pair| pair.address == address).map(|pair| pair.dot)
    }

    /// The last change of each container's life that the client may know without naming it.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.dots.iter().map(|(incarnation, seq)| Dot { incarnation: *incarnation, seq: *seq })
    }

    /// Every change that the client may know.
    pub fn all_dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.dots().chain(self.pairs.iter().map(|pair| pair.dot))
    }
}

/// Two addresses of one session that share it cost a wait, no more.
fn short(address: &Address) -> u64 {
    fingerprint(address.as_str().as_bytes())
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = Vec::with_capacity(3 + self.pairs.len() * PAIR_BYTES + self.dots.len() * DOT_BYTES);
        out.extend([FORMAT, self.pairs.len() as u8, self.dots.len() as u8]);
        for Pair { address, version, dot } in &self.pairs {
            out.extend(address.to_be_bytes());
            out.extend(version.to_be_bytes());
            out.extend(dot.incarnation.0.to_be_bytes());
            out.extend(dot.seq.to_be_bytes());
        }
        for (incarnation, seq) in &self.dots {
            out.extend(incarnation.0.to_be_bytes());
            out.extend(seq.to_be_bytes());
        }
        f.write_str(&encode(&out))
    }
}

impl FromStr for Session {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || Error::invalid("this is no session token; send back what Mesh-Session said, or leave it out");
        let longest = 3 + PAIRS_MAX * PAIR_BYTES + DOTS_MAX * DOT_BYTES;
        let bytes = Some(text).filter(|text| text.len() <= longest.div_ceil(3) * 4).and_then(decode).ok_or_else(bad)?;
        let mut reader = Reader(&bytes);
        let head = reader.take::<3>().filter(|head| head[0] == FORMAT).ok_or_else(bad)?;
        let (pairs, dots) = (usize::from(head[1]), usize::from(head[2]));
        if pairs > PAIRS_MAX || dots > DOTS_MAX || reader.0.len() != pairs * PAIR_BYTES + dots * DOT_BYTES {
            return Err(bad());
        }
        let mut session = Session::default();
        for _ in 0..pairs {
            let address = reader.number().ok_or_else(bad)?;
            let version = Version::from_be_bytes(reader.take().ok_or_else(bad)?);
            let dot = reader.dot().ok_or_else(bad)?;
            session.pairs.push_back(Pair { address, version, dot });
        }
        for _ in 0..dots {
            let Dot { incarnation, seq } = reader.dot().ok_or_else(bad)?;
            session.dots.insert(incarnation, seq);
        }
        Ok(session)
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn number(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn dot(&mut self) -> Option<Dot> {
        Some(Dot { incarnation: Incarnation(self.number()?), seq: self.number()? })
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Base64 in the alphabet of URLs, without padding.
fn encode(bytes: &[u8]) -> String {
    let digit = |bits: u32| DIGITS.get(bits as usize & 63).map_or('A', |digit| char::from(*digit));
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    let (groups, rest) = bytes.as_chunks();
    for [a, b, c] in groups {
        let word = u32::from_be_bytes([0, *a, *b, *c]);
        [word >> 18, word >> 12, word >> 6, word].into_iter().for_each(|bits| out.push(digit(bits)));
    }
    if !rest.is_empty() {
        let word = rest.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - rest.len()));
        (0..=rest.len()).for_each(|at| out.push(digit(word >> (18 - 6 * at))));
    }
    out
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    for group in text.as_bytes().chunks(4) {
        let mut word = 0u32;
        for byte in group {
            word = word << 6 | DIGITS.iter().position(|digit| digit == byte)? as u32;
        }
        let bytes = group.len().checked_sub(1).filter(|bytes| *bytes > 0)?;
        let word = word << (6 * (4 - group.len()));
        out.extend(word.to_be_bytes().iter().skip(1).take(bytes));
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ContainerId;

    fn at(n: u64) -> (Address, Version, Dot) {
        let address = format!("c/{n}").parse().unwrap();
        (address, Version { time: n, container: ContainerId(1) }, Dot { incarnation: Incarnation(7), seq: n })
    }

    #[test]
    fn the_last_changes_are_named_and_the_rest_is_covered() {
        let mut session = Session::default();
        for n in 1..=100 {
            let (address, version, dot) = at(n);
            session.note(&address, version, dot);
        }
        assert_eq!(session.wants(&at(100).0), Some(at(100).1));
        assert_eq!(session.wants(&at(36).0), None);
        assert_eq!(session.dots().collect::<Vec<_>>(), [at(36).2]);
        let again: Session = session.to_string().parse().unwrap();
        assert_eq!(again, session);
        // An older version never replaces a newer one.
        let (address, _, dot) = at(100);
        session.note(&address, at(1).1, dot);
        assert_eq!(session, again);
    }

    #[test]
    fn two_sessions_together_cover_what_each_covers() {
        let noted = |range: std::ops::Range<u64>| {
            let mut session = Session::default();
            for (address, version, dot) in range.map(at) {
                session.note(&address, version, dot);
            }
            session
        };
        let (mut merged, whole) = (noted(1..40), noted(1..100));
        merged.merge(&noted(30..100));
        assert_eq!(merged, whole);
        merged.merge(&Session::default());
        assert_eq!(merged, whole);
        merged.merge(&noted(1..3));
        assert_eq!(merged.wants(&at(99).0), Some(at(99).1));
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "A".repeat(100_000);
        for bad in ["", "A", "AA", "AQEA", "AgAA", "AQAAA", "!!!!", "AQAA=", &long] {
            assert!(bad.parse::<Session>().is_err(), "{bad}");
        }
        assert_eq!("AQAA".parse::<Session>().unwrap(), Session::default());
    }

    proptest! {
        #[test]
        fn base64_reads_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = text.parse::<Session>();
        }
    }
}
