//! The thread of a bus: its connection, what is heard on it and those who answer. A message that passes between them
//! wakes no other thread, which would take longer than a small answer itself.

use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

use crate::error::{Error, Result};

type Job = Box<dyn FnOnce() + Send>;

/// The thread; it ends when this is dropped, with all that runs on it.
pub struct BusThread {
    jobs: mpsc::UnboundedSender<Job>,
}

impl BusThread {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let cannot = |error| Error::internal("cannot start the thread of the bus").because(error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let (jobs, mut waiting) = mpsc::unbounded_channel::<Job>();
        let life = move || {
            LocalSet::new().block_on(&runtime, async {
                while let Some(job) = waiting.recv().await {
                    job();
                }
            });
        };
        std::thread::Builder::new().name("bus".into()).spawn(life).map_err(cannot)?;
        Ok(BusThread { jobs })
    }

    /// Does some work there; whatever it spawns stays there.
    pub async fn run<T, F>(&self, work: impl FnOnce() -> F + Send + 'static) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + 'static,
    {
        let gone = || Error::internal("the thread of the bus has ended");
        let (done, outcome) = oneshot::channel();
        let job = move || {
            tokio::task::spawn_local(async move {
                // Whoever asked may have gone.
                let _ = done.send(work().await);
            });
        };
        self.jobs.send(Box::new(job)).map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}
