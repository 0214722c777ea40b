//! Work under way in parallel whose results are wanted in order: a pipeline's sliding window.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::error::{Error, Result};

/// Results in the order in which the work was started.
pub struct Window<T> {
    pending: VecDeque<Pending<T>>,
    most: usize,
}

enum Pending<T> {
    Done(T),
    AtWork(oneshot::Receiver<Result<T>>),
}

impl<T> Window<T> {
    /// A window of at most `most`.
    pub fn new(most: usize) -> Self {
        Window { pending: VecDeque::new(), most }
    }

    /// How much of it is still under way.
    pub fn at_work(&self) -> usize {
        self.pending.iter().filter(|pending| matches!(pending, Pending::AtWork(work) if work.is_empty())).count()
    }

    /// Adds what is done already, in its place.
    pub fn done(&mut self, result: T) {
        self.pending.push_back(Pending::Done(result));
    }

    /// Adds work. When the window is full, the oldest result comes back.
    pub async fn push(&mut self, work: oneshot::Receiver<Result<T>>) -> Result<Option<T>> {
        self.pending.push_back(Pending::AtWork(work));
        if self.pending.len() > self.most { self.next().await } else { Ok(None) }
    }

    /// The oldest result; `None` when nothing is under way.
    pub async fn next(&mut self) -> Result<Option<T>> {
        match self.pending.pop_front() {
            None => Ok(None),
            Some(Pending::Done(result)) => Ok(Some(result)),
            Some(Pending::AtWork(work)) => work.await.map_err(|_| Error::internal("a worker gave up"))?.map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_done_at_once_keeps_its_place_among_what_takes_long() {
        let mut window = Window::new(8);
        let (slow, result) = oneshot::channel();
        assert_eq!(window.push(result).await.unwrap(), None);
        window.done(2);
        let (quick, result) = oneshot::channel();
        assert_eq!(window.push(result).await.unwrap(), None);
        assert_eq!(window.at_work(), 2);
        quick.send(Ok(3)).unwrap();
        assert_eq!(window.at_work(), 1);
        slow.send(Ok(1)).unwrap();
        let mut seen = Vec::new();
        while let Some(result) = window.next().await.unwrap() {
            seen.push(result);
        }
        assert_eq!(seen, [1, 2, 3]);
    }
}
