//! What a caller requires of the present state before a change is made (`If-Match`, `If-None-Match`).

use super::version::Version;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Kind, Result};

/// A requirement on the current version of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing is required.
    #[default]
    Always,
    /// There is no object now.
    Absent,
    /// There is an object now, whichever version.
    Present,
    /// The object is one of these versions now.
    OneOf(Vec<Version>),
}

impl Condition {
    /// Whether it holds when this is the object's version (`None`: there is no object).
    pub fn check(&self, now: Option<Version>) -> Result<()> {
        let stale = |why: &'static str| Error::new(Kind::PreconditionFailed, why);
        match (self, now) {
            (Condition::Always, _) | (Condition::Absent, None) | (Condition::Present, Some(_)) => Ok(()),
            (Condition::Absent, Some(now)) => {
                let why = "there is an object here already; leave out If-None-Match to overwrite it";
                Err(Error::new(Kind::AlreadyExists, why).with("current", now))
            }
            (Condition::Present | Condition::OneOf(_), None) => {
                Err(stale("there is no object here, but If-Match asks for one"))
            }
            (Condition::OneOf(wanted), Some(now)) if wanted.contains(&now) => Ok(()),
            (Condition::OneOf(_), Some(now)) => {
                Err(stale("the object has another version than If-Match names; read it again and decide anew")
                    .with("current", now))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ContainerId;

    #[test]
    fn each_condition_holds_for_what_it_names() {
        let v = |time| Version { time, container: ContainerId(1) };
        let kind = |condition: Condition, now| condition.check(now).err().map(|error| error.kind());
        assert_eq!(kind(Condition::Always, None), None);
        assert_eq!(kind(Condition::Absent, None), None);
        assert_eq!(kind(Condition::Absent, Some(v(1))), Some(Kind::AlreadyExists));
        assert_eq!(kind(Condition::Present, Some(v(1))), None);
        assert_eq!(kind(Condition::Present, None), Some(Kind::PreconditionFailed));
        assert_eq!(kind(Condition::OneOf(vec![v(1), v(2)]), Some(v(2))), None);
        assert_eq!(kind(Condition::OneOf(vec![v(1)]), Some(v(2))), Some(Kind::PreconditionFailed));
        assert_eq!(kind(Condition::OneOf(vec![v(1)]), None), Some(Kind::PreconditionFailed));
    }
}
