//! What containers of a site tell each other, signed with a key drawn from the site's keyring: whoever else can
//! publish on their bus can neither join them nor change what they know.

use super::keyring::Keyring;
use crate::error::{Error, Kind, Result};

/// What keeps this use of a key apart from all others.
const CONTEXT: &str = "meshstore message between containers 1";

/// Bytes of a signature.
const BYTES: usize = 32;

/// A signature that travels apart from what it is for.
pub type Signature = [u8; BYTES];

/// What bytes are told apart by where no seal proves them.
pub fn fingerprint(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

impl Keyring {
    /// A signature of a message that both sides know, for this subject.
    pub fn signature(&self, subject: &str, message: &[u8]) -> Result<Signature> {
        Ok(*mac(self.secret(self.active())?, subject, message).as_bytes())
    }

    /// Whether a container of this site signed this message for this subject.
    pub fn check_signature(&self, subject: &str, message: &[u8], signature: Signature) -> Result<()> {
        let signature = blake3::Hash::from_bytes(signature);
        // The comparison of two hashes takes the same time wherever they differ.
        let is_ours = |id| self.secret(id).is_ok_and(|secret| mac(secret, subject, message) == signature);
        if self.ids().any(is_ours) { Ok(()) } else { Err(foreign()) }
    }

    /// Puts a signature before a message that is meant for this subject.
    pub fn sign(&self, subject: &str, message: &[u8]) -> Result<Vec<u8>> {
        Ok([&self.signature(subject, message)?, message].concat())
    }

    /// The message behind its signature. One that was signed before the keys were rotated still counts.
    pub fn verified<'a>(&self, subject: &str, signed: &'a [u8]) -> Result<&'a [u8]> {
        let (signature, message) = signed.split_first_chunk::<BYTES>().ok_or_else(foreign)?;
        self.check_signature(subject, message, *signature)?;
        Ok(message)
    }
}

fn foreign() -> Error {
    Error::new(Kind::Unauthorised, "this was not sent by a container with this site's keyring")
}

fn mac(secret: &[u8; 32], subject: &str, message: &[u8]) -> blake3::Hash {
    let key = zeroize::Zeroizing::new(blake3::derive_key(CONTEXT, secret));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    // The length keeps a subject that ends as a message begins from being taken for another.
    hasher.update(&(subject.len() as u64).to_be_bytes()).update(subject.as_bytes());
    hasher.update(message).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeededRng;

    #[test]
    fn only_the_ring_and_the_subject_it_was_signed_for_take_a_message() {
        let rng = SeededRng::new(1);
        let mut ring = Keyring::generate(&rng);
        let signed = ring.sign("a.b", b"text").unwrap();
        assert_eq!(ring.verified("a.b", &signed).unwrap(), b"text");
        for at in 0..signed.len() {
            let mut forged = signed.clone();
            forged[at] ^= 1;
            assert_eq!(ring.verified("a.b", &forged).unwrap_err().kind(), Kind::Unauthorised, "{at}");
        }
        assert!(ring.verified("a.c", &signed).is_err() && ring.verified("a.b", &[]).is_err());
        assert!(Keyring::generate(&rng).verified("a.b", &signed).is_err());
        let id = ring.add(&rng).unwrap();
        ring.activate(id).unwrap();
        ring.verified("a.b", &signed).unwrap();
    }
}
