//! How the cloud is called: from a blocking thread, within a time limit, and again after a while
//! where the failure may pass. What the store says becomes one of our errors here and nowhere else.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::runtime::Handle;

use crate::error::Error;
use crate::limits::{CLOUD_ATTEMPTS_MAX, CLOUD_BACKOFF_FIRST, CLOUD_BACKOFF_LONGEST, CLOUD_CALL_TIMEOUT};
use crate::model::{Clock, Rng, Timer};

/// What level 3 is given from outside.
#[derive(Clone)]
pub struct CloudParts {
    /// Where the store's futures run.
    pub runtime: Handle,
    /// Dates receipts.
    pub clock: Arc<dyn Clock>,
    /// Ends what takes too long, and spaces attempts.
    pub timer: Arc<dyn Timer>,
    /// Spreads the attempts of several callers.
    pub rng: Arc<dyn Rng>,
}

/// Why a call did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// It may pass: the call is made again.
    Passing(Error),
    /// It will not pass by itself.
    Lasting(Error),
    /// There is nothing of this name.
    Missing(Error),
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Passing(error) | Trouble::Lasting(error) | Trouble::Missing(error) => error,
        }
    }
}

impl Trouble {
    /// An error of the store in our terms; `what` says what could not be done.
    pub fn of_store(error: object_store::Error, what: &'static str) -> Self {
        use object_store::Error as Store;
        match error {
            Store::NotFound { .. } => {
                Trouble::Missing(Error::unavailable(format!("{what}: it is not in the cloud any more")).because(error))
            }
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => {
                let why = format!("{what}: the cloud refuses access; mend the credentials or the permissions");
                Trouble::Lasting(Error::unavailable(why).because(error))
            }
            Store::Generic { .. } | Store::JoinError { .. } => match io_kind(&error) {
                Some(kind) => Trouble::of_io(kind, what, error),
                None => Trouble::passing(what, error),
            },
            _ => Trouble::Lasting(Error::internal(format!("{what}: the cloud cannot do this")).because(error)),
        }
    }

    /// An error of the folder's file system in our terms.
    pub fn of_io(kind: io::ErrorKind, what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        use io::ErrorKind as Io;
        let why = match kind {
            Io::StorageFull | Io::QuotaExceeded => "the cloud folder is full; free some space",
            Io::ReadOnlyFilesystem | Io::PermissionDenied | Io::NotADirectory => {
                "the cloud folder is not writable; mend it or name another in cloud.url"
            }
            _ => return Trouble::passing(what, cause),
        };
        Trouble::Lasting(Error::unavailable(format!("{what}: {why}")).because(cause))
    }

    fn passing(what: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        let why = format!("{what}: the cloud cannot be reached or fails; it can be tried again later");
        Trouble::Passing(Error::unavailable(why).because(cause))
    }
}

/// The file system's own word on the failure, however deep it lies.
fn io_kind(error: &(dyn std::error::Error + 'static)) -> Option<io::ErrorKind> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.filter_map(|error| error.downcast_ref::<io::Error>()).map(io::Error::kind).next()
}

impl CloudParts {
    /// Makes one small call.
    pub(super) fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        self.call_within(CLOUD_CALL_TIMEOUT, what, call)
    }

    /// Makes one call that may take this long.
    pub(super) fn call_within<T>(
        &self,
        limit: Duration,
        what: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        let outcome = self.runtime.block_on(async {
            // First the call: one that is done when its time ends is done.
            match select(Box::pin(call), self.timer.after(limit)).await {
                Either::Left((outcome, _)) => Some(outcome),
                Either::Right(_) => None,
            }
        });
        match outcome {
            Some(outcome) => outcome.map_err(|error| Trouble::of_store(error, what)),
            None => {
                let why = format!("{what}: the cloud did not answer in time; it can be tried again later");
                Err(Trouble::Passing(Error::unavailable(why).with("limit_ms", limit.as_millis())))
            }
        }
    }

    /// Works on something until it succeeds, fails for good, or has failed too often.
    pub(super) fn patiently<T>(&self, mut work: impl FnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut backoff = CLOUD_BACKOFF_FIRST;
        for _ in 1..CLOUD_ATTEMPTS_MAX {
            match work() {
                Err(Trouble::Passing(_)) => {}
                done => return done,
            }
            let half = backoff.as_millis() as u64 / 2;
            let delay = Duration::from_millis(half + self.rng.below(2 * half + 1));
            self.runtime.block_on(self.timer.after(delay));
            backoff = (backoff * 2).min(CLOUD_BACKOFF_LONGEST);
        }
        work()
    }
}
