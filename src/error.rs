//! The one error type of the project: a small closed [`Kind`], a message, context and a source.
//!
//! Nothing in here knows HTTP, NATS or exit codes; each door maps [`Kind`] with one exhaustive
//! `match`. Messages are lower case, without a full stop, and say what was wrong, with which
//! input, and what to do about it.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// What `Result` means everywhere in this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The closed set of ways a request can fail, the same at every door.
///
/// The order is a contract: the CLI's exit code is 10 plus the position in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request itself is malformed.
    Invalid,
    /// No credentials, or unknown ones.
    Unauthorised,
    /// Known credentials that do not reach this far.
    Forbidden,
    /// No such object, collection or resource.
    NotFound,
    /// It was to be created and is already here.
    AlreadyExists,
    /// A condition of the request does not hold (a stale `If-Match`, a digest that differs).
    PreconditionFailed,
    /// Larger than a limit allows.
    TooLarge,
    /// A range outside the object.
    BadRange,
    /// A version that this site has not learnt yet.
    NotYet,
    /// A limit is reached; the same request may succeed later.
    Busy,
    /// A fault of ours.
    Internal,
    /// The bytes are here but fail their check.
    Corrupt,
    /// Named by the contract, not built yet.
    Unimplemented,
    /// Something this answer depends on cannot be reached.
    Unavailable,
    /// The request's time ran out.
    Deadline,
}

impl Kind {
    /// Every kind, in the order of the contract.
    pub const ALL: [Kind; 15] = [
        Kind::Invalid,
        Kind::Unauthorised,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::AlreadyExists,
        Kind::PreconditionFailed,
        Kind::TooLarge,
        Kind::BadRange,
        Kind::NotYet,
        Kind::Busy,
        Kind::Internal,
        Kind::Corrupt,
        Kind::Unimplemented,
        Kind::Unavailable,
        Kind::Deadline,
    ];

    /// The kind's name on every door.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Invalid => "invalid",
            Kind::Unauthorised => "unauthorised",
            Kind::Forbidden => "forbidden",
            Kind::NotFound => "not_found",
            Kind::AlreadyExists => "already_exists",
            Kind::PreconditionFailed => "precondition_failed",
            Kind::TooLarge => "too_large",
            Kind::BadRange => "bad_range",
            Kind::NotYet => "not_yet",
            Kind::Busy => "busy",
            Kind::Internal => "internal",
            Kind::Corrupt => "corrupt",
            Kind::Unimplemented => "unimplemented",
            Kind::Unavailable => "unavailable",
            Kind::Deadline => "deadline",
        }
    }

    /// The kind with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether the same request may succeed when simply sent again later.
    pub const fn retryable(self) -> bool {
        matches!(self, Kind::NotYet | Kind::Busy | Kind::Unavailable | Kind::Deadline)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

type Source = Box<dyn std::error::Error + Send + Sync + 'static>;

/// A failure: what kind, what was wrong, with which input, and what caused it.
pub struct Error(Box<Inner>);

struct Inner {
    kind: Kind,
    message: String,
    context: Vec<(&'static str, String)>,
    source: Option<Source>,
    retry_after: Option<Duration>,
}

impl Error {
    /// An error of `kind`; `message` says what was wrong and what to do.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), context: Vec::new(), source: None, retry_after: None }))
    }

    /// Adds one thing the failure was about, such as the address or the path.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl fmt::Display) -> Self {
        self.0.context.push((name, value.to_string()));
        self
    }

    /// Adds what caused it.
    #[must_use]
    pub fn because(mut self, source: impl Into<Source>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay);
        self
    }

    /// What kind of failure this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// What was wrong and what to do, without context and cause.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// One named piece of context.
    pub fn context(&self, name: &str) -> Option<&str> {
        self.0.context.iter().find(|(n, _)| *n == name).map(|(_, value)| value.as_str())
    }

    /// When trying again makes sense, where the failing part knows.
    pub fn delay(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether the same request may succeed when sent again later.
    pub fn retryable(&self) -> bool {
        self.0.kind.retryable()
    }

    /// The same failure for each of several waiters on one piece of work (the cause becomes text).
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Error(Box::new(Inner {
            kind: self.0.kind,
            message: self.0.message.clone(),
            context: self.0.context.clone(),
            source: self.0.source.as_ref().map(|source| source.to_string().into()),
            retry_after: self.0.retry_after,
        }))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        for (index, (name, value)) in self.0.context.iter().enumerate() {
            let lead = if index == 0 { " (" } else { ", " };
            write!(f, "{lead}{name}: {value}")?;
        }
        if !self.0.context.is_empty() {
            f.write_str(")")?;
        }
        if let Some(source) = &self.0.source {
            // A cause of other making may quote its input as it came: no line and no colour is forged with it.
            f.write_str(": ")?;
            for c in source.to_string().chars() {
                if c.is_control() { write!(f, "{}", c.escape_default())? } else { f.write_char(c)? }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The cause is already part of the text, so a printer of chains must not print it twice.
        None
    }
}

macro_rules! constructors {
    ($($name:ident => $kind:ident),* $(,)?) => {
        impl Error {
            $(
                #[doc = concat!("An error of kind [`Kind::", stringify!($kind), "`].")]
                pub fn $name(message: impl Into<String>) -> Self {
                    Error::new(Kind::$kind, message)
                }
            )*
        }
    };
}

constructors! {
    invalid => Invalid,
    not_found => NotFound,
    too_large => TooLarge,
    bad_range => BadRange,
    busy => Busy,
    internal => Internal,
    corrupt => Corrupt,
    unimplemented => Unimplemented,
    unavailable => Unavailable,
    deadline => Deadline,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_message_context_and_cause() {
        let cause = std::io::Error::other("disk on fire");
        let error = Error::internal("cannot write the frame").with("path", "/x").because(cause);
        assert_eq!(error.to_string(), "cannot write the frame (path: /x): disk on fire");
        assert_eq!(error.context("path"), Some("/x"));
        assert_eq!(format!("{error:?}"), format!("internal: {error}"));
        let quoting = Error::corrupt("cannot be read").because("unknown `a\n\u{1b}[31mé`");
        assert_eq!(quoting.to_string(), "cannot be read: unknown `a\\n\\u{1b}[31mé`");
    }

    #[test]
    fn names_are_unique_and_found_again() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("nonsense"), None);
    }
}
