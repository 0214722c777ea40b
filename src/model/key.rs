//! The names of the keys in a keyring.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::hex::{from_hex, write_hex};
use crate::error::{Error, Result};

/// Names a key of the keyring: random, written as 16 hex digits. Says nothing of the key itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyId(pub [u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl FromStr for KeyId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // What was typed in its place may be a secret: it is not repeated.
        let bad = || Error::invalid("a key's id is 16 hex digits; `meshstore key ls` shows the ids");
        from_hex(text).map(KeyId).ok_or_else(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_sixteen_hex_digits_and_nothing_else_is_repeated() {
        let id: KeyId = "00ff10Ab00000001".parse().unwrap();
        assert_eq!(id.to_string(), "00ff10ab00000001");
        for bad in ["", "1", "+0ff10ab00000001", "00ff10ab0000000g", "00ff10ab000000011"] {
            let error = bad.parse::<KeyId>().unwrap_err().to_string();
            assert!(bad.is_empty() || bad == "1" || !error.contains(bad), "{error}");
        }
    }
}
