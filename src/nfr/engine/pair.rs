//! Keys of two halves: agreeing on a secret with another site, and signing what all are to believe.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use aws_lc_rs::signature::{self, ED25519, Ed25519KeyPair, KeyPair};
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Bytes of a key, whichever half.
pub const KEY_BYTES: usize = 32;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

fn refused() -> Error {
    Error::internal("the crypto engine refused a key")
}

/// The secret half that agrees with others.
pub struct Agreement(PrivateKey);

impl Agreement {
    /// The key that these bytes stand for.
    pub fn from_secret(secret: &[u8; KEY_BYTES]) -> Result<Self> {
        PrivateKey::from_private_key(&X25519, secret).map(Agreement).map_err(|_| refused())
    }

    /// The half that others are given.
    pub fn public(&self) -> Result<[u8; KEY_BYTES]> {
        let public = self.0.compute_public_key().map_err(|_| refused())?;
        public.as_ref().try_into().map_err(|_| refused())
    }

    /// The secret that the owners of both keys come to, and nobody else.
    pub fn with(&self, other: &[u8; KEY_BYTES]) -> Result<Zeroizing<[u8; KEY_BYTES]>> {
        let bad = || Error::invalid("this is no key to agree with");
        agree(&self.0, UnparsedPublicKey::new(&X25519, other), bad(), |secret| {
            secret.try_into().map(Zeroizing::new).map_err(|_| bad())
        })
    }
}

/// The secret half that signs.
pub struct Signing(Ed25519KeyPair);

impl Signing {
    /// The key that these bytes stand for.
    pub fn from_secret(secret: &[u8; KEY_BYTES]) -> Result<Self> {
        Ed25519KeyPair::from_seed_unchecked(secret).map(Signing).map_err(|_| refused())
    }

    /// The half that others are given.
    pub fn public(&self) -> Result<[u8; KEY_BYTES]> {
        self.0.public_key().as_ref().try_into().map_err(|_| refused())
    }

    /// A signature of a message.
    pub fn sign(&self, message: &[u8]) -> Result<[u8; SIGNATURE_BYTES]> {
        let signature = self.0.sign(message);
        signature.as_ref().try_into().map_err(|_| Error::internal("the crypto engine could not sign"))
    }
}

/// Whether the owner of this key signed this message.
pub fn is_signed(public: &[u8; KEY_BYTES], message: &[u8], signature: &[u8]) -> bool {
    signature::UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}
