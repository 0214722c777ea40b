//! Small answers: JSON, and the header values of versions and digests, written without a formatter
//! because every read carries them.

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use bytes::Bytes;
use serde::Serialize;

use crate::model::{Digest, Version, push_hex};

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// An answer that is one JSON value.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> HttpResponse {
    let mut response = HttpResponse::with_body(status, BoxBody::new(to_json(value)));
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// The text of a value whose serialisation cannot fail: structs with plain names and fields.
pub(super) fn to_json(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// The version in quotes.
pub(super) fn etag(version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(35);
    out.push(b'"');
    push_version(&mut out, version);
    out.push(b'"');
    out
}

/// The version as it is.
pub(super) fn version(version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(33);
    push_version(&mut out, version);
    out
}

/// `blake3:<hex>` or `sha256:<hex>`.
pub(super) fn digest(digest: &Digest) -> Vec<u8> {
    let mut out = Vec::with_capacity(71);
    out.extend_from_slice(digest.kind.name().as_bytes());
    out.push(b':');
    push_hex(&mut out, &digest.bytes);
    out
}

/// A header value that takes the bytes over; `None` when a header cannot hold them.
pub(super) fn value(bytes: Vec<u8>) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(bytes)).ok()
}

/// Sets a header, unless its value is one that no header can hold: then it is left out, since the
/// rest of the answer is still true.
pub(super) fn set(headers: &mut HeaderMap, name: impl Into<actix_web::http::header::HeaderName>, bytes: Vec<u8>) {
    if let Some(value) = value(bytes) {
        headers.insert(name.into(), value);
    }
}

fn push_version(out: &mut Vec<u8>, version: Version) {
    push_hex(out, &version.time.to_be_bytes());
    out.push(b'-');
    push_hex(out, &version.container.0.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{ContainerId, DigestKind};

    proptest! {
        #[test]
        fn values_read_as_the_model_writes_them(time: u64, container: u64, bytes: [u8; 32]) {
            let v = Version { time, container: ContainerId(container) };
            let d = Digest { kind: DigestKind::Sha256, bytes };
            prop_assert_eq!(version(v), v.to_string().into_bytes());
            prop_assert_eq!(etag(v), format!("\"{v}\"").into_bytes());
            prop_assert_eq!(digest(&d), d.to_string().into_bytes());
        }
    }
}
