//! Work under way in parallel whose results are wanted in order: a pipeline's sliding window.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Results in the order in which the work was started.
pub struct Window<T> {
    pending: VecDeque<oneshot::Receiver<Result<T>>>,
    most: usize,
}

impl<T> Window<T> {
    /// A window of at most `most`.
    pub fn new(most: usize) -> Self {
        Window { pending: VecDeque::new(), most }
    }

    /// Adds work. When the window is full, the oldest result comes back.
    pub async fn push(&mut self, work: oneshot::Receiver<Result<T>>) -> Result<Option<T>> {
        self.pending.push_back(work);
        if self.pending.len() > self.most { self.next().await } else { Ok(None) }
    }

    /// The oldest result; `None` when nothing is under way.
    pub async fn next(&mut self) -> Result<Option<T>> {
        let Some(work) = self.pending.pop_front() else { return Ok(None) };
        let done = work.await.map_err(|_| Error::internal("a worker gave up"))?;
        done.map(Some)
    }
}
