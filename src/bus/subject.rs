//! Subjects and patterns over them.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Longest subject in bytes.
const SUBJECT_BYTES_MAX: usize = 2048;

/// Where a message is published: words joined by dots, without wildcards.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(String);

/// Which subjects a subscriber wants: a subject in which `*` stands for one word and a last `>` for
/// one or more.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Subject {
    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Pattern {
    /// The pattern as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subject is one of these.
    pub fn matches(&self, subject: &Subject) -> bool {
        let mut words = subject.0.split('.');
        for wanted in self.0.split('.') {
            match (wanted, words.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(word)) if wanted == word => {}
                _ => return false,
            }
        }
        words.next().is_none()
    }
}

fn check(text: &str, wild: bool) -> Result<()> {
    let bad = |why: &str| Err(Error::invalid(why).with("subject", text.escape_default()));
    if text.len() > SUBJECT_BYTES_MAX {
        return bad("a subject has at most 2048 bytes");
    }
    let last = text.split('.').count();
    for (at, word) in text.split('.').enumerate() {
        match word {
            "" => return bad("a subject holds no empty word"),
            "*" if wild => {}
            ">" if wild && at + 1 == last => {}
            word if word.contains(['*', '>']) => {
                return bad("wildcards stand alone, `>` last, and only in a subscription");
            }
            word if word.chars().any(|c| c.is_whitespace() || c.is_control()) => {
                return bad("a subject holds no white space and no control characters");
            }
            _ => {}
        }
    }
    Ok(())
}

impl FromStr for Subject {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check(text, false).map(|()| Subject(text.to_owned()))
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check(text, true).map(|()| Pattern(text.to_owned()))
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_words() {
        let matches =
            |pattern: &str, subject: &str| pattern.parse::<Pattern>().unwrap().matches(&subject.parse().unwrap());
        assert!(matches("mesh.edge.push", "mesh.edge.push"));
        assert!(matches("mesh.*.push", "mesh.edge.push") && !matches("mesh.*", "mesh.edge.push"));
        assert!(matches("mesh.>", "mesh.edge.push") && !matches("mesh.>", "mesh"));
        assert!(!matches("mesh.edge.push", "mesh.edge"));
    }

    #[test]
    fn malformed_subjects_are_refused() {
        for bad in ["", ".", "a..b", "a.*", "a.>", "a b", "a.\n"] {
            assert!(bad.parse::<Subject>().is_err(), "{bad:?}");
        }
        for bad in ["a.>.b", "a*", "x>"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
    }
}
