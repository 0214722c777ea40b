//! What is typed where an object, a collection or a folder of keys is meant.

use std::str::FromStr;

use crate::error::{Error, Result};
use crate::model::{Address, Name};

/// `collection`, `collection/` or `collection/prefix`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) collection: Name,
    /// What follows the first `/`, as typed.
    pub(super) prefix: String,
}

impl FromStr for Target {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (collection, prefix) = text.split_once('/').unwrap_or((text, ""));
        Ok(Target { collection: collection.parse()?, prefix: prefix.to_owned() })
    }
}

impl Target {
    /// The prefix as a folder of keys: empty, or ending in `/`. So `logs` never reaches `logs-old/…`.
    pub(super) fn folder(&self) -> String {
        let folder = self.prefix.trim_end_matches('/');
        if folder.is_empty() { String::new() } else { format!("{folder}/") }
    }

    /// The address of `name` below this folder.
    pub(super) fn below(&self, name: &str) -> Result<Address> {
        Address::new(&self.collection, &format!("{}{name}", self.folder()))
    }

    /// The address itself; below it when only a collection or a folder (`…/`) was typed.
    pub(super) fn address_of(&self, name: Option<&str>) -> Result<Address> {
        let is_folder = self.prefix.is_empty() || self.prefix.ends_with('/');
        match name {
            Some(name) if is_folder => self.below(name),
            _ => Address::new(&self.collection, &self.prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_end_in_a_slash_and_names_go_below() {
        let target = |text: &str| text.parse::<Target>().unwrap();
        assert_eq!(
            (target("c").folder(), target("c/").folder(), target("c/a").folder()),
            (String::new(), String::new(), "a/".into())
        );
        assert_eq!(target("c/a/").below("x/y").unwrap().as_str(), "c/a/x/y");
        assert_eq!(target("c/").address_of(Some("f")).unwrap().as_str(), "c/f");
        assert_eq!(target("c/a").address_of(Some("f")).unwrap().as_str(), "c/a");
        assert!(target("c/").address_of(None).is_err());
        assert!("C/a".parse::<Target>().is_err());
    }
}
