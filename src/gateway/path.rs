//! What a path names, and the one decoding of its escapes.
//!
//! The raw path is split first and decoded once, here. `%2F` is a `/` inside a key like any other,
//! since keys may hold `/`. Nothing is folded: `Address` refuses empty, `.` and `..` segments.

use std::borrow::Cow;

use crate::error::{Error, Result};
use crate::model::Name;

/// What the contract names under `/v1/` and at the root, and this step has not built.
const LATER_V1: &[&str] = &["signals", "state", "watch", "keygroups", "functions", "tasks", "call", "endpoints"];
const LATER_ROOT: &[&str] = &["ui"];

/// What a raw path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// An object: the raw collection and the raw key.
    Object(&'a str, &'a str),
    /// Where an object is: the raw collection and the raw key.
    Locate(&'a str, &'a str),
    /// A collection's keys: the raw collection.
    Collection(&'a str),
    /// The policy of a collection: the raw name.
    Policy(&'a str),
    /// Every collection.
    Policies,
    /// A policy of the mesh: the raw name.
    Rule(&'a str),
    /// All of them.
    Rules,
    /// What is owed to the cloud.
    Transfers,
    /// Paying it now.
    Sync,
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Ready,
    /// `/v1/batch`.
    Batch,
    /// `/v1/events`.
    Events,
    /// `/openapi.json`.
    OpenApi,
    /// `/api`.
    Page,
    /// What stands behind `/v1/admin/`.
    Admin(&'a str),
    /// `/metrics`.
    Metrics,
    /// Named by the contract, not built yet.
    Later,
    /// Nothing.
    Unknown,
}

/// What `path` names.
pub(super) fn target(path: &str) -> Target<'_> {
    if let Some(rest) = path.strip_prefix("/v1/objects/") {
        return match rest.split_once('/') {
            Some((collection, key)) => Target::Object(collection, key),
            None => Target::Collection(rest),
        };
    }
    if let Some(rest) = path.strip_prefix("/v1/locate/") {
        // Without a key it is refused where the address is read.
        let (collection, key) = rest.split_once('/').unwrap_or((rest, ""));
        return Target::Locate(collection, key);
    }
    if let Some(rest) = path.strip_prefix("/v1/admin/") {
        return Target::Admin(rest);
    }
    if let Some(target) = listed(path, "/v1/collections", Target::Policies, Target::Policy) {
        return target;
    }
    if let Some(target) = listed(path, "/v1/policies", Target::Rules, Target::Rule) {
        return target;
    }
    let first = |rest: &'_ str, names: &[&str]| rest.split('/').next().is_some_and(|first| names.contains(&first));
    match path {
        "/healthz" => Target::Health,
        "/readyz" => Target::Ready,
        "/v1/transfers" => Target::Transfers,
        "/v1/sync" => Target::Sync,
        "/v1/batch" => Target::Batch,
        "/v1/events" => Target::Events,
        "/metrics" => Target::Metrics,
        "/openapi.json" => Target::OpenApi,
        "/api" => Target::Page,
        _ if path.starts_with("/v1/transfers/") => Target::Later,
        _ => match path.strip_prefix("/v1/") {
            Some(rest) if first(rest, LATER_V1) => Target::Later,
            None if path.strip_prefix('/').is_some_and(|rest| first(rest, LATER_ROOT)) => Target::Later,
            _ => Target::Unknown,
        },
    }
}

/// All at a prefix, or the one that the rest of the path names.
fn listed<'a>(path: &'a str, prefix: &str, all: Target<'a>, one: fn(&'a str) -> Target<'a>) -> Option<Target<'a>> {
    match path.strip_prefix(prefix)? {
        "" | "/" => Some(all),
        rest => {
            let name = rest.strip_prefix('/')?;
            Some(if name.contains('/') { Target::Unknown } else { one(name) })
        }
    }
}

/// A name from its raw path segment.
pub(super) fn name(raw: &str) -> Result<Name> {
    decode(raw)?.parse()
}

/// The text of a raw piece of a path.
pub(super) fn decode(raw: &str) -> Result<Cow<'_, str>> {
    if !raw.bytes().any(|b| b == b'%' || b == 0) {
        return Ok(Cow::Borrowed(raw));
    }
    let bad = |why: &'static str| Error::invalid(why).with("input", raw.escape_default());
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        let byte = if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|b| char::from(b).to_digit(16));
            match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => (high * 16 + low) as u8,
                _ => return Err(bad("a percent sign is followed by two hex digits; write a plain one as %25")),
            }
        } else {
            byte
        };
        if byte == 0 {
            return Err(bad("the path or query holds a NUL; remove it"));
        }
        out.push(byte);
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| bad("the escapes of the path or query are no UTF-8"))
}

/// The pairs of a query, decoded as forms are: `+` is a space. Each name is given to `take`, which
/// says whether it knows it; names that come twice are refused.
pub(super) fn query(raw: Option<&str>, mut take: impl FnMut(&str, String) -> Result<bool>) -> Result<()> {
    let mut seen: Vec<String> = Vec::new();
    for pair in raw.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(&name.replace('+', " "))?.into_owned();
        let value = decode(&value.replace('+', " "))?.into_owned();
        if seen.contains(&name) {
            return Err(Error::invalid("a query parameter may be named once").with("parameter", name.escape_default()));
        }
        if !take(&name, value)? {
            return Err(
                Error::invalid("unknown query parameter; leave it out").with("parameter", name.escape_default())
            );
        }
        seen.push(name);
    }
    Ok(())
}

/// Percent-encoded but for what is never misread, and the slashes inside a key.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_name_targets() {
        assert_eq!(target("/v1/objects/c/a/b"), Target::Object("c", "a/b"));
        assert_eq!(target("/v1/objects/c/"), Target::Object("c", ""));
        assert_eq!(target("/v1/objects/c"), Target::Collection("c"));
        assert_eq!(target("/v1/collections"), Target::Policies);
        assert_eq!(target("/v1/transfers"), Target::Transfers);
        assert_eq!(target("/v1/transfers/1"), Target::Later);
        assert_eq!(target("/v1/sync"), Target::Sync);
        assert_eq!(target("/v1/collections/c"), Target::Policy("c"));
        assert_eq!(target("/healthz"), Target::Health);
        assert_eq!(target("/metrics"), Target::Metrics);
        assert_eq!(target("/v1/batch"), Target::Batch);
        assert_eq!(target("/v1/events"), Target::Events);
        assert_eq!(target("/api"), Target::Page);
        assert_eq!(target("/v1/admin/tiers"), Target::Admin("tiers"));
        assert_eq!(target("/v1/locate/c/a/b"), Target::Locate("c", "a/b"));
        assert_eq!(target("/v1/locate/c"), Target::Locate("c", ""));
        for later in ["/v1/state/k/x", "/ui/x"] {
            assert_eq!(target(later), Target::Later, "{later}");
        }
        for unknown in [
            "/",
            "",
            "*",
            "/v1",
            "/v1/",
            "/v1/objects",
            "/v1/nothing",
            "/v1/locate",
            "/v1/admin",
            "/v1/admins/tiers",
            "/v1/collections/c/d",
            "/v1/batch/x",
            "/healthz/",
            "/v2/objects/c/k",
            "//healthz",
            "/v1/../healthz",
        ] {
            assert_eq!(target(unknown), Target::Unknown, "{unknown}");
        }
    }

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("a%2Fb%20c+d").unwrap(), "a/b c+d");
        assert_eq!(decode("%2541").unwrap(), "%41");
        for bad in ["%", "%4", "%zz", "a%4g", "%00", "%ff", "%+4", "%C3%28"] {
            assert!(decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn queries_are_strict() {
        let names = |raw| {
            let mut out = Vec::new();
            query(Some(raw), |name, value| {
                out.push((name.to_owned(), value));
                Ok(name.len() == 1)
            })
            .map(|()| out)
        };
        assert_eq!(names("a=1+2&b=%2B&").unwrap(), [("a".into(), "1 2".into()), ("b".into(), "+".into())]);
        assert!(names("a=1&a=2").is_err());
        let unknown = names("frob=1").unwrap_err();
        assert_eq!(unknown.context("parameter"), Some("frob"));
    }

    proptest! {
        #[test]
        fn any_text_survives_full_escaping(text in "[^\0]*") {
            let raw: String = text.bytes().map(|b| format!("%{b:02x}")).collect();
            prop_assert_eq!(decode(&raw).unwrap(), text);
        }
    }
}
