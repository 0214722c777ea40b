//! Where an object lives in users' words: `collection/key`.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits::{KEY_BYTES_MAX, NAME_BYTES_MAX};

/// Words that name operations in subjects, so that a site or collection can never be one.
const RESERVED: [&str; 16] = [
    "push",
    "pull",
    "head",
    "delete",
    "list",
    "locate",
    "batch",
    "sync",
    "transfers",
    "fn",
    "state",
    "signal",
    "event",
    "log",
    "any",
    "peer",
];

/// The name of a site, container, collection or keygroup: `[a-z0-9][a-z0-9-]{0,62}`, not a verb.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        check_name(text).map_err(|why| Error::invalid(why).with("name", text.escape_default()))?;
        Ok(Name(text.into()))
    }
}

fn check_name(text: &str) -> Result<(), &'static str> {
    let bytes = text.as_bytes();
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    match bytes.first() {
        None => return Err("a name cannot be empty"),
        Some(first) if !plain(first) => return Err("a name starts with a lower-case letter or a digit"),
        Some(_) => {}
    }
    if bytes.len() > NAME_BYTES_MAX {
        return Err("a name has at most 63 characters");
    }
    if !bytes.iter().all(|b| plain(b) || *b == b'-') {
        return Err("a name holds only lower-case letters, digits and hyphens");
    }
    if RESERVED.contains(&text) {
        return Err("this word names an operation and cannot be a name; choose another");
    }
    Ok(())
}

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address of an object: a collection and a key, cheap to clone.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Address {
    /// `collection/key`, checked.
    text: Arc<str>,
    /// Where the first `/` is.
    slash: u8,
}

impl Address {
    /// An address from its two parts.
    pub fn new(collection: &Name, key: &str) -> Result<Self> {
        check_key(key).map_err(|why| Error::invalid(why).with("key", key.escape_default()))?;
        let text = format!("{collection}/{key}");
        Ok(Address { slash: collection.as_str().len() as u8, text: text.into() })
    }

    /// The collection's name.
    pub fn collection(&self) -> &str {
        self.text.get(..usize::from(self.slash)).unwrap_or_default()
    }

    /// The key inside the collection; it may hold `/`.
    pub fn key(&self) -> &str {
        self.text.get(usize::from(self.slash) + 1..).unwrap_or_default()
    }

    /// `collection/key`.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Keys are plain UTF-8 paths: what a reader sees is what is stored. Segments that a file system or
/// a URL parser would fold away are refused rather than folded, so no two spellings meet.
fn check_key(key: &str) -> Result<(), &'static str> {
    if key.is_empty() {
        return Err("a key cannot be empty; an address is collection/key");
    }
    if key.len() > KEY_BYTES_MAX {
        return Err("a key has at most 1024 bytes");
    }
    if key.chars().any(char::is_control) {
        return Err("a key cannot hold control characters");
    }
    if key.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("a key cannot start or end with '/', nor hold empty, '.' or '..' segments");
    }
    Ok(())
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (collection, key) = text.split_once('/').ok_or_else(|| {
            Error::invalid("an address is collection/key, such as meteo/today.csv")
                .with("address", text.escape_default())
        })?;
        Address::new(&collection.parse()?, key)
    }
}

impl TryFrom<String> for Address {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> String {
        address.text.to_string()
    }
}

impl PartialEq for Address {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Address {}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.text.cmp(&other.text)
    }
}

impl Hash for Address {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text.hash(state);
    }
}

/// A map or set of addresses can be asked with `collection/key` text, which orders as they do.
impl Borrow<str> for Address {
    fn borrow(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lower_case_words() {
        for good in ["a", "meteo", "edge-1", "0", &"x".repeat(63)] {
            assert_eq!(good.parse::<Name>().unwrap().as_str(), good);
        }
        for bad in ["", "-a", "A", "a_b", "a.b", "é", "push", "any", "sync", "transfers", &"x".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_split_at_the_first_slash() {
        let address: Address = "meteo/2024/a b.csv".parse().unwrap();
        assert_eq!((address.collection(), address.key()), ("meteo", "2024/a b.csv"));
        assert_eq!(address.to_string(), "meteo/2024/a b.csv");
    }

    #[test]
    fn tricky_keys_are_refused() {
        let long = format!("c/{}", "k".repeat(1025));
        for bad in ["c", "c/", "/k", "c//k", "c/k/", "c/..", "c/a/../b", "c/./a", "c/a\0b", "c/a\nb", &long] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
        for good in ["c/...", "c/a..b", "c/%2e%2e", "c/Ünï", "c/delete", &long[..1026]] {
            assert!(good.parse::<Address>().is_ok(), "{good}");
        }
    }
}
