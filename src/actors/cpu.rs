//! The pool of threads that seals, opens and hashes: as many as there are workers, never an actor's own.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::{Error, Result};
use crate::telemetry::trace;

/// Runs work that only needs a processor, in the order in which it came. A worker without work sleeps at once:
/// one that looks around for more takes time from the threads that would bring it.
#[derive(Clone)]
pub struct CpuPool(Arc<Owner>);

type Work = Box<dyn FnOnce() + Send>;

/// Ends the workers with the last handle on the pool.
struct Owner {
    shared: Arc<Shared>,
    workers: usize,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Work>,
    closed: bool,
}

impl CpuPool {
    /// A pool of this many threads.
    pub fn new(workers: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let owner = Owner { shared: Arc::clone(&shared), workers };
        for n in 0..workers {
            let shared = Arc::clone(&shared);
            let worker = std::thread::Builder::new().name(format!("nfr-{n}")).spawn(move || shared.work());
            worker.map_err(|error| Error::internal("cannot start the workers").because(error))?;
        }
        Ok(CpuPool(Arc::new(owner)))
    }

    /// How many threads it has.
    pub fn workers(&self) -> usize {
        self.0.workers
    }

    /// Starts the work; the receiver gets its result. A panic becomes an error, and the worker lives on.
    pub fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> oneshot::Receiver<Result<T>> {
        let (done, result) = oneshot::channel();
        let shared = &self.0.shared;
        shared.queue().waiting.push_back(Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(work));
            // Whoever wanted it may have gone.
            let _ = done.send(outcome.unwrap_or_else(|_| Err(Error::internal("a worker panicked"))));
        }));
        shared.arrived.notify_one();
        result
    }

    /// Runs the work and waits for it.
    pub async fn wait<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        self.run(work).await.map_err(|_| Error::internal("the workers have stopped"))?
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does all its life. Work that was taken in is done, also at the end.
    fn work(&self) {
        loop {
            let idle = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
            let mut queue = self.arrived.wait_while(self.queue(), idle).unwrap_or_else(PoisonError::into_inner);
            let Some(work) = queue.waiting.pop_front() else { return };
            drop(queue);
            work();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.queue().closed = true;
        self.shared.arrived.notify_all();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_done_in_order_also_after_a_panic_and_at_the_end() {
        let pool = CpuPool::new(1).unwrap();
        let done = Arc::new(Mutex::new(Vec::new()));
        let note = |n: u32| {
            let done = Arc::clone(&done);
            move || {
                done.lock().unwrap().push(n);
                Ok(n)
            }
        };
        assert_eq!(pool.wait(note(1)).await.unwrap(), 1);
        assert!(pool.wait(|| -> Result<()> { panic!("planned") }).await.is_err());
        let last: Vec<_> = (2..50).map(|n| pool.run(note(n))).collect();
        drop(pool);
        for (result, n) in last.into_iter().zip(2..) {
            assert_eq!(result.await.unwrap().unwrap(), n);
        }
        assert_eq!(*done.lock().unwrap(), (1..50).collect::<Vec<_>>());
    }
}
