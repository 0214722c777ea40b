//! `/api`: the description as a page. All of it is one file of our own; a browser is told to load nothing
//! else, and to run no script but the one that came with the page.

use std::hash::{BuildHasher, RandomState};

use actix_web::HttpResponse;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};

use crate::gateway::reply;

const PAGE: &str = include_str!("page.html");

/// `GET /api`.
pub(in crate::gateway) fn page() -> HttpResponse {
    let nonce = nonce();
    let mut response = HttpResponse::with_body(StatusCode::OK, BoxBody::new(PAGE.replace("{nonce}", &nonce)));
    let headers = response.headers_mut();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    reply::set(headers, CONTENT_SECURITY_POLICY, policy.into_bytes());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// Different for each answer, so that nothing that finds its way into the page runs.
fn nonce() -> String {
    let word = || RandomState::new().hash_one(0u8);
    format!("{:016x}{:016x}", word(), word())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_brings_everything_with_it() {
        for outside in ["src=", "http://", "https://", "@import", "url(", "innerHTML", "onclick=", "style=\""] {
            assert!(!PAGE.contains(outside), "{outside}");
        }
        assert_eq!(
            PAGE.matches("nonce=\"{nonce}\"").count(),
            PAGE.matches("<script").count() + PAGE.matches("<style").count()
        );
        assert_ne!(nonce(), nonce());
    }
}
