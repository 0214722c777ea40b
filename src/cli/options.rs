//! Options that several commands share: what must hold, how long an object lives.

use crate::control;
use crate::error::{Error, Result};
use crate::model::{Condition, Version};

/// `--if-match`: one version, several between commas, or `*` for any.
pub(super) fn if_match(text: &str) -> Result<Condition> {
    if text == "*" {
        return Ok(Condition::Present);
    }
    let version = |text: &str| {
        // As the ETag has it, or without the quotes.
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        bare.parse::<Version>()
    };
    text.split(',').map(version).collect::<Result<_>>().map(Condition::OneOf)
}

/// `--ttl`: seconds, or a time with a unit.
pub(super) fn ttl(text: &str) -> Result<u64> {
    control::time(text).map_err(|error| Error::invalid(error.message()).with("ttl", text.escape_default()))
}

/// What two options say together.
pub(super) fn condition(if_match: Option<&Condition>, if_none_match: bool) -> Condition {
    match if_match {
        _ if if_none_match => Condition::Absent,
        Some(condition) => condition.clone(),
        None => Condition::Always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_versions_or_a_star() {
        let version = "0000000000000001-0000000000000002";
        let one = Condition::OneOf(vec![version.parse().unwrap()]);
        assert_eq!(if_match("*").unwrap(), Condition::Present);
        assert_eq!((if_match(version).unwrap(), if_match(&format!("\"{version}\"")).unwrap()), (one.clone(), one));
        assert!(matches!(if_match(&format!("{version}, {version}")).unwrap(), Condition::OneOf(two) if two.len() == 2));
        for bad in ["", "3", "\"", "**", "W/\"0000000000000001-0000000000000002\""] {
            assert!(if_match(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!((ttl("90").unwrap(), ttl("15m").unwrap(), ttl("7d").unwrap()), (90, 900, 604_800));
        for bad in ["", "0", "-1", "7w", "1.5h", "99999999d"] {
            let error = ttl(bad).unwrap_err();
            assert!(error.to_string().contains("a time") && error.context("ttl") == Some(bad), "{error}");
        }
    }
}
