//! Spans on their way to a collector: a bounded queue, and a task that sends what is in it in batches.
//!
//! Nothing here speaks HTTP: a [`Collector`] does. A collector that fails is tried again with longer
//! and longer waits, and logged when that begins and when it ends; meanwhile the queue runs full and
//! drops. No request waits for any of it.

mod encode;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

pub use encode::Resource;

use super::Telemetry;
use super::metrics::labels::SpanOutcome;
use super::trace::Span;
use crate::error::Result;
use crate::limits::{EXPORT_BACKOFF_MAX, EXPORT_BATCH_SPANS_MAX, EXPORT_PERIOD, EXPORT_QUEUE_SPANS_MAX};

/// How long the export waits.
#[derive(Clone, Copy)]
struct Pace {
    /// While spans gather.
    period: Duration,
    /// After the first failure; doubled each time.
    backoff_first: Duration,
    /// At most.
    backoff_max: Duration,
}

const PACE: Pace =
    Pace { period: EXPORT_PERIOD, backoff_first: Duration::from_millis(500), backoff_max: EXPORT_BACKOFF_MAX };

/// Where batches go.
pub trait Collector: Send + Sync + 'static {
    /// Where that is, for messages.
    fn url(&self) -> &str;

    /// Sends one batch in the JSON form of OTLP, within a bounded time. An error that is retryable
    /// means that the same batch may be taken later.
    fn post(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<()>>;
}

/// The queue's end that requests see.
pub(super) struct SpanQueue(mpsc::Sender<Span>);

/// The queue's end that the export takes.
pub struct Spans(mpsc::Receiver<Span>);

pub(super) fn queue() -> (SpanQueue, Spans) {
    let (put, take) = mpsc::channel(EXPORT_QUEUE_SPANS_MAX);
    (SpanQueue(put), Spans(take))
}

impl SpanQueue {
    /// Whether there was room.
    pub(super) fn put(&self, span: Span) -> bool {
        self.0.try_send(span).is_ok()
    }

    pub(super) fn len(&self) -> u64 {
        (EXPORT_QUEUE_SPANS_MAX - self.0.capacity().min(EXPORT_QUEUE_SPANS_MAX)) as u64
    }
}

/// An export under way; dropping it ends it at once.
pub struct Export {
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Export {
    /// Starts sending what is queued, on the current tokio runtime.
    pub fn start(telemetry: Arc<Telemetry>, spans: Spans, resource: Resource, collector: Box<dyn Collector>) -> Self {
        Self::start_work(Work {
            telemetry,
            spans: spans.0,
            resource,
            collector,
            batch: Vec::new(),
            failures: 0,
            pace: PACE,
        })
    }

    fn start_work(work: Work) -> Self {
        let (stop, stopped) = oneshot::channel();
        Export { stop: Some(stop), task: tokio::spawn(work.run(stopped)) }
    }

    /// Sends what is queued now, if that is done within `grace`, and ends.
    pub async fn stop(mut self, grace: Duration) {
        drop(self.stop.take());
        // What the time does not allow is lost, and so is what a broken collector does not take.
        let _ = tokio::time::timeout(grace, &mut self.task).await;
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Work {
    telemetry: Arc<Telemetry>,
    spans: mpsc::Receiver<Span>,
    resource: Resource,
    collector: Box<dyn Collector>,
    batch: Vec<Span>,
    failures: u32,
    pace: Pace,
}

impl Work {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        loop {
            // The wait lets a batch gather, and spares a collector that fails.
            let stopping = tokio::time::timeout(self.wait(), &mut stop).await.is_ok();
            self.send_all().await;
            if stopping {
                self.telemetry
                    .metrics
                    .spans
                    .add(SpanOutcome::Failed, self.batch.len() as u64 + self.spans.len() as u64);
                return;
            }
        }
    }

    fn wait(&self) -> Duration {
        match self.failures {
            0 => self.pace.period,
            failures => {
                (self.pace.backoff_first * 2u32.saturating_pow((failures - 1).min(16))).min(self.pace.backoff_max)
            }
        }
    }

    /// Sends batch after batch until nothing is queued or one fails.
    async fn send_all(&mut self) {
        loop {
            while self.batch.len() < EXPORT_BATCH_SPANS_MAX
                && let Ok(span) = self.spans.try_recv()
            {
                self.batch.push(span);
            }
            if self.batch.is_empty() || !self.send().await {
                return;
            }
        }
    }

    /// Whether the collector took the batch. One that it may take later is kept.
    async fn send(&mut self) -> bool {
        let count = self.batch.len() as u64;
        let spans = &self.telemetry.metrics.spans;
        match self.collector.post(encode::encode(&self.resource, &self.batch)).await {
            Ok(()) => {
                spans.add(SpanOutcome::Exported, count);
                self.batch.clear();
                if self.failures > 0 {
                    tracing::info!(collector = self.collector.url(), "the trace collector takes spans again");
                }
                self.failures = 0;
                true
            }
            Err(error) => {
                if self.failures == 0 {
                    let collector = self.collector.url();
                    tracing::warn!(collector, %error, "the trace collector takes no spans; it is tried again");
                }
                if !error.retryable() {
                    spans.add(SpanOutcome::Failed, count);
                    self.batch.clear();
                }
                self.failures = self.failures.saturating_add(1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests;
