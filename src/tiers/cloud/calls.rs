//! How the cloud is called: from a blocking thread, a few calls at once, each within a time limit,
//! and again after a while where the failure may pass.
//!
//! The calls run on a runtime of their own, so that a folder that hangs takes no thread of anybody
//! else, and callers that fill a pool of blocking threads still get their answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::trouble::Trouble;
use crate::error::{Error, Result as Done};
use crate::limits::{CLOUD_ATTEMPTS_MAX, CLOUD_BACKOFF_FIRST, CLOUD_BACKOFF_LONGEST};
use crate::model::{Clock, Rng, Timer};

/// What level 3 is given from outside.
#[derive(Clone)]
pub struct CloudParts {
    /// Dates receipts.
    pub clock: Arc<dyn Clock>,
    /// Ends what takes too long, and spaces attempts.
    pub timer: Arc<dyn Timer>,
    /// Spreads the attempts of several callers.
    pub rng: Arc<dyn Rng>,
    /// Calls that are on their way at once.
    pub concurrency: usize,
    /// How long a small call may take: a question, a head, a range.
    pub timeout: Duration,
    /// How long one part of an upload, or putting its parts together, may take.
    pub upload_timeout: Duration,
}

/// The one who calls.
pub struct Calls {
    pub parts: CloudParts,
    pub turns: Semaphore,
    /// Here until the end.
    runtime: Option<Runtime>,
}

impl Calls {
    pub fn new(parts: CloudParts) -> Done<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name("cloud")
            .worker_threads(1)
            // One more than calls: for tidying up after an upload that was given up.
            .max_blocking_threads(parts.concurrency + 1)
            .enable_all()
            .build()
            .map_err(|error| Error::unavailable("cannot start the threads of level 3").because(error))?;
        Ok(Calls { turns: Semaphore::new(parts.concurrency), parts, runtime: Some(runtime) })
    }

    pub fn runtime(&self) -> Result<&Runtime, Trouble> {
        self.runtime.as_ref().ok_or_else(|| Trouble::Lasting(Error::internal("level 3 has ended")))
    }

    /// Makes one small call.
    pub fn call<T>(
        &self,
        what: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        self.call_within(self.parts.timeout, what, call)
    }

    /// Makes one call that may take this long, once it is its turn.
    pub fn call_within<T>(
        &self,
        limit: Duration,
        what: &'static str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Trouble> {
        let timer = &self.parts.timer;
        self.runtime()?.block_on(async {
            let turn = self.turns.acquire();
            let Either::Left((_turn, _)) = select(Box::pin(turn), timer.after(limit)).await else {
                let why = format!("{what}: too many calls to the cloud are on their way; try again later");
                return Err(Trouble::Passing(Error::busy(why).with("cloud.concurrency", self.parts.concurrency)));
            };
            // First the call: one that is done when its time ends is done.
            match select(Box::pin(call), timer.after(limit)).await {
                Either::Left((outcome, _)) => outcome.map_err(|error| Trouble::of_store(error, what)),
                Either::Right(_) => {
                    let why = format!("{what}: the cloud did not answer in time; it can be tried again later");
                    Err(Trouble::Passing(Error::unavailable(why).with("limit_ms", limit.as_millis())))
                }
            }
        })
    }

    /// Does something with the folder beneath the store, which may hang like a call.
    pub fn on_disk(
        &self,
        what: &'static str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), Trouble> {
        let work = self.runtime()?.spawn_blocking(work);
        self.call(what, async { Ok(work.await?) })?.map_err(|error| Trouble::of_io(error.kind(), what, error))
    }

    /// Works on something until it succeeds, fails for good, or has failed too often.
    pub fn patiently<T>(&self, mut work: impl FnMut() -> Result<T, Trouble>) -> Result<T, Trouble> {
        let mut backoff = CLOUD_BACKOFF_FIRST;
        for _ in 1..CLOUD_ATTEMPTS_MAX {
            match work() {
                Err(Trouble::Passing(_)) => {}
                done => return done,
            }
            let half = backoff.as_millis() as u64 / 2;
            let delay = Duration::from_millis(half + self.parts.rng.below(2 * half + 1));
            self.runtime()?.block_on(self.parts.timer.after(delay));
            backoff = (backoff * 2).min(CLOUD_BACKOFF_LONGEST);
        }
        work()
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        // It may be the end of an asynchronous task, which cannot wait; what hangs is left behind.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
