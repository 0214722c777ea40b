//! Questions between sites, sealed so that only the two of them can read or have made them.
//!
//! A question begins with the name of who asks, as one byte of length and the name; the rest is sealed with the key that
//! both sites have in common. An answer begins with a byte that says how the question was met.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::super::piece::Ask;
use super::super::wire::{self, Place, Said, Told};
use super::super::{Site, locked};
use super::home::{Change, Changed};
use crate::bus::Message;
use crate::error::{Error, Kind, Result};
use crate::model::{ContainerId, Dot, Entry, Holds, Name, SiteRecord, Version};
use crate::nfr::{SharedKey, SystemRng};
use crate::store::CollectionRecord;

/// The question was understood; its sealed answer follows.
const ANSWERED: u8 = 0;
/// Who asks is not on the roster there, or its key is another one.
const STRANGER: u8 = 1;

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) enum Call {
    /// The sites of the mesh.
    Roster,
    /// Collections that the asker may see, behind this one.
    Directory(Option<String>),
    /// The policy of a collection.
    Policy(String),
    /// The policies of the mesh, behind this version of one.
    Policies(Option<(Name, Version)>),
    /// What is known of an address, of what the site itself keeps; of this version, whether it is there.
    Latest(String, Option<Version>),
    /// What the container that is asked has of an address.
    Holds(String),
    /// What somebody lacks of a collection who has seen this much.
    Lacking { collection: String, seen: Vec<Dot>, place: Place },
    /// What opens a version, and lets it be read.
    Open(String, Version),
    /// Bytes of a version.
    Piece(Ask),
    /// A change whose condition the one who is asked decides, and its number.
    Change(u64, Change),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) enum Answer {
    Roster(Vec<SiteRecord>),
    /// A page of collections, and behind which there are more.
    Directory(Vec<Listed>, Option<String>),
    Policy(Option<Box<CollectionRecord>>),
    /// A page of them, each with the signature of its maker, and behind which there are more.
    Policies(Vec<Vec<u8>>, Option<(Name, Version)>),
    /// What is known, and which containers of the site that may know more stayed silent.
    Latest(Option<Box<Known>>, Vec<String>),
    Holds(Holds),
    Lacking(FarPage),
    Open(Opening),
    /// Bytes that nothing else proves.
    Piece(#[serde(with = "bytes_as_they_are")] Vec<u8>),
    Changed(Changed),
    /// Why there is no better answer.
    Refused(Denial),
}

/// Why another site does not do what it is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) struct Denial {
    kind: String,
    why: String,
    /// What it is about, of what is named in [`DENIAL_NAMES`].
    about: Vec<(String, String)>,
    /// When it makes sense to try again.
    retry_after: Option<Duration>,
}

/// What an error says of what it is about to another site as well.
const DENIAL_NAMES: [&str; 9] =
    ["current", "policy", "point", "note", "quota", "limit", "outcome", "received", "announced"];

impl From<Error> for Denial {
    fn from(error: Error) -> Self {
        let about = DENIAL_NAMES.iter().filter_map(|name| Some(((*name).to_owned(), error.context(name)?.to_owned())));
        Denial {
            kind: error.kind().to_string(),
            why: error.message().to_owned(),
            about: about.collect(),
            retry_after: error.delay(),
        }
    }
}

impl Denial {
    fn error(self) -> Error {
        let kind = Kind::from_name(&self.kind).unwrap_or(Kind::Unavailable);
        let known = |name: &str| DENIAL_NAMES.into_iter().find(|known| *known == name);
        let about = self.about.into_iter().filter_map(|(name, value)| Some((known(&name)?, value)));
        let error = Error::new(kind, self.why);
        let error = self.retry_after.into_iter().fold(error, Error::retry_after);
        about.fold(error, |error, (name, value)| error.with(name, value))
    }
}

/// A collection of another site.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::site) struct Listed {
    pub name: String,
    /// Changes with its policy.
    pub policy: u64,
    /// Opens the news of it.
    pub key: [u8; 32],
}

/// An entry, and the name of the container that keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) struct Known {
    pub entry: Entry,
    pub keeper: String,
}

/// A part of what somebody lacks of a collection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::site) struct FarPage {
    pub entries: Vec<Told>,
    /// The names of those who keep them.
    pub keepers: Vec<(ContainerId, String)>,
    /// How far whoever takes in all pages from the first one on has come, as of this page.
    pub vector: Vec<Dot>,
    pub next: Option<Place>,
}

/// What opens a version to another site.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::site) struct Opening {
    /// The data key, where it is encrypted.
    pub key: Option<[u8; 32]>,
    /// For the doors of the site that keeps it.
    pub ticket: String,
    /// All of a small frame.
    #[serde(with = "bytes_as_they_are")]
    pub frame: Vec<u8>,
}

impl std::fmt::Debug for Listed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listed({})", self.name)
    }
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Opening({} bytes)", self.frame.len())
    }
}

/// Bytes in one go, rather than as a sequence of numbers.
pub(super) mod bytes_as_they_are {
    use serde::de::Visitor;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        from.deserialize_bytes(Bytes)
    }
}

impl Said for Call {
    const KIND: &'static str = "call 1";
}

impl Said for Answer {
    const KIND: &'static str = "answer 1";
}

/// A message that only who has the key can read or have made.
pub(super) fn seal<T: Serialize + Said>(key: &SharedKey, subject: &str, message: &T) -> Result<Vec<u8>> {
    key.seal(&SystemRng, &wire::purpose::<T>(subject), &wire::plain(message)?)
}

pub(super) fn open<T: DeserializeOwned + Said>(key: &SharedKey, subject: &str, sealed: &[u8]) -> Result<T> {
    wire::from_plain(&key.open(&wire::purpose::<T>(subject), sealed)?)
}

/// Who asks, and what is sealed.
pub(super) fn split(question: &[u8]) -> Option<(Name, &[u8])> {
    let (length, rest) = question.split_first()?;
    let (name, sealed) = rest.split_at_checked(usize::from(*length))?;
    Some((std::str::from_utf8(name).ok()?.parse().ok()?, sealed))
}

/// What is answered to whom nobody here knows. It proves nothing: it only says what to look into.
pub(super) fn to_stranger() -> Vec<u8> {
    vec![STRANGER]
}

/// An answer for this subject.
pub(super) fn answered(key: &SharedKey, subject: &str, answer: &Answer) -> Result<Vec<u8>> {
    Ok([&[ANSWERED], &seal(key, subject, answer)?[..]].concat())
}

impl Site {
    /// The key that this site and another one have in common.
    pub(super) fn pair(&self, other: &Name) -> Result<SharedKey> {
        let unknown = || {
            let why = "this site is not one of the mesh as it is known here";
            Error::new(Kind::Unauthorised, why).with("site", other)
        };
        let keys = self.0.mesh.roster.get(other).ok_or_else(unknown)?.keys;
        let mut pairs = locked(&self.0.mesh.pairs);
        if let Some((_, key)) = pairs.get(other).filter(|(known, _)| *known == keys) {
            return Ok(key.clone());
        }
        let key = self.0.mesh.identity.with(&keys)?;
        pairs.insert(other.clone(), (keys, key.clone()));
        Ok(key)
    }

    /// A question in the form in which it travels.
    pub(in crate::site) fn question(&self, to: &Name, subject: &str, call: &Call) -> Result<Vec<u8>> {
        let own = self.0.parts.site.as_str().as_bytes();
        Ok([&[own.len() as u8], own, &seal(&self.pair(to)?, subject, call)?[..]].concat())
    }

    /// What another site answered on this subject.
    pub(in crate::site) fn answer_of(&self, site: &Name, subject: &str, body: &[u8]) -> Result<Answer> {
        match body.split_first() {
            Some((&ANSWERED, sealed)) => match open(&self.pair(site)?, subject, sealed)? {
                Answer::Refused(denial) => Err(denial.error().with("site", site)),
                answer => Ok(answer),
            },
            _ => {
                let why = "the other site does not know this one by its key; let it join the mesh anew";
                Err(Error::unavailable(why).with("site", site))
            }
        }
    }

    /// Asks another site, or one container of it.
    pub(super) async fn call(&self, site: &Name, of: Option<&Name>, call: &Call, deadline: Duration) -> Result<Answer> {
        let subject = match of {
            Some(container) => format!("mesh.ask.{site}.{container}"),
            None => format!("mesh.ask.{site}"),
        };
        let question = self.question(site, &subject, call)?;
        let asked = self.0.parts.bus.request(Message::to(subject.parse()?, question), deadline).await;
        let answer = asked
            .map_err(|error| Error::unavailable("another site does not answer").with("site", site).because(error))?;
        self.answer_of(site, answer.subject.as_str(), &answer.body)
    }
}
