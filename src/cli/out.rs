//! Answers on stdout: lines for people, JSON for programs, and a quiet end when nobody reads on.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use crate::error::{Error, Result};

/// Writes bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> Result<()> {
    settle(io::stdout().write_all(bytes))
}

/// Hands over what is buffered.
pub(super) fn flush() -> Result<()> {
    settle(io::stdout().flush())
}

/// Writes one line; control characters cannot reach the terminal.
pub(super) fn line(text: &str) -> Result<()> {
    settle(writeln!(io::stdout(), "{}", plain(text)))
}

/// Writes text of our own as it is.
pub(super) fn text(text: &str) -> Result<()> {
    bytes(text.as_bytes())?;
    flush()
}

/// Writes one JSON document on a line of its own.
pub(super) fn json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string(value).map_err(|error| Error::internal("cannot write JSON").because(error))?;
    settle(writeln!(io::stdout(), "{text}"))
}

fn settle(outcome: io::Result<()>) -> Result<()> {
    match outcome {
        // The reader has seen enough (`meshstore ls c | head`): that is no failure of ours.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        outcome => outcome.map_err(|error| Error::unavailable("cannot write to stdout").because(error)),
    }
}

/// Text without control characters other than line ends: names come from elsewhere and must not
/// steer the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// A number and what it counts.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// A size for people, three digits or so.
pub(super) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}
