//! What a policy of the mesh allows: who may push, hold, open and let go of the objects of which collections.
//!
//! A policy only takes away: what several policies name, all of them must allow, and a collection that none names is
//! free.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::Name;
use super::policy::Quota;
use super::version::Version;
use crate::error::{Error, Result};
use crate::limits::NAME_BYTES_MAX;

/// The collections that a policy is about: one by its name, or all whose names begin alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CollectionPattern(String);

impl CollectionPattern {
    /// Whether a collection is among them.
    pub fn fits(&self, collection: &str) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => collection.starts_with(beginning),
            None => collection == self.0,
        }
    }
}

impl TryFrom<String> for CollectionPattern {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let is_letter = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        let is_good = match text.strip_suffix('*') {
            Some(beginning) => {
                beginning.len() <= NAME_BYTES_MAX && !beginning.starts_with('-') && beginning.bytes().all(is_letter)
            }
            None => text.parse::<Name>().is_ok(),
        };
        if is_good {
            return Ok(CollectionPattern(text));
        }
        let why = "a policy names collections as they are called, or by how they begin, as in meteo-*";
        Err(Error::invalid(why).with("collection", text.escape_default()))
    }
}

impl From<CollectionPattern> for String {
    fn from(pattern: CollectionPattern) -> Self {
        pattern.0
    }
}

impl FromStr for CollectionPattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for CollectionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a pull leaves on the disk of the site that read an object from another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyRule {
    /// Nothing.
    None,
    /// A copy of what is light; of more where the collection or the request asks for it.
    #[default]
    Small,
    /// A copy, whatever its size.
    All,
}

/// What a policy asks for. What it does not name is free.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// The collections that it is about.
    pub collections: Vec<CollectionPattern>,
    /// Why it is there, for who meets it.
    pub note: Option<String>,
    /// The sites that take pushes and deletes.
    pub push: Option<Vec<Name>>,
    /// The sites where copies may rest, in memory or on a disk.
    pub hold: Option<Vec<Name>>,
    /// The sites that may read.
    pub open: Option<Vec<Name>>,
    /// The sites that hear of every change as it happens, also where nobody has asked there yet.
    pub subscribe: Option<Vec<Name>>,
    /// What a pull from another site leaves.
    pub copies: Option<CopyRule>,
    /// Whether objects may go to a cloud tier.
    pub cloud: Option<bool>,
    /// Whether what the cloud has may leave the disk.
    pub evict: Option<bool>,
    /// Plain bytes that an object may have.
    pub object_bytes: Option<u64>,
    /// Plain bytes that the current objects of a collection may come to at a container.
    pub quota_bytes: Option<u64>,
    /// How many there may be of them.
    pub quota_objects: Option<u64>,
}

impl Rule {
    /// Whether a collection is among those that it is about.
    pub fn is_about(&self, collection: &str) -> bool {
        self.collections.iter().any(|pattern| pattern.fits(collection))
    }

    /// How much a collection may hold by it.
    pub fn quota(&self) -> Quota {
        Quota { bytes: self.quota_bytes, objects: self.quota_objects }
    }

    /// Every site that it names.
    pub fn sites(&self) -> impl Iterator<Item = &Name> {
        [&self.push, &self.hold, &self.open, &self.subscribe].into_iter().flatten().flatten()
    }
}

/// One version of a policy. Those that it replaces are older; two that replace the same one were made by sites that did
/// not hear each other, and the later of them rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRecord {
    /// The policy's name.
    pub name: Name,
    /// When it was made, and by which container.
    pub version: Version,
    /// Those that its maker knew and meant to replace.
    pub replaces: Vec<Version>,
    /// The site where it was made.
    pub site: Name,
    /// What holds from then on; nothing where the policy was removed.
    pub rule: Option<Rule>,
    /// That site's signature, where another one tells of it.
    pub proof: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_a_name_or_a_beginning() {
        let fits = |pattern: &str, name: &str| pattern.parse::<CollectionPattern>().unwrap().fits(name);
        assert!(fits("meteo", "meteo") && !fits("meteo", "meteo-2"));
        assert!(fits("meteo-*", "meteo-2") && !fits("meteo-*", "meteo") && fits("*", "meteo"));
        // A beginning may be a word that no name may be.
        assert!(fits("log*", "logs"));
        for bad in ["", "Meteo", "me*teo", "-a*", "a.b", "**", "push", &"a".repeat(64)] {
            assert!(bad.parse::<CollectionPattern>().is_err(), "{bad}");
        }
    }
}
