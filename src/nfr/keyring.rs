//! The keys of a site, which wrap the data keys of its objects.

use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::engine::{Cipher, DataKey, TAG_BYTES};
use crate::error::{Error, Result};
use crate::limits::KEYS_MAX;
use crate::model::{Address, KeyId, Rng, Seal, Version, WrappedKey, from_hex, push_hex};

/// Several keys, one of which wraps; the others still unwrap.
pub struct Keyring {
    active: KeyId,
    keys: Vec<Held>,
}

/// A key of the ring.
struct Held {
    id: KeyId,
    key: DataKey,
    /// Made ready at its first use.
    cipher: OnceLock<Cipher>,
}

/// The keyring's text form.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    active: String,
    key: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: String,
    secret: Zeroizing<String>,
}

impl Keyring {
    /// A ring with one fresh key.
    pub fn generate(rng: &dyn Rng) -> Self {
        let (id, key) = fresh(rng);
        Keyring { active: id, keys: vec![Held::new(id, key)] }
    }

    /// Reads the text form. No error quotes a secret.
    pub fn parse(text: &str) -> Result<Self> {
        // The parser's own message quotes the line it stumbled over, which may hold a secret.
        let bad = || {
            Error::invalid(
                "the keyring is not readable: it holds `active`, and [[key]] tables with `id` and `secret` in hex",
            )
        };
        let file: File = toml::from_str(text).map_err(|_| bad())?;
        let active = file.active.parse().map_err(|_| bad())?;
        let mut ring = Keyring { active, keys: Vec::new() };
        for entry in &file.key {
            let secret = Zeroizing::new(from_hex::<32>(&entry.secret).ok_or_else(bad)?);
            ring.take_in(entry.id.parse().map_err(|_| bad())?, DataKey::from_bytes(*secret))?;
        }
        ring.held(active)?;
        Ok(ring)
    }

    /// The key that wraps.
    pub fn active(&self) -> KeyId {
        self.active
    }

    /// Every key, in the order in which they came.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = KeyId> {
        self.keys.iter().map(|held| held.id)
    }

    /// Adds a fresh key, which wraps nothing yet.
    pub fn add(&mut self, rng: &dyn Rng) -> Result<KeyId> {
        let (id, key) = fresh(rng);
        self.take_in(id, key)?;
        Ok(id)
    }

    /// From here on this key wraps.
    pub fn activate(&mut self, id: KeyId) -> Result<()> {
        self.held(id)?;
        self.active = id;
        Ok(())
    }

    /// Takes in the keys of another ring; the active key stays. Returns how many are new.
    pub fn merge(&mut self, other: Keyring) -> Result<usize> {
        let before = self.keys.len();
        other.keys.into_iter().try_for_each(|Held { id, key, .. }| self.take_in(id, key))?;
        Ok(self.keys.len() - before)
    }

    /// Whether every key of the other ring is in this one.
    pub fn covers(&self, other: &Keyring) -> bool {
        let has = |other: &Held| self.held(other.id).is_ok_and(|known| known.key.bytes() == other.key.bytes());
        other.keys.iter().all(has)
    }

    fn take_in(&mut self, id: KeyId, key: DataKey) -> Result<()> {
        match self.held(id) {
            Ok(known) if known.key.bytes() == key.bytes() => Ok(()),
            Ok(_) => {
                let why = "two keys have the same id; one of the keyrings was altered, use an untouched copy of it";
                Err(Error::invalid(why).with("key", id))
            }
            Err(_) if self.keys.len() >= KEYS_MAX => {
                Err(Error::too_large("the keyring is full").with("keys_max", KEYS_MAX))
            }
            Err(_) => {
                self.keys.push(Held::new(id, key));
                Ok(())
            }
        }
    }

    /// The text form, to be kept in a file that only its owner can read.
    pub fn render(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(256 + self.keys.len() * 128));
        text.push_str(
            "# The keys of this site. Without this file its objects cannot be opened: keep a copy in a safe place.\n",
        );
        text.push_str(&format!("active = \"{}\"\n", self.active));
        for Held { id, key, .. } in &self.keys {
            let secret = Zeroizing::new(hex(key.bytes()));
            text.push_str(&format!("\n[[key]]\nid = \"{id}\"\nsecret = \""));
            text.push_str(&secret);
            text.push_str("\"\n");
        }
        text
    }

    /// Wraps a data key with the active key, bound to what it opens (see [`binding`]).
    pub fn wrap(&self, rng: &dyn Rng, key: &DataKey, binding: &[u8]) -> Result<WrappedKey> {
        let mut nonce = [0; 12];
        rng.fill(&mut nonce);
        let mut bytes = Vec::with_capacity(key.bytes().len() + TAG_BYTES);
        bytes.extend_from_slice(key.bytes());
        let tag = self.held(self.active)?.cipher()?.seal(nonce, binding, &mut bytes)?;
        bytes.extend_from_slice(&tag);
        Ok(WrappedKey { key: self.active, nonce, bytes })
    }

    /// Unwraps a data key; fails unless the binding is the one it was wrapped with.
    pub fn unwrap(&self, wrapped: &WrappedKey, binding: &[u8]) -> Result<DataKey> {
        let cipher = self.held(wrapped.key)?.cipher()?;
        let plain = cipher.open(wrapped.nonce, binding, &wrapped.bytes).map(Zeroizing::new);
        let key = plain.and_then(|plain| <[u8; 32]>::try_from(&plain[..]).ok());
        key.map(DataKey::from_bytes).ok_or_else(|| Error::corrupt("the object's key does not fit the object"))
    }

    /// The same data key, wrapped by the active key; nothing if it is so already.
    pub fn rewrap(&self, rng: &dyn Rng, wrapped: &WrappedKey, binding: &[u8]) -> Result<Option<WrappedKey>> {
        if wrapped.key == self.active {
            return Ok(None);
        }
        self.wrap(rng, &self.unwrap(wrapped, binding)?, binding).map(Some)
    }

    /// The bytes of a key, from which others are drawn.
    pub(super) fn secret(&self, id: KeyId) -> Result<&[u8; 32]> {
        self.held(id).map(|held| held.key.bytes())
    }

    /// Whether this key is in the ring.
    pub fn holds(&self, id: KeyId) -> bool {
        self.held(id).is_ok()
    }

    fn held(&self, id: KeyId) -> Result<&Held> {
        self.keys.iter().find(|held| held.id == id).ok_or_else(|| {
            let why = "this key is not in the keyring; bring it back with `meshstore key import`, or start with the keyring that the object was sealed with";
            Error::unavailable(why).with("key", id)
        })
    }
}

impl Held {
    fn new(id: KeyId, key: DataKey) -> Self {
        Held { id, key, cipher: OnceLock::new() }
    }

    fn cipher(&self) -> Result<&Cipher> {
        if let Some(cipher) = self.cipher.get() {
            return Ok(cipher);
        }
        let cipher = self.key.cipher()?;
        Ok(self.cipher.get_or_init(|| cipher))
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} keys, active {})", self.keys.len(), self.active)
    }
}

fn fresh(rng: &dyn Rng) -> (KeyId, DataKey) {
    let mut id = [0; 8];
    rng.fill(&mut id);
    (KeyId(id), DataKey::random(rng))
}

/// What a data key is bound to: the object, its version, and the frame it opens.
pub fn binding(address: &Address, version: Version, size: u64, seal: &Seal) -> Vec<u8> {
    let name = address.as_str().as_bytes();
    [
        b"meshstore data key 1",
        &(name.len() as u32).to_le_bytes()[..],
        name,
        &version.to_be_bytes(),
        &size.to_le_bytes(),
        &seal.frame.0,
        &seal.bytes.to_le_bytes(),
        &seal.footer,
    ]
    .concat()
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;
    use crate::model::SeededRng;

    #[test]
    fn a_ring_reads_back_and_debug_shows_no_secret() {
        let rng = SeededRng::new(4);
        let ring = Keyring::generate(&rng);
        let text = ring.render();
        let wrapped = ring.wrap(&rng, &DataKey::from_bytes([7; 32]), b"object").unwrap();
        let again = Keyring::parse(&text).unwrap();
        assert_eq!(again.unwrap(&wrapped, b"object").unwrap().bytes(), &[7; 32]);
        let secret = text.split('"').nth(5).unwrap();
        assert_eq!(secret.len(), 64);
        assert!(!format!("{again:?} {wrapped:?}").contains(secret));
        let broken = text.replace("secret =", "secret : ");
        assert!(!format!("{}", Keyring::parse(&broken).unwrap_err()).contains(secret));
    }

    #[test]
    fn another_object_another_ring_and_any_flipped_bit_are_refused() {
        let rng = SeededRng::new(5);
        let ring = Keyring::generate(&rng);
        let wrapped = ring.wrap(&rng, &DataKey::random(&rng), b"object").unwrap();
        assert_eq!(ring.unwrap(&wrapped, b"other").unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(Keyring::generate(&rng).unwrap(&wrapped, b"object").unwrap_err().kind(), Kind::Unavailable);
        for bit in 0..wrapped.bytes.len() * 8 {
            let mut bad = wrapped.clone();
            bad.bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(ring.unwrap(&bad, b"object").is_err());
        }
    }
    #[test]
    fn a_new_key_wraps_once_it_is_active_and_the_old_one_still_unwraps() {
        let rng = SeededRng::new(6);
        let mut ring = Keyring::generate(&rng);
        let old = ring.wrap(&rng, &DataKey::from_bytes([9; 32]), b"object").unwrap();
        let added = ring.add(&rng).unwrap();
        assert!(ring.rewrap(&rng, &old, b"object").unwrap().is_none(), "it wraps nothing before it is active");
        ring.activate(added).unwrap();
        let new = ring.rewrap(&rng, &old, b"object").unwrap().unwrap();
        assert_eq!((new.key, ring.ids().len()), (added, 2));
        for wrapped in [&old, &new] {
            assert_eq!(ring.unwrap(wrapped, b"object").unwrap().bytes(), &[9; 32]);
        }
        assert_eq!(ring.rewrap(&rng, &old, b"other").unwrap_err().kind(), Kind::Corrupt);
        assert_eq!(ring.activate(KeyId([0; 8])).unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn rings_are_merged_unless_an_id_stands_for_two_keys_or_there_are_too_many() {
        let rng = SeededRng::new(7);
        let (mut one, other) = (Keyring::generate(&rng), Keyring::generate(&rng));
        let again = |ring: &Keyring| Keyring::parse(&ring.render()).unwrap();
        let active = one.active();
        assert!(!one.covers(&other));
        assert_eq!((one.merge(again(&other)).unwrap(), one.merge(again(&other)).unwrap()), (1, 0));
        assert!(one.covers(&other) && !other.covers(&one) && one.active() == active);
        let forged = Keyring { active, keys: vec![Held::new(active, DataKey::random(&rng))] };
        assert!(!one.covers(&forged));
        assert_eq!(one.merge(forged).unwrap_err().kind(), Kind::Invalid);
        while one.ids().len() < KEYS_MAX {
            one.add(&rng).unwrap();
        }
        assert_eq!(one.add(&rng).unwrap_err().kind(), Kind::TooLarge);
    }
}
