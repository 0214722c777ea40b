//! Tokens in the words of users: who bears one, what it allows, and what is kept of it.
//!
//! A token's secret is not here: a record holds its hash. What a secret looks like and how it is
//! checked is in `control/tokens.rs`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::address::Name;
use super::hex::{from_hex, write_hex};
use crate::error::{Error, Result};
use crate::limits::{SUBJECT_BYTES_MAX, TOKEN_GROUPS_MAX, TOKEN_SCOPES_MAX};

/// What a scope allows. None of them includes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// Reading objects, lists and what is known of them.
    Read,
    /// Storing and deleting.
    Write,
    /// Changing collections, and everything below `/v1/admin`.
    Admin,
    /// Reading `/metrics` and nothing else: what a scraper needs.
    Metrics,
}

impl Permission {
    /// Every permission there is.
    pub const ALL: [Permission; 4] = [Permission::Read, Permission::Write, Permission::Admin, Permission::Metrics];

    /// The permission's name in scopes.
    pub const fn name(self) -> &'static str {
        match self {
            Permission::Read => "read",
            Permission::Write => "write",
            Permission::Admin => "admin",
            Permission::Metrics => "metrics",
        }
    }
}

/// One permission, for one collection or for all: `read:meteo`, `write:*`, `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// What it allows.
    pub permission: Permission,
    /// Where; everywhere when `None`.
    pub collection: Option<Name>,
}

impl Scope {
    /// The permission everywhere.
    pub const fn everywhere(permission: Permission) -> Self {
        Scope { permission, collection: None }
    }

    /// Whether what is asked for lies within. Only a scope for all collections covers `None`.
    pub fn covers(&self, permission: Permission, collection: Option<&Name>) -> bool {
        self.permission == permission && (self.collection.is_none() || self.collection.as_ref() == collection)
    }
}

impl FromStr for Scope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("a scope is read, write, admin or metrics; behind the first three may come :COLLECTION")
                .with("scope", text.escape_default())
        };
        let (permission, collection) = text.split_once(':').unwrap_or((text, "*"));
        let permission = Permission::ALL.into_iter().find(|known| known.name() == permission).ok_or_else(bad)?;
        let collection = if collection == "*" { None } else { Some(collection.parse()?) };
        if permission == Permission::Metrics && collection.is_some() {
            return Err(bad());
        }
        Ok(Scope { permission, collection })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.collection, self.permission) {
            (Some(collection), permission) => write!(f, "{}:{}", permission.name(), collection.as_str()),
            (None, whole @ (Permission::Admin | Permission::Metrics)) => f.write_str(whole.name()),
            (None, permission) => write!(f, "{}:*", permission.name()),
        }
    }
}

/// Names a token without telling its secret; random.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TokenId(pub [u8; 8]);

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for TokenId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The text is not repeated: a whole token may have been given where its id is meant.
        let bad = || Error::invalid("the id of a token is 16 hex digits, as `token ls` shows them");
        let shouted = text.bytes().any(|byte| byte.is_ascii_uppercase());
        from_hex(text).filter(|_| !shouted).map(TokenId).ok_or_else(bad)
    }
}

/// What is kept of a token.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRecord {
    /// Its name.
    pub id: TokenId,
    /// Whom it was given to.
    pub subject: String,
    /// What the subject belongs to.
    pub groups: Vec<String>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// Hash of the secret.
    pub hash: [u8; 32],
    /// Whether it was made from the root token's file.
    pub root: bool,
    /// Wall-clock milliseconds since 1970.
    pub created_ms: u64,
    /// From then on it is refused.
    pub expires_ms: Option<u64>,
    /// Since then it is refused.
    pub revoked_ms: Option<u64>,
}

impl TokenRecord {
    /// Whether it allows this, in one collection or in all.
    pub fn allows(&self, permission: Permission, collection: Option<&Name>) -> bool {
        self.scopes.iter().any(|scope| scope.covers(permission, collection))
    }

    /// Whether it counts at this time.
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.revoked_ms.is_none() && self.expires_ms.is_none_or(|expires| now_ms < expires)
    }
}

impl fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenRecord({} of {})", self.id, self.subject.escape_default())
    }
}

/// Checks who a token is for and what it is to allow.
pub fn check_bearer(subject: &str, groups: &[String], scopes: &[Scope]) -> Result<()> {
    let word = |what: &'static str, text: &str| {
        let plain = !text.is_empty() && text.len() <= SUBJECT_BYTES_MAX && !text.chars().any(char::is_control);
        let why = format!("a {what} has 1 to {SUBJECT_BYTES_MAX} bytes and no control characters");
        if plain { Ok(()) } else { Err(Error::invalid(why).with(what, text.escape_default())) }
    };
    word("subject", subject)?;
    groups.iter().try_for_each(|group| word("group", group))?;
    if groups.len() > TOKEN_GROUPS_MAX || scopes.len() > TOKEN_SCOPES_MAX {
        let why = format!("a token has at most {TOKEN_GROUPS_MAX} groups and {TOKEN_SCOPES_MAX} scopes");
        return Err(Error::invalid(why).with("groups", groups.len()).with("scopes", scopes.len()));
    }
    if scopes.is_empty() {
        return Err(Error::invalid("a token without a scope allows nothing; name one, such as read:meteo"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_as_they_are_written() {
        for (text, shown) in [
            ("read", "read:*"),
            ("read:*", "read:*"),
            ("write:meteo", "write:meteo"),
            ("admin", "admin"),
            ("metrics", "metrics"),
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), shown);
        }
        for bad in ["", "all", "read:", "read:A", "Read", "read:a:b", "read:push", "*", "write*", "metrics:c"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_scope_covers_its_collection_alone_and_no_other_permission() {
        let (meteo, other): (Name, Name) = ("meteo".parse().unwrap(), "other".parse().unwrap());
        let narrow: Scope = "read:meteo".parse().unwrap();
        assert!(narrow.covers(Permission::Read, Some(&meteo)));
        assert!(!narrow.covers(Permission::Read, Some(&other)) && !narrow.covers(Permission::Read, None));
        assert!(!narrow.covers(Permission::Write, Some(&meteo)));
        let wide = Scope::everywhere(Permission::Admin);
        assert!(wide.covers(Permission::Admin, Some(&other)) && wide.covers(Permission::Admin, None));
        assert!(!wide.covers(Permission::Read, None));
    }

    #[test]
    fn an_id_reads_back_and_errors_do_not_repeat_what_may_be_a_secret() {
        let id = TokenId([0, 1, 2, 0xab, 4, 5, 6, 0xff]);
        assert_eq!(id.to_string().parse::<TokenId>().unwrap(), id);
        for bad in ["", "0", "000102AB040506ff", "ms1_0001", "+00102ab040506ff"] {
            let error = bad.parse::<TokenId>().unwrap_err().to_string();
            assert!(bad.is_empty() || bad == "0" || !error.contains(bad), "{error}");
        }
    }

    #[test]
    fn bearers_have_bounds() {
        let scopes = [Scope::everywhere(Permission::Read)];
        assert!(check_bearer("ada", &["lab".to_owned()], &scopes).is_ok());
        assert!(check_bearer("ada", &[], &[]).is_err());
        for bad in ["", "a\nb", &"x".repeat(SUBJECT_BYTES_MAX + 1)] {
            assert!(check_bearer(bad, &[], &scopes).is_err());
            assert!(check_bearer("ada", &[bad.to_owned()], &scopes).is_err());
        }
        assert!(check_bearer("ada", &vec!["g".to_owned(); TOKEN_GROUPS_MAX + 1], &scopes).is_err());
    }
}
