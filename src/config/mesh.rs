//! The invitation by which a site enters a mesh.

use std::fmt;
use std::str::FromStr;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::model::{Name, SiteKeys, from_hex, push_hex};

/// What a site needs to be let in: whom to ask, what that one proves itself by, and a word. Shown without the word.
#[derive(Clone, PartialEq, Eq)]
pub struct MeshInvitation {
    /// The site that lets others in.
    pub site: Name,
    /// What that site proves itself by.
    pub keys: SiteKeys,
    /// What it asks for.
    pub word: Zeroizing<[u8; 32]>,
}

impl MeshInvitation {
    /// The whole of it, for a file of its owner alone.
    pub fn expose(&self) -> Zeroizing<String> {
        let mut word = Zeroizing::new(Vec::with_capacity(64));
        push_hex(&mut word, &*self.word);
        Zeroizing::new(format!("{}:{}:{}", self.site, self.keys, String::from_utf8_lossy(&word)))
    }
}

impl FromStr for MeshInvitation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The text is not repeated: it holds the word.
        let bad = || Error::invalid("an invitation is SITE:KEYS:WORD as the hub wrote it; copy it whole");
        let mut parts = text.split(':');
        let mut part = || parts.next().ok_or_else(bad);
        let (site, keys, word) = (part()?, part()?, part()?);
        let word = Zeroizing::new(from_hex(word).ok_or_else(bad)?);
        let invitation =
            MeshInvitation { site: site.parse().map_err(|_| bad())?, keys: keys.parse().map_err(|_| bad())?, word };
        if parts.next().is_none() { Ok(invitation) } else { Err(bad()) }
    }
}

impl fmt::Debug for MeshInvitation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MeshInvitation({})", self.site)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invitation_is_read_as_it_was_written_and_shows_no_word() {
        let text = format!("cloud:{}:{}", "ab".repeat(64), "cd".repeat(32));
        let read: MeshInvitation = text.parse().unwrap();
        assert_eq!((read.site.as_str(), read.expose().as_str()), ("cloud", text.as_str()));
        assert!(!format!("{read:?}").contains("cdcd"));
        for bad in
            ["", "cloud", &text[1..text.len() - 1], &format!("{text}:"), &text.replace("cloud", "Cloud"), "a:b:c"]
        {
            let refused = bad.parse::<MeshInvitation>().unwrap_err().to_string();
            assert!(!refused.contains("cdcd"), "{refused}");
        }
    }
}
