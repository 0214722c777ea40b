//! Work under way in parallel whose results are wanted in order: a pipeline's sliding window.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Results in the order in which the work was started.
pub struct Window<T> {
    at_work: VecDeque<oneshot::Receiver<Result<T>>>,
    most: usize,
}

impl<T> Window<T> {
    /// A window of at most `most`.
    pub fn new(most: usize) -> Self {
        Window { at_work: VecDeque::new(), most }
    }

    /// Adds work. When the window is full, the oldest result comes back.
    pub async fn push(&mut self, work: oneshot::Receiver<Result<T>>) -> Result<Option<T>> {
        self.at_work.push_back(work);
        if self.at_work.len() > self.most { self.next().await } else { Ok(None) }
    }

    /// The oldest result; `None` when nothing is under way.
    pub async fn next(&mut self) -> Result<Option<T>> {
        let Some(work) = self.at_work.pop_front() else { return Ok(None) };
        work.await.map_err(|_| Error::internal("a worker gave up"))?.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn results_come_in_the_order_of_the_work_and_the_oldest_when_it_is_full() {
        let mut window = Window::new(2);
        let (ends, works): (Vec<_>, Vec<_>) = (0..3).map(|_| oneshot::channel()).unzip();
        for (nth, end) in ends.into_iter().enumerate().rev() {
            end.send(Ok(nth)).unwrap();
        }
        let mut seen = Vec::new();
        for work in works {
            seen.push(window.push(work).await.unwrap());
        }
        assert_eq!(seen, [None, None, Some(0)]);
        assert_eq!((window.next().await.unwrap(), window.next().await.unwrap()), (Some(1), Some(2)));
        assert_eq!(window.next().await.unwrap(), None);
    }
}
