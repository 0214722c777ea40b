//! What a request may ask beside its address: which version, what must hold, what the caller has seen.

use reqwest::RequestBuilder;
use reqwest::header::{HeaderMap, HeaderValue, IF_MATCH, IF_NONE_MATCH};

use crate::error::{Error, Result};
use crate::model::{ByteRange, Condition, Version};

/// What to read.
#[derive(Clone, Debug, Default)]
pub struct ReadOptions {
    /// Only these bytes.
    pub range: Option<ByteRange>,
    /// This version; the newest when `None`.
    pub version: Option<Version>,
    /// What the caller has seen, as an answer told it: the object is not older.
    pub session: Option<String>,
    /// A ticket for this version, in place of a token.
    pub ticket: Option<String>,
}

/// What to delete.
#[derive(Clone, Debug, Default)]
pub struct DeleteOptions {
    /// What must hold for it.
    pub condition: Condition,
    /// What the caller has seen; the answer adds the delete to it.
    pub session: Option<String>,
    /// What proves that a container of the site passes the delete on.
    pub peer: Option<String>,
}

/// The header of `session`, where there is one. The token is the container's own affair: it goes back as it came.
pub(super) fn with_session(request: RequestBuilder, session: Option<&str>) -> Result<RequestBuilder> {
    let Some(session) = session else { return Ok(request) };
    let value = HeaderValue::try_from(session)
        .map_err(|_| Error::invalid("a session token holds letters, digits, - and _").with("session", session))?;
    Ok(request.header("mesh-session", value))
}

/// The header of a ticket, where there is one.
pub(super) fn with_ticket(request: RequestBuilder, ticket: Option<&str>) -> Result<RequestBuilder> {
    let Some(ticket) = ticket else { return Ok(request) };
    let mut value = HeaderValue::try_from(ticket).map_err(|_| Error::invalid("a ticket holds hex digits alone"))?;
    value.set_sensitive(true);
    Ok(request.header("mesh-ticket", value))
}

/// The header of what one container passes on to another, where there is one.
pub(super) fn with_peer(request: RequestBuilder, proof: Option<&str>) -> Result<RequestBuilder> {
    let Some(proof) = proof else { return Ok(request) };
    let mut value = HeaderValue::try_from(proof).map_err(|_| Error::invalid("a ticket holds hex digits alone"))?;
    value.set_sensitive(true);
    Ok(request.header("mesh-peer", value))
}

/// The headers of a condition.
pub(super) fn with_condition(request: RequestBuilder, condition: &Condition) -> RequestBuilder {
    match condition {
        Condition::Always => request,
        Condition::Absent => request.header(IF_NONE_MATCH, "*"),
        Condition::Present => request.header(IF_MATCH, "*"),
        Condition::OneOf(versions) => {
            let tags: Vec<String> = versions.iter().map(|version| format!("\"{version}\"")).collect();
            request.header(IF_MATCH, tags.join(", "))
        }
    }
}

/// The token that an answer carries.
pub(super) fn session_of(headers: &HeaderMap) -> Option<String> {
    headers.get("mesh-session")?.to_str().ok().map(str::to_owned)
}
