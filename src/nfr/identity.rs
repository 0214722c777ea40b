//! A site among others: what it proves itself by, and what two sites say to each other alone.
//!
//! All of it is drawn from the first key of the site's keyring, which stays in the ring for good: there is no further
//! secret to keep, every container of the site has it, and a rotation changes nothing for others.

use zeroize::Zeroizing;

use super::engine::{Agreement, DataKey, SIGNATURE_BYTES, Signing, is_signed};
use super::keyring::Keyring;
use crate::error::{Error, Kind, Result};
use crate::model::{Name, Rng, SiteKeys};

/// What keeps the uses of keys apart.
const AGREEMENT: &str = "meshstore identity of a site, agreement 1";
const SIGNING: &str = "meshstore identity of a site, signing 1";
const INVITATION: &str = "meshstore invitation to a mesh 1";
const NEWS: &str = "meshstore news of a collection 1";
const BETWEEN: &str = "meshstore message between sites 1";

/// Random bytes of a message, which make its key.
const SALT_BYTES: usize = 32;

/// Of a key that seals one message alone.
const NONCE: [u8; 12] = [0; 12];

/// A site's own keys.
pub struct Identity {
    agreement: Agreement,
    signing: Signing,
    keys: SiteKeys,
    /// From which it draws words and keys that it gives to others.
    root: Zeroizing<[u8; 32]>,
}

/// A key that two sites have agreed on, or that one has given to others.
#[derive(Clone)]
pub struct SharedKey(Zeroizing<[u8; 32]>);

impl Keyring {
    /// What the site with this keyring is known by to others.
    pub fn identity(&self) -> Result<Identity> {
        let first = self.ids().next().ok_or_else(|| Error::internal("a keyring without a key"))?;
        let root = Zeroizing::new(*self.secret(first)?);
        let draw = |context| Zeroizing::new(blake3::derive_key(context, &*root));
        let agreement = Agreement::from_secret(&draw(AGREEMENT))?;
        let signing = Signing::from_secret(&draw(SIGNING))?;
        let keys = SiteKeys { agreement: agreement.public()?, signing: signing.public()? };
        Ok(Identity { agreement, signing, keys, root })
    }
}

impl Identity {
    /// What others know the site by.
    pub fn keys(&self) -> SiteKeys {
        self.keys
    }

    /// The key that this site and another one have in common.
    pub fn with(&self, other: &SiteKeys) -> Result<SharedKey> {
        let agreed = self.agreement.with(&other.agreement)?;
        Ok(SharedKey(Zeroizing::new(blake3::derive_key(BETWEEN, &*agreed))))
    }

    /// The word that lets a site in which nobody knows yet.
    pub fn invitation(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(blake3::derive_key(INVITATION, &*self.root))
    }

    /// Whether this is that word.
    pub fn is_invited(&self, word: &[u8; 32]) -> bool {
        // The comparison of two hashes takes the same time wherever they differ.
        blake3::hash(word) == blake3::hash(&*self.invitation())
    }

    /// What the news of a collection are sealed with: another key for each circle of sites that may read them.
    pub fn news_key(&self, collection: &Name, readers: &[Name]) -> SharedKey {
        let mut hasher = blake3::Hasher::new_derive_key(NEWS);
        hasher.update(&*self.root).update(collection.as_str().as_bytes());
        // No name holds a 0, so no list of names is another one's.
        for reader in readers {
            hasher.update(&[0]).update(reader.as_str().as_bytes());
        }
        SharedKey(Zeroizing::new(*hasher.finalize().as_bytes()))
    }

    /// Puts a signature before what all are to believe.
    pub fn sign(&self, purpose: &str, message: &[u8]) -> Result<Vec<u8>> {
        let signature = self.signing.sign(&said(purpose, message))?;
        Ok([&signature[..], message].concat())
    }
}

/// The message behind the signature of the site with these keys.
pub fn said_by<'a>(keys: &SiteKeys, purpose: &str, signed: &'a [u8]) -> Result<&'a [u8]> {
    let (signature, message) = signed.split_first_chunk::<SIGNATURE_BYTES>().ok_or_else(foreign)?;
    if is_signed(&keys.signing, &said(purpose, message), signature) { Ok(message) } else { Err(foreign()) }
}

/// The length keeps a purpose that ends as a message begins from being taken for another.
fn said(purpose: &str, message: &[u8]) -> Vec<u8> {
    [&(purpose.len() as u64).to_be_bytes()[..], purpose.as_bytes(), message].concat()
}

fn foreign() -> Error {
    Error::new(Kind::Unauthorised, "this was not said by the site that it names")
}

impl SharedKey {
    /// The key that these bytes are.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        SharedKey(Zeroizing::new(bytes))
    }

    /// Its bytes, for who is to have it as well.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// A message that only who has the key can read or have made.
    pub fn seal(&self, rng: &dyn Rng, purpose: &str, message: &[u8]) -> Result<Vec<u8>> {
        let mut salt = [0; SALT_BYTES];
        rng.fill(&mut salt);
        let mut sealed = Vec::with_capacity(SALT_BYTES + message.len() + 16);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(message);
        let (_, text) = sealed.split_at_mut(SALT_BYTES);
        let tag = self.of(&salt).cipher()?.seal(NONCE, purpose.as_bytes(), text)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }

    /// The message, if it was sealed with this key for this purpose.
    pub fn open(&self, purpose: &str, sealed: &[u8]) -> Result<Vec<u8>> {
        let (salt, text) = sealed.split_first_chunk::<SALT_BYTES>().ok_or_else(foreign)?;
        self.of(salt).cipher()?.open(NONCE, purpose.as_bytes(), text).ok_or_else(foreign)
    }

    /// The key of one message.
    fn of(&self, salt: &[u8; SALT_BYTES]) -> DataKey {
        DataKey::from_bytes(*blake3::keyed_hash(&self.0, salt).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeededRng;

    fn site(seed: u64) -> Identity {
        Keyring::generate(&SeededRng::new(seed)).identity().unwrap()
    }

    #[test]
    fn two_sites_understand_each_other_and_a_third_does_not() {
        let (rng, a, b, c) = (SeededRng::new(9), site(1), site(2), site(3));
        let sealed = a.with(&b.keys()).unwrap().seal(&rng, "ask x", b"text").unwrap();
        let key = b.with(&a.keys()).unwrap();
        assert_eq!(key.open("ask x", &sealed).unwrap(), b"text");
        assert!(key.open("ask y", &sealed).is_err());
        assert!(c.with(&a.keys()).unwrap().open("ask x", &sealed).is_err());
        for at in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[at] ^= 1;
            assert_eq!(key.open("ask x", &forged).unwrap_err().kind(), Kind::Unauthorised, "{at}");
        }
        assert_ne!(sealed, a.with(&b.keys()).unwrap().seal(&rng, "ask x", b"text").unwrap());
        assert!(key.open("ask x", &[]).is_err());
    }

    #[test]
    fn what_a_site_says_to_all_is_its_own() {
        let (a, b) = (site(1), site(2));
        let signed = a.sign("voice", b"text").unwrap();
        assert_eq!(said_by(&a.keys(), "voice", &signed).unwrap(), b"text");
        assert!(said_by(&b.keys(), "voice", &signed).is_err() && said_by(&a.keys(), "voic", &signed).is_err());
        for at in [0, SIGNATURE_BYTES - 1, SIGNATURE_BYTES, signed.len() - 1] {
            let mut forged = signed.clone();
            forged[at] ^= 1;
            assert!(said_by(&a.keys(), "voice", &forged).is_err(), "{at}");
        }
    }

    #[test]
    fn an_identity_outlives_a_rotation() {
        let rng = SeededRng::new(4);
        let mut ring = Keyring::generate(&rng);
        let before = ring.identity().unwrap();
        let added = ring.add(&rng).unwrap();
        ring.activate(added).unwrap();
        let after = ring.identity().unwrap();
        assert_eq!(before.keys(), after.keys());
        assert!(after.is_invited(&before.invitation()) && !after.is_invited(&[0; 32]));
        let names = |names: &[&str]| names.iter().map(|name| name.parse().unwrap()).collect::<Vec<Name>>();
        let key = |identity: &Identity, readers: &[&str]| {
            *identity.news_key(&"meteo".parse().unwrap(), &names(readers)).expose()
        };
        assert_eq!(key(&before, &["a", "b"]), key(&after, &["a", "b"]));
        assert_ne!(key(&before, &["a", "b"]), key(&before, &["ab"]));
    }
}
