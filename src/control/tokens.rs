//! Which tokens there are and whether one that is presented counts. Decisions only: rows are
//! committed by whoever calls, and then [`Tokens::admit`]ted here.
//!
//! A token is `ms1_<id>_<secret>`: a fixed start, so that scanners for leaked secrets find it, a name,
//! and 256 random bits. Of the secret only its BLAKE3 is kept. A slow or salted hash would add nothing:
//! those make guessing of weak passwords dear, and nobody guesses 256 random bits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use crate::error::{Error, Kind, Result};
use crate::limits::{TOKEN_MEMORY_MS, TOKENS_MAX};
use crate::model::{Clock, Permission, Rng, Scope, TokenId, TokenRecord, check_bearer};

const PREFIX: &str = "ms1_";
const SECRET_BYTES: usize = 32;
const ID_DIGITS: usize = 16;

/// A token in full, as its bearer keeps it. Wiped when dropped, never shown by `Debug`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The text that is sent.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Who a new token is for and what it is to allow.
#[derive(Clone, Debug)]
pub struct NewToken {
    /// Whom it is given to.
    pub subject: String,
    /// What the subject belongs to.
    pub groups: Vec<String>,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// How long it counts; for ever when `None`.
    pub expires_in_ms: Option<u64>,
}

/// All tokens of the site, as far as this container knows them.
pub struct Tokens {
    clock: Arc<dyn Clock>,
    known: RwLock<HashMap<TokenId, Arc<TokenRecord>>>,
}

impl Tokens {
    /// The tokens in these rows.
    pub fn new(clock: Arc<dyn Clock>, records: Vec<TokenRecord>) -> Self {
        let known = records.into_iter().map(|record| (record.id, Arc::new(record))).collect();
        Tokens { clock, known: RwLock::new(known) }
    }

    /// A new token that counts once its record is committed and admitted.
    pub fn draft(&self, rng: &dyn Rng, new: NewToken) -> Result<(TokenRecord, Secret)> {
        check_bearer(&new.subject, &new.groups, &new.scopes)?;
        if new.expires_in_ms == Some(0) {
            return Err(Error::invalid("a token that expires at once allows nothing; name a longer time"));
        }
        if self.read(|known| known.len()) >= TOKENS_MAX {
            let why = format!("there are {TOKENS_MAX} tokens, the most that are kept; revoked ones go after 30 days");
            return Err(Error::busy(why));
        }
        let (mut id, mut secret) = ([0; 8], Zeroizing::new([0; SECRET_BYTES]));
        rng.fill(&mut id);
        rng.fill(&mut *secret);
        let record = self.record(TokenId(id), &secret, new, false);
        Ok((record, render(TokenId(id), &secret)))
    }

    /// A root token, with every scope.
    pub fn draft_root(&self, rng: &dyn Rng) -> Result<(TokenRecord, Secret)> {
        let (record, secret) = self.draft(rng, root())?;
        Ok((TokenRecord { root: true, ..record }, secret))
    }

    /// The record of a root token that was made elsewhere, for another container of the site or by hand.
    /// `None` when it is known here already.
    pub fn adopt_root(&self, text: &str) -> Result<Option<TokenRecord>> {
        let (id, secret) = parse(text).ok_or_else(|| {
            Error::invalid("the file holds no token; remove it and a new root token is made at the next start")
        })?;
        match self.find(id) {
            None => Ok(Some(self.record(id, &secret, root(), true))),
            Some(known) if !matches(&known, &secret) => Err(Error::invalid(
                "the file's token has the id of another one; remove the file and a new root token is made",
            )),
            Some(_) => Ok(None),
        }
    }

    fn record(&self, id: TokenId, secret: &[u8; SECRET_BYTES], new: NewToken, root: bool) -> TokenRecord {
        let created_ms = self.clock.now_ms();
        TokenRecord {
            id,
            subject: new.subject,
            groups: new.groups,
            scopes: new.scopes,
            hash: *blake3::hash(secret).as_bytes(),
            root,
            created_ms,
            expires_ms: new.expires_in_ms.map(|ms| created_ms.saturating_add(ms)),
            revoked_ms: None,
        }
    }

    /// The record of a token as it will be once revoked.
    pub fn draft_revoked(&self, id: TokenId) -> Result<TokenRecord> {
        let known = self.find(id).ok_or_else(|| Error::not_found("there is no such token").with("id", id))?;
        let revoked_ms = known.revoked_ms.or(Some(self.clock.now_ms()));
        Ok(TokenRecord { revoked_ms, ..(*known).clone() })
    }

    /// Takes in a record that is committed.
    pub fn admit(&self, record: TokenRecord) {
        self.write(|known| drop(known.insert(record.id, Arc::new(record))));
    }

    /// Tokens that ended so long ago that their rows may go. A root token's row stays: its file might
    /// still be there, and would bring it back.
    pub fn forgettable(&self) -> Vec<TokenId> {
        let now = self.clock.now_ms();
        let gone = |at: Option<u64>| at.is_some_and(|at| at.saturating_add(TOKEN_MEMORY_MS) < now);
        let ended = |record: &TokenRecord| !record.root && (gone(record.revoked_ms) || gone(record.expires_ms));
        self.read(|known| known.values().filter(|record| ended(record)).map(|record| record.id).collect())
    }

    /// Forgets tokens whose rows are gone.
    pub fn forget(&self, ids: &[TokenId]) {
        self.write(|known| ids.iter().for_each(|id| drop(known.remove(id))));
    }

    /// The record of a token that is presented, if it counts now. No error repeats what was presented.
    pub fn check(&self, presented: &str) -> Result<Arc<TokenRecord>> {
        let (id, secret) = parse(presented)
            .ok_or_else(|| unauthorised("this is no token of a container; a token looks like ms1_<id>_<secret>"))?;
        let known = self.find(id).filter(|known| matches(known, &secret));
        // Whether the id or the secret is wrong is not told apart.
        let known = known.ok_or_else(|| unauthorised("the token is not known here; ask for a new one"))?;
        if known.revoked_ms.is_some() {
            return Err(unauthorised("the token was revoked; ask for a new one").with("token", id));
        }
        if !known.is_live(self.clock.now_ms()) {
            return Err(unauthorised("the token has expired; ask for a new one").with("token", id));
        }
        Ok(known)
    }

    /// One token's record.
    pub fn find(&self, id: TokenId) -> Option<Arc<TokenRecord>> {
        self.read(|known| known.get(&id).cloned())
    }

    /// Every token that is known, the oldest first.
    pub fn list(&self) -> Vec<Arc<TokenRecord>> {
        let mut all: Vec<_> = self.read(|known| known.values().cloned().collect());
        all.sort_by_key(|record| (record.created_ms, record.id));
        all
    }

    fn read<T>(&self, look: impl FnOnce(&HashMap<TokenId, Arc<TokenRecord>>) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut HashMap<TokenId, Arc<TokenRecord>>)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }
}

fn root() -> NewToken {
    let scopes = Permission::ALL.map(Scope::everywhere).to_vec();
    NewToken { subject: "root".to_owned(), groups: Vec::new(), scopes, expires_in_ms: None }
}

fn unauthorised(why: &'static str) -> Error {
    Error::new(Kind::Unauthorised, why)
}

fn matches(record: &TokenRecord, secret: &[u8; SECRET_BYTES]) -> bool {
    // This comparison takes the same time wherever the hashes differ.
    blake3::hash(secret) == blake3::Hash::from_bytes(record.hash)
}

fn render(id: TokenId, secret: &[u8; SECRET_BYTES]) -> Secret {
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + ID_DIGITS + 1 + 2 * SECRET_BYTES));
    text.push_str(PREFIX);
    text.push_str(&id.to_string());
    text.push('_');
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    secret.iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 15)]));
    Secret(text)
}

fn parse(text: &str) -> Option<(TokenId, Zeroizing<[u8; SECRET_BYTES]>)> {
    let (id, digits) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let id = id.parse().ok()?;
    if digits.len() != 2 * SECRET_BYTES {
        return None;
    }
    let mut secret = Zeroizing::new([0; SECRET_BYTES]);
    for (byte, pair) in secret.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        let mut nibbles = pair.iter().map(|digit| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        });
        *byte = nibbles.next()?? << 4 | nibbles.next()??;
    }
    Some((id, secret))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ManualClock, SeededRng};

    fn tokens() -> (Arc<ManualClock>, Tokens) {
        let clock = Arc::new(ManualClock::at(1_000));
        (Arc::clone(&clock), Tokens::new(clock, Vec::new()))
    }

    fn reader(expires_in_ms: Option<u64>) -> NewToken {
        let scopes = vec!["read:meteo".parse().unwrap()];
        NewToken { subject: "ada".into(), groups: vec!["lab".into()], scopes, expires_in_ms }
    }

    #[test]
    fn a_token_counts_from_its_admission_to_its_end() {
        let (clock, tokens) = tokens();
        let (record, secret) = tokens.draft(&SeededRng::new(1), reader(Some(500))).unwrap();
        assert!(tokens.check(secret.expose()).is_err());
        tokens.admit(record.clone());
        assert_eq!(tokens.check(secret.expose()).unwrap().subject, "ada");
        clock.advance(499);
        assert!(tokens.check(secret.expose()).is_ok());
        clock.advance(1);
        let expired = tokens.check(secret.expose()).unwrap_err();
        assert!(expired.kind() == Kind::Unauthorised && expired.message().contains("expired"), "{expired}");
        tokens.admit(tokens.draft_revoked(record.id).unwrap());
        assert!(tokens.check(secret.expose()).unwrap_err().message().contains("revoked"));
        assert!(tokens.forgettable().is_empty());
        clock.advance(TOKEN_MEMORY_MS + 1_000);
        assert_eq!(tokens.forgettable(), [record.id]);
        tokens.forget(&[record.id]);
        assert!(tokens.list().is_empty());
        assert_eq!(tokens.draft_revoked(record.id).unwrap_err().kind(), Kind::NotFound);
    }

    #[test]
    fn a_wrong_digit_anywhere_is_refused_and_never_repeated() {
        let (_, tokens) = tokens();
        let (record, secret) = tokens.draft(&SeededRng::new(2), reader(None)).unwrap();
        tokens.admit(record.clone());
        let good = secret.expose();
        assert_eq!(good.len(), 85);
        for at in 0..good.len() {
            let mut bad = good.as_bytes().to_vec();
            bad[at] = if bad[at] == b'0' { b'1' } else { b'0' };
            let bad = String::from_utf8(bad).unwrap();
            let error = tokens.check(&bad).unwrap_err();
            assert_eq!(error.kind(), Kind::Unauthorised, "{at}");
            assert!(!error.to_string().contains(&bad[21..]), "{error}");
        }
        for bad in ["", "ms1_", &good[..84], &format!("{good}0"), &good.to_uppercase(), &format!(" {good}"), "ms1__"] {
            assert!(tokens.check(bad).is_err(), "{bad}");
        }
        assert!(!format!("{secret:?} {record:?}").contains(&good[21..]));
    }

    #[test]
    fn a_root_token_may_do_everything_and_is_adopted_once() {
        let (_, here) = tokens();
        let (_, there) = tokens();
        let (record, secret) = here.draft_root(&SeededRng::new(3)).unwrap();
        here.admit(record.clone());
        let adopted = there.adopt_root(secret.expose()).unwrap().unwrap();
        assert_eq!(adopted, record);
        assert!(adopted.root && adopted.allows(Permission::Admin, None) && adopted.allows(Permission::Write, None));
        there.admit(adopted);
        assert!(there.check(secret.expose()).is_ok() && there.adopt_root(secret.expose()).unwrap().is_none());
        let forged = format!("{}{}", &secret.expose()[..21], "0".repeat(64));
        assert!(there.adopt_root(&forged).is_err() && there.adopt_root("nonsense").is_err());
    }

    #[test]
    fn impossible_tokens_are_refused() {
        let (_, tokens) = tokens();
        let rng = SeededRng::new(4);
        assert!(tokens.draft(&rng, reader(Some(0))).is_err());
        assert!(tokens.draft(&rng, NewToken { scopes: Vec::new(), ..reader(None) }).is_err());
        assert!(tokens.draft(&rng, NewToken { subject: "\u{7}".into(), ..reader(None) }).is_err());
    }
}
