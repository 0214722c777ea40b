//! The headers of the contract: their names, what they may hold, and what a push takes from them.
//!
//! A header that the contract names and this step cannot do is refused, never ignored: a caller who
//! asked for a condition must not get an unconditional answer.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderName, IF_MATCH, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE, TRANSFER_ENCODING,
};

use super::digest;
use crate::actors::Push;
use crate::error::{Error, Result};
use crate::limits::{CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX};
use crate::model::{Address, Condition, Mode, NfrOverride, Session};

macro_rules! names {
    ($($(#[$doc:meta])* $constant:ident = $name:literal;)*) => {
        $($(#[$doc])* pub(super) static $constant: HeaderName = HeaderName::from_static($name);)*
    };
}

names! {
    CONTENT_DIGEST = "content-digest";
    LAST_EVENT_ID = "last-event-id";
    MESH_DEADLINE_MS = "mesh-deadline-ms";
    MESH_DIGEST = "mesh-digest";
    MESH_DURABILITY = "mesh-durability";
    MESH_INCOMPLETE = "mesh-incomplete";
    MESH_LEVEL = "mesh-level";
    MESH_MODE = "mesh-mode";
    MESH_NFR = "mesh-nfr";
    MESH_PEER = "mesh-peer";
    MESH_SESSION = "mesh-session";
    MESH_TICKET = "mesh-ticket";
    MESH_UNASKED = "mesh-unasked";
    MESH_TTL_S = "mesh-ttl-s";
    MESH_VERSION = "mesh-version";
}

/// What a header of the pusher's own metadata starts with.
pub(super) const META_PREFIX: &str = "mesh-meta-";

/// The longest life a request can name: a hundred years.
const TTL_S_MAX: u64 = 100 * 365 * 24 * 3600;

/// Versions that one `If-Match` may name.
const IF_MATCH_MAX: usize = 64;

/// The longest a caller may wait.
const DEADLINE_MS_MAX: u64 = 600_000;

/// The value of a header that may come once; `None` when it did not come.
pub(super) fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>> {
    let mut values = headers.get_all(name);
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid("this header may be sent once").with("header", name));
    }
    text(name, value.as_bytes()).map(Some)
}

fn text<'a>(name: &HeaderName, value: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(value)
        .map(str::trim)
        .map_err(|_| Error::invalid("this header is no UTF-8 text").with("header", name))
}

/// Refuses the headers in `names` that the request carries.
pub(super) fn refuse_later(headers: &HeaderMap, names: &[&HeaderName]) -> Result<()> {
    match names.iter().find(|name| headers.contains_key(**name)) {
        None => Ok(()),
        Some(name) => Err(Error::unimplemented("this header is not built yet; leave it out").with("header", name)),
    }
}

/// Refuses a date as a condition: two changes may share a second, so only versions can be told apart.
pub(super) fn check_change(headers: &HeaderMap) -> Result<()> {
    refuse_later(headers, &[&IF_UNMODIFIED_SINCE])
}

/// What the caller has seen so far.
pub(super) fn session(headers: &HeaderMap) -> Result<Option<Session>> {
    single(headers, &MESH_SESSION)?.map(str::parse).transpose()
}

/// Whether what another container keeps is copied here, where the caller says so.
pub(super) fn mode(headers: &HeaderMap) -> Result<Option<Mode>> {
    single(headers, &MESH_MODE)?.map(str::parse).transpose()
}

/// What must hold for a change: `If-Match` names versions or `*`, `If-None-Match` takes `*` alone.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition> {
    if headers.contains_key(IF_NONE_MATCH) {
        return match single(headers, &IF_NONE_MATCH)? {
            Some("*") if !headers.contains_key(IF_MATCH) => Ok(Condition::Absent),
            Some("*") => Err(Error::invalid("If-Match and If-None-Match cannot both hold; send one of them")),
            other => Err(Error::invalid("If-None-Match of a change takes * alone: only if nothing is there")
                .with("if-none-match", other.unwrap_or_default().escape_default())),
        };
    }
    if_match(headers)
}

/// The versions that `If-Match` names.
pub(super) fn if_match(headers: &HeaderMap) -> Result<Condition> {
    let Some(text) = single(headers, &IF_MATCH)? else { return Ok(Condition::Always) };
    if text == "*" {
        return Ok(Condition::Present);
    }
    let bad = || {
        Error::invalid("If-Match names versions in quotes, as the ETag has them, or *")
            .with("if-match", text.escape_default())
    };
    // A weak tag, or one of another making, is no version of ours and can match nothing.
    let version = |tag: &str| tag.trim().strip_prefix('"')?.strip_suffix('"')?.parse().ok();
    let versions: Option<Vec<_>> = text.split(',').take(IF_MATCH_MAX + 1).map(version).collect();
    versions.filter(|versions| versions.len() <= IF_MATCH_MAX).map(Condition::OneOf).ok_or_else(bad)
}

fn ttl(headers: &HeaderMap) -> Result<Option<u64>> {
    let Some(text) = single(headers, &MESH_TTL_S)? else { return Ok(None) };
    let plain = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(seconds @ 1..=TTL_S_MAX) if plain => Ok(Some(seconds)),
        _ => Err(Error::invalid("a time to live is 1 to 3153600000 seconds").with("mesh-ttl-s", text.escape_default())),
    }
}

/// How long the caller waits, where it says so.
pub(super) fn deadline(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = single(headers, &MESH_DEADLINE_MS)? else { return Ok(None) };
    match value.parse() {
        Ok(ms @ 1..=DEADLINE_MS_MAX) if value.bytes().all(|b| b.is_ascii_digit()) => {
            Ok(Some(Duration::from_millis(ms)))
        }
        _ => {
            Err(Error::invalid("a deadline is 1 to 600000 milliseconds")
                .with("mesh-deadline-ms", value.escape_default()))
        }
    }
}

/// The push that the headers of an upload describe.
pub(super) fn push(headers: &HeaderMap, address: Address, deadline: Duration) -> Result<Push> {
    check_change(headers)?;
    if headers.contains_key(CONTENT_RANGE) {
        return Err(Error::invalid("an object is written whole; leave out Content-Range"));
    }
    if single(headers, &CONTENT_ENCODING)?.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Error::unimplemented(
            "the encoding of a body is not kept; send the plain bytes without Content-Encoding",
        ));
    }
    let nfr = match single(headers, &MESH_NFR)? {
        Some(text) => text.parse()?,
        None => NfrOverride::default(),
    };
    Ok(Push {
        durability: single(headers, &MESH_DURABILITY)?.map(str::parse).transpose()?,
        nfr,
        content_type: content_type(headers)?,
        meta: meta(headers)?,
        expect: single(headers, &CONTENT_DIGEST)?.map(digest::parse).transpose()?,
        size: size(headers)?,
        condition: condition(headers)?,
        ttl_s: ttl(headers)?,
        after: session(headers)?.and_then(|session| session.wants(&address)),
        // What it proves was checked before.
        passed_on: headers.contains_key(&MESH_PEER),
        deadline,
        address,
    })
}

/// The length of the body where it is known; a request without body and length pushes nothing.
pub(super) fn size(headers: &HeaderMap) -> Result<Option<u64>> {
    let bad = || Error::invalid("the content length is no number below 2^64");
    match single(headers, &CONTENT_LENGTH)? {
        Some(length) if headers.contains_key(TRANSFER_ENCODING) => {
            Err(Error::invalid("send Content-Length or Transfer-Encoding, not both")
                .with("content-length", length.escape_default()))
        }
        Some(length) => length.parse().map(Some).map_err(|_| bad()),
        None if headers.contains_key(TRANSFER_ENCODING) => Ok(None),
        None => Ok(Some(0)),
    }
}

fn content_type(headers: &HeaderMap) -> Result<Option<String>> {
    match single(headers, &CONTENT_TYPE)? {
        Some(text) if text.len() > CONTENT_TYPE_BYTES_MAX => {
            Err(Error::invalid("a content type has at most 255 bytes").with("content-type", text.escape_default()))
        }
        other => Ok(other.filter(|text| !text.is_empty()).map(str::to_owned)),
    }
}

fn meta(headers: &HeaderMap) -> Result<BTreeMap<String, String>> {
    let mut out = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in headers {
        let Some(key) = name.as_str().strip_prefix(META_PREFIX) else { continue };
        let value = text(name, value.as_bytes())?;
        if key.is_empty() {
            return Err(Error::invalid("metadata needs a name after Mesh-Meta-"));
        }
        bytes += key.len() + value.len();
        if bytes > META_BYTES_MAX {
            return Err(Error::too_large(
                "metadata has at most 8192 bytes, names and values together; put more into the object",
            ));
        }
        if out.insert(key.to_owned(), value.to_owned()).is_some() {
            return Err(Error::invalid("this header may be sent once").with("header", name));
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;
    use crate::error::Kind;

    fn pushed(headers: &[(&str, &str)]) -> Result<Push> {
        let request =
            headers.iter().fold(TestRequest::put(), |request, header| request.append_header(*header)).to_http_request();
        push(request.headers(), "c/k".parse().unwrap(), Duration::from_secs(1))
    }

    #[test]
    fn a_push_takes_all_it_is_told() {
        let push = pushed(&[
            ("content-length", "7"),
            ("content-type", "text/csv"),
            ("mesh-durability", "ram"),
            ("mesh-nfr", "encrypt=none"),
            ("mesh-meta-from", "édge"),
            ("mesh-meta-row-count", " 3 "),
        ])
        .unwrap();
        assert_eq!((push.size, push.content_type.as_deref()), (Some(7), Some("text/csv")));
        assert_eq!(push.durability, Some(crate::model::Durability::Ram));
        assert_eq!(push.nfr.encrypt, Some(crate::model::Encryption::None));
        assert_eq!(push.meta, BTreeMap::from([("from".into(), "édge".into()), ("row-count".into(), "3".into())]));
        assert_eq!(pushed(&[("transfer-encoding", "chunked")]).unwrap().size, None);
        assert_eq!(pushed(&[("if-none-match", "*")]).unwrap().condition, Condition::Absent);
        assert_eq!(pushed(&[("if-match", "*")]).unwrap().condition, Condition::Present);
        let version = "0000000000000001-0000000000000002";
        let tags = format!("\"{version}\", \"{version}\"");
        let named = Condition::OneOf(vec![version.parse().unwrap(); 2]);
        assert_eq!(pushed(&[("if-match", &tags)]).unwrap().condition, named);
        assert_eq!(pushed(&[("mesh-ttl-s", "60")]).unwrap().ttl_s, Some(60));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let long = "x".repeat(META_BYTES_MAX + 1);
        let wide = "x".repeat(CONTENT_TYPE_BYTES_MAX + 1);
        for (headers, kind) in [
            (vec![("if-match", "\"x\"")], Kind::Invalid),
            (vec![("if-match", "W/\"0000000000000001-0000000000000001\"")], Kind::Invalid),
            (vec![("if-none-match", "\"x\"")], Kind::Invalid),
            (vec![("if-none-match", "*"), ("if-match", "*")], Kind::Invalid),
            (vec![("if-unmodified-since", "Sat, 21 Nov 2026 01:44:55 GMT")], Kind::Unimplemented),
            (vec![("mesh-ttl-s", "0")], Kind::Invalid),
            (vec![("mesh-ttl-s", "+1")], Kind::Invalid),
            (vec![("mesh-durability", "cloud")], Kind::Unimplemented),
            (vec![("content-encoding", "gzip")], Kind::Unimplemented),
            (vec![("mesh-durability", "stone")], Kind::Invalid),
            (vec![("mesh-durability", "ram"), ("mesh-durability", "disk")], Kind::Invalid),
            (vec![("content-length", "1"), ("transfer-encoding", "chunked")], Kind::Invalid),
            (vec![("content-range", "bytes 0-1/2")], Kind::Invalid),
            (vec![("content-type", wide.as_str())], Kind::Invalid),
            (vec![("mesh-meta-", "x")], Kind::Invalid),
            (vec![("mesh-meta-a", "x"), ("mesh-meta-a", "y")], Kind::Invalid),
            (vec![("mesh-meta-a", long.as_str())], Kind::TooLarge),
        ] {
            assert_eq!(pushed(&headers).unwrap_err().kind(), kind, "{headers:?}");
        }
    }

    #[test]
    fn deadlines_have_bounds() {
        let told = |value: &str| {
            deadline(TestRequest::get().append_header(("mesh-deadline-ms", value)).to_http_request().headers())
        };
        assert_eq!(told("1").unwrap(), Some(Duration::from_millis(1)));
        assert_eq!(told("600000").unwrap(), Some(Duration::from_secs(600)));
        for bad in ["0", "600001", "-1", "+1", "1s", "", "99999999999999999999"] {
            assert!(told(bad).is_err(), "{bad}");
        }
    }
}
