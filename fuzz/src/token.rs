//! Tokens: what is presented in the first line (`#1` to `#4` stand for tokens that are known), then method and path,
//! a subject, and a scope in each further line.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use meshstore::control::{NewToken, Secret, Tokens};
use meshstore::gateway::Authority;
use meshstore::gateway::fuzzing::Headers;
use meshstore::model::{ManualClock, Name, Permission, Scope, SeededRng, TokenId, TokenRecord, check_bearer};
use meshstore::{Kind, Result};

use super::common::{Input, fine, presentable};

/// The tokens of a container: one that reads a collection, one that reads all, one that has ended, a root.
struct Known {
    tokens: Tokens,
    secrets: Vec<Secret>,
}

const NOW_MS: u64 = 1_000_000;

/// A token counts if it is, letter by letter, one that is known and has not ended; nothing repeats what was
/// presented; a request is let in only where a scope of its token reaches; a scope is what it shows.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (mut shown, request, subject) = (input.text(), input.text(), input.text());
    let known = known();
    for (at, secret) in known.secrets.iter().enumerate() {
        shown = shown.replace(&format!("#{}", at + 1), secret.expose());
    }
    presented(&known, &shown);
    let (method, path) = request.split_once(' ').unwrap_or(("GET", &request));
    let method = ["GET", "HEAD", "PUT", "DELETE"].into_iter().find(|known| *known == method).unwrap_or("POST");
    asked(&known, &shown, method, path);
    let mut scopes = Vec::new();
    while !input.0.is_empty() && scopes.len() < 80 {
        scopes.extend(scope(&input.text()));
    }
    drafted(&known, subject, scopes);
}

fn known() -> Known {
    let rng = SeededRng::new(11);
    let tokens = Tokens::new(Arc::new(ManualClock::at(NOW_MS)), Vec::new());
    let mut secrets = Vec::new();
    let new = |scope: &str| NewToken {
        subject: "ada".to_owned(),
        groups: Vec::new(),
        scopes: vec![scope.parse().unwrap()],
        expires_in_ms: Some(1),
    };
    for (scope, ends) in [("read:meteo", false), ("read", false), ("write", true)] {
        let (record, secret) = tokens.draft(&rng, new(scope)).unwrap();
        tokens.admit(TokenRecord { expires_ms: ends.then_some(NOW_MS), ..record });
        secrets.push(secret);
    }
    let (root, secret) = tokens.draft_root(&rng).unwrap();
    tokens.admit(root);
    secrets.push(secret);
    Known { tokens, secrets }
}

fn presented(known: &Known, shown: &str) {
    let at = known.secrets.iter().position(|secret| secret.expose() == shown);
    let outcome = known.tokens.check(shown);
    assert_eq!(outcome.is_ok(), matches!(at, Some(0 | 1 | 3)), "{shown}");
    if let Err(error) = &outcome {
        assert_eq!(error.kind(), Kind::Unauthorised);
        presentable(error);
        unsaid(&error.to_string(), shown);
    }
    match known.tokens.adopt_root(shown) {
        Ok(Some(record)) => {
            assert!(at.is_none() && record.root && Permission::ALL.iter().all(|p| record.allows(*p, None)));
            let elsewhere = Tokens::new(Arc::new(ManualClock::at(NOW_MS)), vec![record]);
            elsewhere.check(shown).unwrap();
        }
        Ok(None) => assert!(at.is_some()),
        Err(error) => unsaid(&error.to_string(), shown),
    }
    if let Some(id) = fine(shown.parse::<TokenId>()) {
        assert_eq!(id.to_string(), shown);
    }
}

/// No piece of sixteen letters of a secret is said again.
fn unsaid(text: &str, shown: &str) {
    let secret = shown.strip_prefix("ms1_").and_then(|rest| rest.split_once('_')).map_or("", |(_, secret)| secret);
    let pieces = secret.as_bytes().windows(16).filter(|piece| piece.is_ascii());
    for piece in pieces {
        assert!(!text.contains(std::str::from_utf8(piece).unwrap()), "{text} repeats a secret");
    }
}

/// A door that asks for tokens.
struct Door(Tokens);

impl Authority for Door {
    fn required(&self) -> bool {
        true
    }

    fn identify(&self, token: &str) -> Result<Arc<TokenRecord>> {
        self.0.check(token)
    }

    fn create_token(&self, _: NewToken) -> BoxFuture<'static, Result<(TokenRecord, Secret)>> {
        unreachable!("the check of a request makes no token")
    }

    fn tokens(&self) -> Vec<(Arc<TokenRecord>, bool)> {
        Vec::new()
    }

    fn revoke_token(&self, _: TokenId) -> BoxFuture<'static, Result<()>> {
        unreachable!("the check of a request ends no token")
    }
}

/// Asks the door in the name of who presents this.
fn asked(known: &Known, shown: &str, method: &str, path: &str) {
    let records = known.tokens.list().iter().map(|record| (**record).clone()).collect();
    let door = Door(Tokens::new(Arc::new(ManualClock::at(NOW_MS)), records));
    let bearer = format!("Bearer {shown}");
    let with = Headers::of([(&b"authorization"[..], bearer.as_bytes())].into_iter());
    let none = Headers::of(std::iter::empty());
    let open = match none.admit(&door, method, path) {
        Ok(found) => {
            assert!(found.is_none(), "nobody was taken for somebody");
            true
        }
        Err(error) => {
            presentable(&error);
            false
        }
    };
    let stored = ["/v1/objects", "/v1/collections", "/v1/admin", "/v1/batch", "/v1/events", "/metrics", "/v1/sync"];
    let below = |prefix: &&str| path.strip_prefix(*prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    assert!(!open || !stored.iter().any(below), "{path} is open");
    match with.admit(&door, method, path) {
        Err(error) => {
            presentable(&error);
            unsaid(&error.to_string(), shown);
        }
        Ok(None) => assert!(open, "a request without a token's record was let in"),
        Ok(Some(record)) => {
            assert!(record.is_live(NOW_MS) && !open);
            let raw = path.strip_prefix("/v1/objects/").map(|rest| rest.split('/').next().unwrap_or_default());
            if let Some(raw) = raw {
                let needed = if matches!(method, "GET" | "HEAD") { Permission::Read } else { Permission::Write };
                let name = meshstore::gateway::fuzzing::decode(raw).ok().and_then(|name| name.parse::<Name>().ok());
                assert!(reaches(&record, needed, name.as_ref()), "{method} {path} is beyond its scopes");
            }
            if below(&"/v1/admin") {
                assert!(reaches(&record, Permission::Admin, None), "{path} is not administered by all");
            }
        }
    }
}

fn reaches(record: &TokenRecord, permission: Permission, collection: Option<&Name>) -> bool {
    record.scopes.iter().any(|scope| {
        scope.permission == permission && (scope.collection.is_none() || scope.collection.as_ref() == collection)
    })
}

fn scope(text: &str) -> Option<Scope> {
    let scope = fine(text.parse::<Scope>())?;
    assert_eq!(scope.to_string().parse::<Scope>().unwrap(), scope);
    let elsewhere: Name = "zz-elsewhere-zz".parse().unwrap();
    for permission in Permission::ALL {
        let everywhere = scope.collection.is_none() && permission == scope.permission;
        assert_eq!(scope.covers(permission, None), everywhere, "{scope}");
        let named = scope.collection.as_ref().is_some_and(|name| *name == elsewhere);
        let there = permission == scope.permission && (scope.collection.is_none() || named);
        assert_eq!(scope.covers(permission, Some(&elsewhere)), there, "{scope}");
    }
    Some(scope)
}

fn drafted(known: &Known, subject: String, scopes: Vec<Scope>) {
    let sound = fine(check_bearer(&subject, &[], &scopes)).is_some();
    let new = NewToken { subject: subject.clone(), groups: vec![subject], scopes, expires_in_ms: None };
    match fine(known.tokens.draft(&SeededRng::new(12), new)) {
        None => assert!(!sound),
        Some((record, secret)) => {
            assert!(sound && known.tokens.check(secret.expose()).is_err(), "a token counts before it is admitted");
            known.tokens.admit(record.clone());
            assert_eq!(*known.tokens.check(secret.expose()).unwrap(), record);
        }
    }
}
