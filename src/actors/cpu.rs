//! The pool of threads that seals and opens: as many as there are workers, never an actor's own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::telemetry::trace;

/// Runs work that only needs a processor.
#[derive(Clone)]
pub struct CpuPool(Arc<rayon::ThreadPool>);

impl CpuPool {
    /// A pool of this many threads.
    pub fn new(workers: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).thread_name(|n| format!("nfr-{n}")).build();
        Ok(CpuPool(Arc::new(pool.map_err(|error| Error::internal("cannot start the workers").because(error))?)))
    }

    /// Starts the work; the receiver gets its result. A panic becomes an error, and the worker lives on.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let (done, result) = oneshot::channel();
        self.0.spawn_fifo(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            // Whoever wanted it may have gone.
            let _ = done.send(outcome.unwrap_or_else(|_| Err(Error::internal("a worker panicked"))));
        });
        result
    }

    /// Runs the work and waits for it.
    pub async fn wait<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.run(work).await.map_err(|_| Error::internal("the workers have stopped"))?
    }
}

/// Runs work that waits for the disk.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let place = trace::here();
    let work = move || {
        let _inside = trace::enter(place);
        work()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::internal("work on the disk failed").because(error))?
}
