//! Which request the work at hand belongs to, for its log lines.
//!
//! A span of the logging library would be found, filled and emptied again for every request, also when nothing
//! is said in it; this is a few words that move with the work.

use std::cell::Cell;
use std::pin::pin;
use std::task::Poll;

use super::Context;

/// The request that work is done for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Its place in the trace.
    pub context: Context,
    /// Its method.
    pub method: &'static str,
    /// The template of its path.
    pub route: &'static str,
}

thread_local! {
    static HERE: Cell<Option<Place>> = const { Cell::new(None) };
}

/// Until it is dropped, this thread works for the request.
pub struct Inside(Option<Place>);

/// Where this thread is working.
pub fn here() -> Option<Place> {
    HERE.get()
}

/// From here on this thread works there.
pub fn enter(place: Option<Place>) -> Inside {
    Inside(HERE.replace(place))
}

impl Drop for Inside {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

/// Does the work there, whichever threads it moves over.
pub async fn within<F: Future>(place: Option<Place>, work: F) -> F::Output {
    let mut work = pin!(work);
    std::future::poll_fn(move |context| -> Poll<F::Output> {
        let _inside = enter(place);
        work.as_mut().poll(context)
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(span: u64) -> Option<Place> {
        let context = Context { trace: 1, span, parent: None, sampled: false };
        Some(Place { context, method: "GET", route: "/" })
    }

    #[tokio::test]
    async fn work_keeps_its_place_over_waits_and_leaves_the_others_theirs() {
        let work = |n| {
            within(place(n), async move {
                for _ in 0..3 {
                    assert_eq!(here(), place(n));
                    tokio::task::yield_now().await;
                }
            })
        };
        tokio::join!(work(1), work(2));
        assert_eq!(here(), None);
        let outer = enter(place(3));
        {
            let _inner = enter(None);
            assert_eq!(here(), None);
        }
        assert_eq!(here(), place(3));
        drop(outer);
        assert_eq!(here(), None);
    }
}
