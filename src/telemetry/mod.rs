//! What the process says about itself: log lines, metrics, and the spans of requests.
//!
//! A container has one [`Telemetry`], made by the composition root and handed to whoever counts. Time
//! and randomness come in with it. Only the composition root starts logs ([`init`]) and exports.

mod event;
pub mod events;
mod log;
pub mod metrics;
pub mod otlp;
mod shard;
pub mod trace;

use std::sync::Arc;

pub use log::{LevelFilter, LogFormat, Origin, init};
pub use trace::Sample;

use crate::model::{Clock, Rng};
use metrics::Metrics;
use metrics::labels::SpanOutcome;
use otlp::{SpanQueue, Spans};
use trace::{Context, Span, Tracer};

/// The telemetry of one container.
pub struct Telemetry {
    /// What is counted.
    pub metrics: Metrics,
    tracer: Tracer,
    queue: Option<SpanQueue>,
    clock: Arc<dyn Clock>,
}

impl Telemetry {
    /// Telemetry that counts and traces, and exports nothing.
    pub fn new(clock: Arc<dyn Clock>, rng: &dyn Rng) -> Arc<Self> {
        Arc::new(Self::make(clock, rng, Sample::NONE, None))
    }

    /// Telemetry that also queues the spans of sampled requests.
    pub fn exporting(clock: Arc<dyn Clock>, rng: &dyn Rng, sample: Sample) -> (Arc<Self>, Spans) {
        let (queue, spans) = otlp::queue();
        (Arc::new(Self::make(clock, rng, sample, Some(queue))), spans)
    }

    fn make(clock: Arc<dyn Clock>, rng: &dyn Rng, sample: Sample, queue: Option<SpanQueue>) -> Self {
        Telemetry { metrics: Metrics::new(), tracer: Tracer::new(rng, sample), queue, clock }
    }

    /// Nanoseconds on a clock that never goes back; only differences mean something.
    pub fn ticks_ns(&self) -> u64 {
        self.clock.ticks_ns()
    }

    /// Wall-clock milliseconds since 1970.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Nanoseconds since `ticks`.
    pub fn since_ns(&self, ticks: u64) -> u64 {
        self.ticks_ns().saturating_sub(ticks)
    }

    /// The place of a request in its trace: in the one that its header names, or in a new one.
    pub fn context(&self, traceparent: Option<&[u8]>) -> Context {
        self.tracer.begin(traceparent)
    }

    /// Hands a finished span over, if it is wanted. Never waits.
    pub fn finish(&self, span: impl FnOnce(u64) -> Span, context: &Context) {
        let Some(queue) = self.queue.as_ref().filter(|_| context.sampled) else { return };
        if !queue.put(span(self.clock.now_ms())) {
            self.metrics.spans.one(SpanOutcome::Dropped);
        }
    }

    /// Spans that wait to be exported.
    pub fn spans_queued(&self) -> u64 {
        self.queue.as_ref().map_or(0, SpanQueue::len)
    }
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").finish_non_exhaustive()
    }
}
