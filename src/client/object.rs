//! What a container says about objects: in the headers of one, in the items of a list.

use std::collections::BTreeMap;

use reqwest::header::{CONTENT_TYPE, EXPIRES, HeaderMap, LAST_MODIFIED};
use serde::{Deserialize, Serialize};

use super::answer::strange;
use super::options::session_of;
use crate::error::Result;
use crate::model::{Digest, Version};

/// What is known of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Object {
    /// Its version.
    #[serde(with = "as_text")]
    pub version: Version,
    /// Plain bytes of the whole object.
    pub size: u64,
    /// Of the plain bytes.
    #[serde(with = "as_text")]
    pub digest: Digest,
    /// The class it was acknowledged with. A text, so that classes of newer containers can be shown.
    pub durability: Option<String>,
    /// Where it was found: `ram`, `disk` or what newer containers have.
    pub level: Option<String>,
    /// As the pusher named it.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// When it was pushed, as HTTP writes dates.
    pub modified: Option<String>,
    /// When it ends by itself, if it does.
    pub expires: Option<String>,
    /// The pusher's own metadata.
    pub meta: BTreeMap<String, String>,
    /// What the session has seen now, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
}

/// The acknowledgement of a delete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// The version of the delete; `None` when there was nothing to delete.
    pub version: Option<String>,
    /// What the session has seen now.
    pub session: Option<String>,
}

/// Reads the headers of the answer to a delete.
pub(super) fn deleted(headers: &HeaderMap) -> Deleted {
    let version = headers.get("mesh-version").and_then(|version| version.to_str().ok()).map(str::to_owned);
    Deleted { version, session: session_of(headers) }
}

/// Reads the headers of an answer about one object. `size` is that of the whole object.
pub(super) fn of_headers(headers: &HeaderMap, size: Option<u64>) -> Result<Object> {
    let text = |name: &str| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let version = text("mesh-version").and_then(|version| version.parse().ok());
    let digest = text("mesh-digest").and_then(|digest| digest.parse().ok());
    let meta = headers.iter().filter_map(|(name, value)| {
        let name = name.as_str().strip_prefix("mesh-meta-")?;
        Some((name.to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
    });
    Ok(Object {
        version: version.ok_or_else(|| strange("Mesh-Version is missing"))?,
        size: size.ok_or_else(|| strange("the length is missing"))?,
        digest: digest.ok_or_else(|| strange("Mesh-Digest is missing"))?,
        durability: text("mesh-durability"),
        level: text("mesh-level"),
        content_type: text(CONTENT_TYPE.as_str()),
        modified: text(LAST_MODIFIED.as_str()),
        expires: text(EXPIRES.as_str()),
        meta: meta.collect(),
        session: session_of(headers),
    })
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// The key inside the collection.
    pub key: String,
    /// Its version.
    #[serde(with = "as_text")]
    pub version: Version,
    /// Plain bytes.
    pub size: u64,
    /// Of the plain bytes.
    #[serde(with = "as_text")]
    pub digest: Digest,
    /// As the pusher named it.
    #[serde(rename = "type")]
    pub content_type: Option<String>,
    /// When it was pushed (RFC 3339, UTC).
    pub modified: String,
    /// The fastest level that holds it.
    pub level: String,
}

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct ListPage {
    /// In byte order of the keys.
    pub items: Vec<Item>,
    /// Ask with `after` set to this for the rest; `None` when this was the last page.
    pub next: Option<String>,
    /// Whether the container lost records, so that entries may be missing.
    #[serde(skip)]
    pub incomplete: bool,
}

/// Versions and digests travel as the text that users see.
pub(super) mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T: FromStr<Err: Display>, D: Deserializer<'de>>(deserializer: D) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
