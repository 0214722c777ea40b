//! What is said on the bus by nobody of the site. It changes nothing; it is counted, and told of in the log now and
//! then: whoever can publish must not be able to fill the log.

use std::sync::Mutex;

use serde::de::DeserializeOwned;

use super::wire::{self, Said};
use super::{Site, locked};
use crate::error::{Error, Result};

/// How long the log stays quiet about strangers, once it told of one.
const COMPLAINT_EVERY_MS: u64 = 60_000;

/// When the log told of a stranger last, and how many it has kept quiet about since.
#[derive(Default)]
pub(super) struct Strangers(Mutex<(Option<u64>, u64)>);

impl Strangers {
    /// Says how many there were, this one among them, if it is time to tell of them.
    fn note(&self, now_ms: u64) -> Option<u64> {
        let mut state = locked(&self.0);
        let (told_ms, quiet) = &mut *state;
        *quiet += 1;
        if told_ms.is_some_and(|told_ms| now_ms.saturating_sub(told_ms) < COMPLAINT_EVERY_MS) {
            return None;
        }
        *told_ms = Some(now_ms);
        Some(std::mem::take(quiet))
    }
}

impl Site {
    /// What another container says, if it is one of this site.
    pub(super) fn believe<T: DeserializeOwned + Said>(&self, subject: &str, signed: &[u8]) -> Result<T> {
        wire::read(&self.ring(), subject, signed).inspect_err(|error| self.meet_stranger(subject, error))
    }

    pub(super) fn meet_stranger(&self, subject: &str, error: &Error) {
        self.0.parts.telemetry.metrics.bus_unbelieved.one(());
        if let Some(messages) = self.0.strangers.note(self.now_ms()) {
            let subject = subject.escape_default();
            let what = "somebody on the bus is no container of this site as it should be";
            tracing::error!(%error, %subject, messages, "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_told_of_now_and_then() {
        let strangers = Strangers::default();
        assert_eq!(strangers.note(5), Some(1));
        assert_eq!((strangers.note(6), strangers.note(COMPLAINT_EVERY_MS + 4)), (None, None));
        assert_eq!(strangers.note(COMPLAINT_EVERY_MS + 5), Some(3));
    }
}
