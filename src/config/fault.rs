//! What is wrong with a configuration, and where it was said.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Kind};

/// Where a value was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the file, at this line (from 1) where it is known.
    File(PathBuf, Option<usize>),
    /// By this environment variable.
    Variable(String),
    /// By a flag of the command line.
    Flag,
    /// Nowhere: the default, or what follows from other keys.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Origin::File(path, None) => write!(f, "{}", path.display()),
            Origin::Variable(name) => f.write_str(name),
            Origin::Flag => f.write_str("flag"),
            Origin::Default => f.write_str("default"),
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Debug)]
pub struct Fault {
    /// The key's path, as far as there is one.
    pub key: String,
    /// Where it was given.
    pub origin: Origin,
    /// What is wrong and what to do.
    pub error: Error,
}

impl Fault {
    pub(super) fn new(key: impl Into<String>, origin: Origin, error: Error) -> Self {
        Fault { key: key.into(), origin, error }
    }

    /// All faults as one error, a line each. Its kind is theirs where they agree.
    pub fn combine(faults: &[Fault]) -> Error {
        let first = faults.first().map_or(Kind::Invalid, |fault| fault.error.kind());
        let kind = if faults.iter().all(|fault| fault.error.kind() == first) { first } else { Kind::Invalid };
        if let [only] = faults {
            return Error::new(kind, format!("the configuration has a fault: {only}"));
        }
        let lines: String = faults.iter().map(|fault| format!("\n  {fault}")).collect();
        Error::new(kind, format!("the configuration has {} faults:{lines}", faults.len()))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{} [{}]", self.error, self.origin)
    }
}
