//! What a token must allow for which path: the one table of rules.
//!
//! A path that is served and has no rule here is refused, whoever asks. The check looks at the head of
//! a request alone, so a refused body is never read; without a token, where none is required, it
//! costs a few comparisons. The parts of a batch are checked one by one, by the same function.

use std::sync::Arc;

use actix_web::http::Method;
use actix_web::http::header::{AUTHORIZATION, HeaderMap};

use super::authority::Authority;
use super::headers::single;
use super::path::{self, Target};
use crate::error::{Error, Kind, Result};
use crate::model::{Name, Permission, Scope, TokenRecord};

use Permission::{Admin, Metrics, Read, Write};

/// What the paths below a prefix need.
enum Rule {
    /// Nothing: they tell nothing of what is stored.
    Open,
    /// Any token that counts.
    Token,
    /// For reading and for changing, in the collection that the next segment names.
    Named(Permission, Permission),
    /// For reading and for changing, in all collections.
    All(Permission, Permission),
}

const RULES: [(&str, Rule); 21] = [
    ("/v1/objects", Rule::Named(Read, Write)),
    ("/healthz", Rule::Open),
    ("/readyz", Rule::Open),
    ("/metrics", Rule::All(Metrics, Metrics)),
    ("/openapi.json", Rule::Open),
    ("/v1/openapi.json", Rule::Open),
    ("/api", Rule::Open),
    ("/ui", Rule::Token),
    // Each part by its own rule.
    ("/v1/batch", Rule::Token),
    ("/v1/collections", Rule::Named(Read, Admin)),
    ("/v1/locate", Rule::Named(Read, Read)),
    ("/v1/events", Rule::All(Read, Read)),
    ("/v1/policies", Rule::All(Read, Admin)),
    ("/v1/admin", Rule::All(Admin, Admin)),
    ("/v1/signals", Rule::All(Write, Write)),
    ("/v1/sync", Rule::All(Write, Write)),
    ("/v1/transfers", Rule::All(Read, Write)),
    ("/v1/state", Rule::Named(Read, Write)),
    ("/v1/watch", Rule::Named(Read, Read)),
    ("/v1/keygroups", Rule::Named(Read, Admin)),
    ("/v1/endpoints", Rule::All(Read, Admin)),
];

/// What one request needs.
#[derive(Debug, PartialEq, Eq)]
enum Need<'a> {
    Nothing,
    Token,
    /// A permission, in the collection of this raw name or in all.
    Scope(Permission, Option<&'a str>),
}

/// Whose request this is, if its token or the lack of one allows it. A token that is sent is always
/// checked, also where none is required.
pub(super) fn check(
    authority: &dyn Authority,
    headers: &HeaderMap,
    method: &Method,
    path: &str,
) -> Result<Option<Arc<TokenRecord>>> {
    let need = need(method, path)?;
    if need == Need::Nothing {
        return Ok(None);
    }
    let Some(token) = bearer(headers)? else {
        if authority.required() {
            return Err(unauthorised(
                "this container asks for a token; send one as Authorization: Bearer TOKEN, or on a subject as Mesh-Token",
            ));
        }
        return Ok(None);
    };
    let record = authority.identify(token)?;
    if let Need::Scope(permission, raw) = need {
        // A name that cannot be read is refused later; until then it is as good as all collections.
        let collection: Option<Name> = raw.and_then(|raw| path::name(raw).ok());
        if !record.allows(permission, collection.as_ref()) {
            let why = "the token's scopes do not reach this far; ask for a token with the scope that is needed";
            let error = Error::new(Kind::Forbidden, why).with("needs", Scope { permission, collection });
            return Err(error.with("token", record.id));
        }
    }
    Ok(Some(record))
}

/// Whether nothing is asked of those who read this path, so that a watchman is never turned away.
pub(super) fn is_open(path: &str) -> bool {
    matches!(need(&Method::GET, path), Ok(Need::Nothing))
}

/// Whether the request is one that administers: a change that needs the permission to.
pub(super) fn administers(method: &Method, path: &str) -> bool {
    !reads(method) && matches!(need(method, path), Ok(Need::Scope(Admin, _)))
}

fn need<'a>(method: &Method, path: &'a str) -> Result<Need<'a>> {
    let below = |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let Some((rule, rest)) = RULES.iter().find_map(|(prefix, rule)| Some((rule, below(prefix)?))) else {
        return match path::target(path) {
            // There is nothing to be had here; whoever may know that gets 404 or 501.
            Target::Unknown | Target::Later => Ok(Need::Token),
            _ => Err(Error::new(Kind::Forbidden, "no rule says who may use this path, so nobody may")),
        };
    };
    let pick = |reading: Permission, changing: Permission| if reads(method) { reading } else { changing };
    Ok(match *rule {
        Rule::Open => Need::Nothing,
        Rule::Token => Need::Token,
        Rule::All(reading, changing) => Need::Scope(pick(reading, changing), None),
        Rule::Named(reading, changing) => {
            let name = rest.strip_prefix('/').and_then(|rest| rest.split('/').next()).filter(|name| !name.is_empty());
            Need::Scope(pick(reading, changing), name)
        }
    })
}

fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// The token that was sent. What stands in its place and is none is `unauthorised`, never ignored.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>> {
    if !headers.contains_key(AUTHORIZATION) {
        return Ok(None);
    }
    let bad = || unauthorised("the Authorization header is not understood; send Authorization: Bearer TOKEN, once");
    let value = single(headers, &AUTHORIZATION).ok().flatten().ok_or_else(bad)?;
    let (scheme, token) = value.split_once(' ').ok_or_else(bad)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(Some(token.trim_start())) } else { Err(bad()) }
}

fn unauthorised(why: &'static str) -> Error {
    Error::new(Kind::Unauthorised, why)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::control::{NewToken, Secret};
    use crate::model::TokenId;

    /// Knows one token, `good`, with these scopes.
    struct Fake(bool, Vec<Scope>);

    impl Authority for Fake {
        fn required(&self) -> bool {
            self.0
        }

        fn identify(&self, token: &str) -> Result<Arc<TokenRecord>> {
            if token != "good" {
                return Err(unauthorised("unknown"));
            }
            Ok(Arc::new(TokenRecord {
                id: TokenId([1; 8]),
                subject: "ada".into(),
                groups: Vec::new(),
                scopes: self.1.clone(),
                hash: [0; 32],
                root: false,
                created_ms: 0,
                expires_ms: None,
                revoked_ms: None,
            }))
        }

        fn create_token(&self, _: NewToken) -> BoxFuture<'static, Result<(TokenRecord, Secret)>> {
            unreachable!()
        }

        fn tokens(&self) -> Vec<(Arc<TokenRecord>, bool)> {
            Vec::new()
        }

        fn revoke_token(&self, _: TokenId) -> BoxFuture<'static, Result<()>> {
            unreachable!()
        }
    }

    fn ask(required: bool, scopes: &[&str], sent: Option<&str>, method: Method, path: &str) -> Option<Kind> {
        let fake = Fake(required, scopes.iter().map(|scope| scope.parse().unwrap()).collect());
        let request = sent.into_iter().fold(TestRequest::get(), |r, sent| r.insert_header(("authorization", sent)));
        let request = request.to_http_request();
        check(&fake, request.headers(), &method, path).err().map(|error| error.kind())
    }

    /// One path of each kind that the door serves. A new kind of target does not compile until it has a
    /// path here, and this test fails until that path has a rule.
    #[test]
    fn every_path_that_is_served_has_a_rule() {
        let sample = |target: &Target<'_>| match target {
            Target::Object(..) | Target::Collection(_) | Target::Locate(..) => true,
            Target::Policy(_) | Target::Policies | Target::Rule(_) | Target::Rules | Target::Admin(_) => true,
            Target::Health | Target::Ready | Target::Metrics | Target::OpenApi | Target::Page => true,
            Target::Transfers | Target::Sync | Target::Batch | Target::Events => true,
            Target::Later | Target::Unknown => false,
        };
        for served in [
            "/v1/objects/c/k",
            "/v1/objects/c",
            "/v1/locate/c/k",
            "/v1/collections",
            "/v1/collections/c",
            "/v1/admin/tokens",
            "/v1/admin/tokens/x",
            "/v1/transfers",
            "/v1/sync",
            "/v1/batch",
            "/v1/events",
            "/metrics",
            "/openapi.json",
            "/api",
            "/healthz",
            "/readyz",
        ] {
            assert!(sample(&path::target(served)), "{served}");
            assert!(RULES.iter().any(|(prefix, _)| served.starts_with(prefix)), "{served}");
            assert!(need(&Method::GET, served).is_ok() && need(&Method::POST, served).is_ok(), "{served}");
        }
    }

    #[test]
    fn what_is_open_needs_nothing_and_all_else_a_token_where_one_is_required() {
        for open in ["/healthz", "/readyz", "/openapi.json", "/api"] {
            assert_eq!(ask(true, &[], None, Method::GET, open), None, "{open}");
        }
        for closed in ["/metrics", "/v1/objects/c", "/v1/objects/c/k", "/v1/admin/tiers", "/v1/batch", "/nothing", "/"]
        {
            assert_eq!(ask(true, &[], None, Method::GET, closed), Some(Kind::Unauthorised), "{closed}");
            assert_eq!(ask(false, &[], None, Method::GET, closed), None, "{closed}");
        }
    }

    #[test]
    fn a_token_that_is_sent_is_checked_also_where_none_is_required() {
        for sent in ["Bearer bad", "Bearer", "Bearer ", "Basic good", "good", ""] {
            let kind = ask(false, &["read"], Some(sent), Method::GET, "/v1/objects/c/k");
            assert_eq!(kind, Some(Kind::Unauthorised), "{sent}");
        }
        for sent in ["Bearer good", "bearer good", "BEARER  good"] {
            assert_eq!(ask(false, &["read"], Some(sent), Method::GET, "/v1/objects/c/k"), None, "{sent}");
        }
    }

    #[test]
    fn each_operation_needs_its_own_scope() {
        let (get, put) = (Method::GET, Method::PUT);
        for (scope, method, path, may) in [
            ("read:c", &get, "/v1/objects/c/k", true),
            ("read:c", &get, "/v1/objects/%63/k", true),
            ("read:c", &get, "/v1/objects/c", true),
            ("read:c", &get, "/v1/objects/d/k", false),
            ("read:c", &get, "/v1/objects/d%2f../c", false),
            ("read:c", &get, "/v1/objects/", false),
            ("read:c", &put, "/v1/objects/c/k", false),
            ("write:c", &put, "/v1/objects/c/k", true),
            ("write:c", &get, "/v1/objects/c/k", false),
            ("write", &Method::DELETE, "/v1/objects/c/k", true),
            ("read", &get, "/v1/admin/tiers", false),
            ("admin:c", &get, "/v1/admin/tiers", false),
            ("admin", &get, "/v1/admin/tiers", true),
            ("admin", &Method::POST, "/v1/admin/tokens", true),
            ("admin", &get, "/v1/objects/c/k", false),
            ("read:c", &get, "/v1/locate/c/k", true),
            ("read:c", &get, "/v1/locate/d/k", false),
            ("write:c", &get, "/v1/locate/c/k", false),
            ("admin", &get, "/v1/locate/c/k", false),
            ("read:c", &get, "/v1/collections/c", true),
            ("write:c", &put, "/v1/collections/c", false),
            ("admin:c", &put, "/v1/collections/c", true),
            ("admin:c", &get, "/v1/collections", false),
            ("read:c", &get, "/v1/events", false),
            ("read", &get, "/metrics", false),
            ("metrics", &get, "/metrics", true),
            ("metrics", &get, "/v1/objects/c", false),
            ("read:c", &Method::POST, "/v1/batch", true),
            ("read:c", &get, "/nothing", true),
        ] {
            let kind = ask(true, &[scope], Some("Bearer good"), method.clone(), path);
            assert_eq!(kind, (!may).then_some(Kind::Forbidden), "{scope} {method} {path}");
        }
    }

    #[test]
    fn a_refusal_names_the_scope_that_would_do() {
        let fake = Fake(true, vec!["read:c".parse().unwrap()]);
        let request = TestRequest::get().insert_header(("authorization", "Bearer good")).to_http_request();
        let error = check(&fake, request.headers(), &Method::PUT, "/v1/objects/meteo/k").unwrap_err();
        assert_eq!(error.context("needs"), Some("write:meteo"));
    }
}
