//! One line for each administrative action: who asked for what, of what, and what came of it. Refused
//! attempts are among them.
//!
//! Lines go to the log under the target `audit`, whatever its level; the latest are kept in memory for
//! the admin door. No line holds a secret: bodies are not looked at, and a token that was put into a
//! path is cut.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::server::Shared;
use super::{access, date, reply};
use crate::error::Result;
use crate::limits::{AUDIT_LINES_MAX, AUDIT_PATH_CHARS_MAX};
use crate::model::{Clock, SystemClock, TokenRecord};

/// What every token begins with.
const TOKEN_START: &str = "ms1_";

/// The latest lines.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<VecDeque<Line>>);

/// What an answer adds to its line.
#[derive(Clone, Debug)]
pub(super) struct Note(pub(super) String);

#[derive(Clone, Debug, Serialize)]
struct Line {
    at: String,
    /// Whose token it was; nobody's where none was sent or needed.
    subject: Option<String>,
    token: Option<String>,
    peer: Option<String>,
    action: String,
    on: String,
    status: u16,
    note: Option<String>,
}

/// An action whose outcome is not known yet.
pub(super) struct Begun(Line);

/// The line of a request, if it is one that administers.
pub(super) fn begin(request: &HttpRequest, admitted: &Result<Option<Arc<TokenRecord>>>) -> Option<Begun> {
    let (method, path) = (request.method(), request.uri().path());
    access::administers(method, path).then(|| {
        let record = admitted.as_ref().ok().and_then(Option::as_ref);
        // A token that counts and does not reach so far is named in the refusal.
        let refused = admitted.as_ref().err().and_then(|error| error.context("token")).map(str::to_owned);
        Begun(Line {
            at: date::rfc3339(SystemClock.now_ms()),
            subject: record.map(|record| record.subject.clone()),
            token: record.map(|record| record.id.to_string()).or(refused),
            peer: request.peer_addr().map(|addr| addr.ip().to_string()),
            action: method.to_string(),
            on: without_tokens(path),
            status: 0,
            note: None,
        })
    })
}

impl Audit {
    /// Says how an action ended.
    pub(super) fn end(&self, begun: Option<Begun>, response: &HttpResponse) {
        let Some(Begun(mut line)) = begun else { return };
        line.status = response.status().as_u16();
        line.note = response.extensions().get::<Note>().map(|note| note.0.clone());
        tracing::info!(
            target: "audit",
            subject = line.subject.as_deref(),
            token = line.token.as_deref(),
            peer = line.peer.as_deref(),
            action = line.action,
            on = line.on,
            status = line.status,
            note = line.note.as_deref(),
            "administered"
        );
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= AUDIT_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

/// The latest lines, the newest first.
pub(super) fn show(door: &Shared) -> HttpResponse {
    let lines = door.audit.0.lock().unwrap_or_else(PoisonError::into_inner);
    let latest: Vec<Line> = lines.iter().rev().cloned().collect();
    drop(lines);
    reply::json(StatusCode::OK, &std::collections::BTreeMap::from([("audit", latest)]))
}

/// The path, in bounds, and of a token in it the name alone.
fn without_tokens(path: &str) -> String {
    let segments = path.split('/').map(|segment| match segment.find(TOKEN_START) {
        Some(at) => format!("{}{TOKEN_START}…", segment.get(..at).unwrap_or_default()),
        None => segment.escape_default().to_string(),
    });
    segments.collect::<Vec<_>>().join("/").chars().take(AUDIT_PATH_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::TestRequest;

    use super::*;

    fn asked(method: Method, path: &str) -> Option<Begun> {
        begin(&TestRequest::default().method(method).uri(path).to_http_request(), &Ok(None))
    }

    #[test]
    fn changes_that_need_admin_leave_a_line_and_others_none() {
        assert!(asked(Method::POST, "/v1/admin/tokens").is_some() && asked(Method::PUT, "/v1/collections/c").is_some());
        assert!(asked(Method::GET, "/v1/admin/tokens").is_none() && asked(Method::PUT, "/v1/objects/c/k").is_none());
    }

    #[test]
    fn the_latest_lines_are_kept_and_no_token_is_among_them() {
        let audit = Audit::default();
        for n in 0..AUDIT_LINES_MAX + 5 {
            let path = format!("/v1/admin/tokens/ms1_0123456789abcdef_{n}");
            audit.end(asked(Method::DELETE, &path), &HttpResponse::new(StatusCode::NO_CONTENT));
        }
        let lines = audit.0.lock().unwrap();
        assert_eq!(lines.len(), AUDIT_LINES_MAX);
        assert!(lines.iter().all(|line| line.on == "/v1/admin/tokens/ms1_…" && line.status == 204), "{lines:?}");
    }
}
