//! The crypto engine: the only folder that names aws-lc-rs. `aes-gcm` is the tests' independent oracle.

mod pair;

use std::cell::RefCell;
use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use zeroize::{Zeroize, Zeroizing};

use crate::error::{Error, Result};
use crate::model::Rng;

pub use pair::{Agreement, SIGNATURE_BYTES, Signing, is_signed};

/// Bytes of an authentication tag.
pub const TAG_BYTES: usize = 16;

/// Random bytes that a thread draws at once: asking the engine costs the same for a few bytes as for many.
const DRAWN_BYTES: usize = 512;

/// Random bytes from the operating system, through the engine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

/// What a thread has drawn and not given out yet; what it gave out is wiped.
struct Drawn {
    bytes: Zeroizing<[u8; DRAWN_BYTES]>,
    left: usize,
}

thread_local! {
    static DRAWN: RefCell<Drawn> = RefCell::new(Drawn { bytes: Zeroizing::new([0; DRAWN_BYTES]), left: 0 });
}

impl Rng for SystemRng {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > DRAWN_BYTES / 4 {
            return draw(buffer);
        }
        DRAWN.with_borrow_mut(|Drawn { bytes, left }| {
            if *left < buffer.len() {
                draw(&mut **bytes);
                *left = DRAWN_BYTES;
            }
            let rest = *left - buffer.len();
            if let Some(given) = bytes.get_mut(rest..*left) {
                buffer.copy_from_slice(given);
                given.zeroize();
            }
            *left = rest;
        });
    }
}

fn draw(buffer: &mut [u8]) {
    // Without randomness there are no keys, no ids and no safe way on.
    #[allow(clippy::panic)]
    if aws_lc_rs::rand::fill(buffer).is_err() {
        panic!("the operating system gives no random bytes");
    }
}

/// A key that seals the chunks of one frame, or wraps such keys. Wiped when dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// A fresh key.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.fill(&mut *bytes);
        DataKey(bytes)
    }

    /// A key of these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        DataKey(Zeroizing::new(bytes))
    }

    /// The key's bytes, for another site that may open what it seals.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key's bytes, to be wrapped.
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key, made ready for use.
    pub(super) fn cipher(&self) -> Result<Cipher> {
        let key = UnboundKey::new(&AES_256_GCM, &*self.0);
        Ok(Cipher(LessSafeKey::new(key.map_err(|_| Error::internal("the crypto engine refused a key"))?)))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(…)")
    }
}

/// AES-256-GCM under one key.
pub struct Cipher(LessSafeKey);

impl Cipher {
    /// Encrypts in place and returns the tag. A nonce must never come twice under a key.
    pub fn seal(&self, nonce: [u8; 12], aad: &[u8], buffer: &mut [u8]) -> Result<[u8; TAG_BYTES]> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.0.seal_in_place_separate_tag(nonce, Aad::from(aad), buffer);
        let tag = tag.map_err(|_| Error::internal("the crypto engine could not encrypt"))?;
        tag.as_ref().try_into().map_err(|_| Error::internal("the crypto engine made a tag of another length"))
    }

    /// Checks and decrypts; `None` when a single bit of anything is wrong.
    pub fn open(&self, nonce: [u8; 12], aad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (text, tag) = sealed.split_at_checked(sealed.len().checked_sub(TAG_BYTES)?)?;
        let mut plain = vec![0; text.len()];
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.0.open_separate_gather(nonce, Aad::from(aad), text, tag, &mut plain).ok()?;
        Some(plain)
    }

    /// The same where the bytes are: says how many at the beginning are plain now.
    pub fn open_in_place(&self, nonce: [u8; 12], aad: &[u8], sealed: &mut [u8]) -> Option<usize> {
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = self.0.open_in_place(nonce, Aad::from(aad), sealed).ok()?;
        Some(plain.len())
    }
}

/// SHA-256 of bytes that come in order.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Of nothing so far.
    pub fn new() -> Self {
        Sha256(digest::Context::new(&digest::SHA256))
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash.
    pub fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        out.iter_mut().zip(self.0.finish().as_ref()).for_each(|(to, from)| *to = *from);
        out
    }
}

#[cfg(test)]
mod tests {
    use aes_gcm::aead::{Aead, KeyInit, Payload};
    use aes_gcm::{Aes256Gcm, Key};

    use super::*;
    use crate::model::SeededRng;

    /// The engine and an independent implementation open what the other sealed.
    #[test]
    fn an_independent_implementation_agrees() {
        let rng = SeededRng::new(1);
        for len in [0, 1, 15, 16, 17, 1000, 65_537] {
            let key = DataKey::random(&rng);
            let (mut nonce, mut plain) = ([0; 12], vec![0; len]);
            rng.fill(&mut nonce);
            rng.fill(&mut plain);
            let oracle = Aes256Gcm::new(&Key::<Aes256Gcm>::from(*key.bytes()));
            let theirs = oracle.encrypt(&nonce.into(), Payload { msg: &plain, aad: b"aad" }).unwrap();
            let cipher = key.cipher().unwrap();
            assert_eq!(cipher.open(nonce, b"aad", &theirs).unwrap(), plain);
            let mut ours = plain.clone();
            let tag = cipher.seal(nonce, b"aad", &mut ours).unwrap();
            ours.extend(tag);
            assert_eq!(ours, theirs);
            assert!(cipher.open(nonce, b"aae", &ours).is_none());
        }
    }

    #[test]
    fn sha256_of_a_known_text() {
        let mut hash = Sha256::new();
        hash.update(b"a");
        hash.update(b"bc");
        assert_eq!(hash.finish()[..4], [0xba, 0x78, 0x16, 0xbf]);
    }
}
