//! The door's private parsers, for the fuzz targets (docs/fuzzing.md): a build without tests and without
//! `cfg(fuzzing)` has no such module. Headers come in as text, so that the web server's types stay in here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::RequestHead;
use actix_web::http::Method;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::authority::Authority;
use super::guard::Guard;
use super::path::{self, Target};
use super::{access, batch, date, digest, headers, objects};
use crate::actors::Push;
use crate::error::Result;
use crate::model::{Address, Condition, Digest, Session, TokenRecord, Version};
use crate::wire;

/// The headers of a request.
pub struct Headers(HeaderMap);

impl Headers {
    /// The headers that these names and values make; those that the web server would refuse are left out.
    pub fn of<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
                map.append(name, value);
            }
        }
        Headers(map)
    }

    /// The push that they describe.
    pub fn push(&self, address: Address) -> Result<Push> {
        headers::push(&self.0, address, Duration::from_secs(1))
    }

    /// What the caller has seen.
    pub fn session(&self) -> Result<Option<Session>> {
        headers::session(&self.0)
    }

    /// What must hold for a read.
    pub fn if_match(&self) -> Result<Condition> {
        headers::if_match(&self.0)
    }

    /// How long the caller waits.
    pub fn deadline(&self) -> Result<Option<Duration>> {
        headers::deadline(&self.0)
    }

    /// Whether the caller has this version.
    pub fn knows(&self, version: Version) -> bool {
        objects::represent::is_known(&self.0, version)
    }

    /// Whose request it is, if it may be made.
    pub fn admit(&self, authority: &dyn Authority, method: &str, path: &str) -> Result<Option<Arc<TokenRecord>>> {
        access::check(authority, &self.0, &method.parse().unwrap_or(Method::GET), path)
    }

    /// Whether no foreign page can have sent it.
    pub fn guard(&self, bound: SocketAddr) -> Result<()> {
        let mut head = RequestHead::default();
        head.headers = self.0.clone();
        Guard::of(bound).check(&head)
    }
}

/// The object that a raw path names, if it names one.
pub fn object(raw: &str) -> Option<Result<Address>> {
    let Target::Object(collection, key) = path::target(raw) else { return None };
    Some(path::name(collection).and_then(|name| Address::new(&name, &path::decode(key)?)))
}

/// The text of a raw piece of a path.
pub fn decode(raw: &str) -> Result<String> {
    path::decode(raw).map(Into::into)
}

/// The pairs of a raw query.
pub fn query(raw: &str) -> Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    path::query(Some(raw), |name, value| {
        pairs.push((name.to_owned(), value));
        Ok(true)
    })?;
    Ok(pairs)
}

/// A digest as headers spell it.
pub fn content_digest(header: &str) -> Result<Digest> {
    digest::parse(header)
}

/// The path that a part of a batch asks for.
pub fn part(head: &wire::Head) -> Result<String> {
    batch::request(head, &RequestHead::default()).map(|head| head.uri.to_string())
}

/// A moment in both spellings.
pub fn moment(ms: u64) -> (String, Vec<u8>) {
    (date::rfc3339(ms), date::imf(ms))
}
