//! What a read says about an object in its headers, and the conditions a read may carry.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    ACCEPT_RANGES, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName, HeaderValue,
    IF_NONE_MATCH, LAST_MODIFIED, X_CONTENT_TYPE_OPTIONS,
};

use crate::gateway::{date, headers, reply};
use crate::model::{Durability, Level, Manifest, Version};

/// The type of an object whose pusher named none.
pub(super) const CONTENT_TYPE_DEFAULT: &str = "application/octet-stream";

/// An answer without a body that describes the object.
pub(super) fn describe(status: StatusCode, manifest: &Manifest, level: Level) -> HttpResponse {
    let mut response = HttpResponse::new(status);
    let out = response.headers_mut();
    out.reserve(12 + manifest.meta.len());
    reply::set(out, ETAG, reply::etag(manifest.version));
    reply::set(out, headers::MESH_VERSION.clone(), reply::version(manifest.version));
    reply::set(out, headers::MESH_DIGEST.clone(), reply::digest(&manifest.digest));
    reply::set(out, LAST_MODIFIED, date::imf(manifest.modified_ms));
    if let Some(end) = manifest.expires_ms {
        reply::set(out, EXPIRES, date::imf(end));
    }
    out.insert(headers::MESH_DURABILITY.clone(), durability(manifest.durability));
    out.insert(headers::MESH_LEVEL.clone(), HeaderValue::from_static(level.name()));
    out.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    out.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A stored page shares this door's origin: without a sandbox its scripts could use every object.
    out.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    let named = manifest.content_type.as_deref().and_then(|named| HeaderValue::from_str(named).ok());
    out.insert(CONTENT_TYPE, named.unwrap_or(HeaderValue::from_static(CONTENT_TYPE_DEFAULT)));
    for (name, value) in &manifest.meta {
        if let Ok(name) = HeaderName::try_from(format!("{}{name}", headers::META_PREFIX)) {
            reply::set(out, name, value.clone().into_bytes());
        }
    }
    response
}

/// The class as a header value.
pub(super) fn durability(class: Durability) -> HeaderValue {
    HeaderValue::from_static(class.name())
}

/// Whether `If-None-Match` names this version: the caller has it already.
pub(in crate::gateway) fn is_known(headers: &HeaderMap, version: Version) -> bool {
    let mut values = headers.get_all(IF_NONE_MATCH).peekable();
    if values.peek().is_none() {
        return false;
    }
    let etag = reply::etag(version);
    values.flat_map(|value| value.as_bytes().split(|b| *b == b',')).map(<[u8]>::trim_ascii).any(|tag| {
        // The comparison is the weak one: a proxy may have marked the tag on its way.
        tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag
    })
}
