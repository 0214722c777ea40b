//! Tickets: what lets its bearer read one version of one object, or bring one object of one size, until it expires.
//!
//! A ticket is signed with a key drawn from the site's keyring, so every container of the site takes those of the
//! others, and nothing has to be remembered of them.

use super::keyring::Keyring;
use crate::error::{Error, Kind, Result};
use crate::model::{Address, Version, from_hex, push_hex};

/// What keeps this use of a key apart from all others.
const CONTEXT: &str = "meshstore ticket 1";
const FORMAT: u8 = 1;
const TICKET_BYTES: usize = 1 + 8 + 32;

/// What a ticket allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// To read this version.
    Pull(Version),
    /// To bring an object of this size.
    Push(u64),
    /// To do with the object what another container of the site was asked to do, and has allowed.
    Peer,
}

impl Keyring {
    /// A ticket that is good until a moment, in milliseconds since 1970.
    pub fn ticket(&self, address: &Address, grant: Grant, expires_ms: u64) -> Result<String> {
        let mac = mac(self.secret(self.active())?, address, grant, expires_ms);
        let mut text = Vec::with_capacity(TICKET_BYTES * 2);
        push_hex(&mut text, &[FORMAT]);
        push_hex(&mut text, &expires_ms.to_be_bytes());
        push_hex(&mut text, mac.as_bytes());
        String::from_utf8(text).map_err(|_| Error::internal("a ticket is no text"))
    }

    /// Whether a ticket allows this now. One that was signed before the keys were rotated still counts.
    pub fn admits(&self, ticket: &str, address: &Address, grant: Grant, now_ms: u64) -> Result<()> {
        let refused = |why: &'static str| Error::new(Kind::Unauthorised, why);
        let bad = || refused("this ticket is not for this, or none of this site's; ask for one");
        let bytes: [u8; TICKET_BYTES] = from_hex(ticket).ok_or_else(bad)?;
        let (format, rest) = bytes.split_first().ok_or_else(bad)?;
        let (expires, signed) = rest.split_first_chunk().ok_or_else(bad)?;
        let signed = <[u8; 32]>::try_from(signed).map_err(|_| bad())?;
        let expires_ms = u64::from_be_bytes(*expires);
        // The comparison of two hashes takes the same time wherever they differ.
        let is_ours = |id| {
            let secret = self.secret(id);
            secret.is_ok_and(|secret| mac(secret, address, grant, expires_ms) == blake3::Hash::from_bytes(signed))
        };
        if *format != FORMAT || !self.ids().any(is_ours) {
            return Err(bad());
        }
        if expires_ms <= now_ms { Err(refused("the ticket has expired; ask for another")) } else { Ok(()) }
    }
}

fn mac(secret: &[u8; 32], address: &Address, grant: Grant, expires_ms: u64) -> blake3::Hash {
    let key = zeroize::Zeroizing::new(blake3::derive_key(CONTEXT, secret));
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&[FORMAT]).update(&expires_ms.to_be_bytes());
    match grant {
        Grant::Pull(version) => hasher.update(b"pull").update(&version.to_be_bytes()),
        Grant::Push(size) => hasher.update(b"push").update(&size.to_be_bytes()),
        Grant::Peer => hasher.update(b"peer"),
    };
    hasher.update(address.as_str().as_bytes()).finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerId, SeededRng};

    #[test]
    fn a_ticket_is_good_for_one_thing_until_its_end() {
        let rng = SeededRng::new(1);
        let mut ring = Keyring::generate(&rng);
        let (address, other): (Address, Address) = ("c/k".parse().unwrap(), "c/l".parse().unwrap());
        let version = Version { time: 7, container: ContainerId(1) };
        let pull = Grant::Pull(version);
        let ticket = ring.ticket(&address, pull, 1000).unwrap();
        ring.admits(&ticket, &address, pull, 999).unwrap();
        let later = Version { time: 8, ..version };
        for refused in [
            ring.admits(&ticket, &address, pull, 1000),
            ring.admits(&ticket, &other, pull, 1),
            ring.admits(&ticket, &address, Grant::Pull(later), 1),
            ring.admits(&ticket, &address, Grant::Push(7), 1),
            Keyring::generate(&rng).admits(&ticket, &address, pull, 1),
            ring.admits("", &address, pull, 1),
            ring.admits(&"0".repeat(TICKET_BYTES * 2), &address, pull, 1),
        ] {
            assert_eq!(refused.unwrap_err().kind(), Kind::Unauthorised);
        }
        for at in 0..ticket.len() {
            let mut forged = ticket.clone().into_bytes();
            forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
            assert!(ring.admits(std::str::from_utf8(&forged).unwrap(), &address, pull, 1).is_err(), "{at}");
        }
        // After a rotation both the old and the new ones count.
        let id = ring.add(&rng).unwrap();
        ring.activate(id).unwrap();
        ring.admits(&ticket, &address, pull, 1).unwrap();
        let push = ring.ticket(&address, Grant::Push(5), 1000).unwrap();
        ring.admits(&push, &address, Grant::Push(5), 1).unwrap();
        assert!(ring.admits(&push, &address, Grant::Push(6), 1).is_err());
    }
}
