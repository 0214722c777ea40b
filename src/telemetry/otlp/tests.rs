//! The export against collectors that work, fail and come back.

use std::sync::Mutex;

use super::*;
use crate::error::{Error, Kind};
use crate::model::{ManualClock, SeededRng};
use crate::telemetry::Sample;
use crate::telemetry::trace::Context;

/// Takes batches while its script says so; then always.
struct Scripted {
    script: Mutex<Vec<Kind>>,
    taken: mpsc::UnboundedSender<usize>,
}

impl Collector for Scripted {
    fn url(&self) -> &str {
        "http://collector"
    }

    fn post(&self, batch: Vec<u8>) -> BoxFuture<'_, Result<()>> {
        let failure = self.script.lock().unwrap().pop();
        let batch: serde_json::Value = serde_json::from_slice(&batch).unwrap();
        let spans = batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().len();
        self.taken.send(spans).unwrap();
        Box::pin(async move { failure.map_or(Ok(()), |kind| Err(Error::new(kind, "planted"))) })
    }
}

struct Stage {
    telemetry: Arc<Telemetry>,
    export: Export,
    posted: mpsc::UnboundedReceiver<usize>,
}

fn stage(script: &[Kind]) -> Stage {
    let clock = Arc::new(ManualClock::at(1_000));
    let (telemetry, spans) = Telemetry::exporting(clock, &SeededRng::new(7), "1".parse().unwrap());
    let (taken, posted) = mpsc::unbounded_channel();
    let collector = Scripted { script: Mutex::new(script.iter().rev().copied().collect()), taken };
    let resource = Resource { site: "s".into(), container: "c".into() };
    let quick = Duration::from_millis(1);
    let work = Work {
        telemetry: Arc::clone(&telemetry),
        spans: spans.0,
        resource,
        collector: Box::new(collector),
        batch: Vec::new(),
        failures: 0,
        pace: Pace { period: quick, backoff_first: quick, backoff_max: quick },
    };
    let export = Export::start_work(work);
    Stage { telemetry, export, posted }
}

impl Stage {
    fn finish(&self, count: usize) {
        for _ in 0..count {
            let context = self.telemetry.context(None);
            let span = |end_ms| span(context, end_ms);
            self.telemetry.finish(span, &context);
        }
    }

    fn count(&self, outcome: SpanOutcome) -> u64 {
        self.telemetry.metrics.spans.value(outcome)
    }
}

fn span(context: Context, end_ms: u64) -> Span {
    Span { context, state: None, method: "GET", route: "/x", status: 200, bytes: 0, end_ms, duration_ns: 1 }
}

#[tokio::test]
async fn what_is_queued_goes_out_in_batches() {
    let mut stage = stage(&[]);
    stage.finish(EXPORT_BATCH_SPANS_MAX + 1);
    assert_eq!(stage.posted.recv().await, Some(EXPORT_BATCH_SPANS_MAX));
    assert_eq!(stage.posted.recv().await, Some(1));
    stage.finish(2);
    assert_eq!(stage.posted.recv().await, Some(2));
    stage.export.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_full_queue_drops_and_counts() {
    let stage = stage(&[]);
    stage.finish(EXPORT_QUEUE_SPANS_MAX + 5);
    assert_eq!(stage.count(SpanOutcome::Dropped), 5);
    assert_eq!(stage.telemetry.spans_queued(), EXPORT_QUEUE_SPANS_MAX as u64);
}

#[tokio::test]
async fn a_batch_waits_for_a_collector_that_comes_back_and_not_for_one_that_refuses() {
    let mut stage = stage(&[Kind::Unavailable, Kind::Unavailable, Kind::Invalid]);
    stage.finish(3);
    for _ in 0..2 {
        assert_eq!(stage.posted.recv().await, Some(3), "tried again");
    }
    assert_eq!(stage.posted.recv().await, Some(3), "refused");
    stage.finish(2);
    assert_eq!(stage.posted.recv().await, Some(2));
    assert_eq!(stage.count(SpanOutcome::Failed), 3);
    stage.finish(1);
    stage.export.stop(Duration::from_secs(1)).await;
    assert_eq!(stage.posted.recv().await, Some(1), "what is queued at the end still goes out");
    assert_eq!(stage.telemetry.metrics.spans.value(SpanOutcome::Exported), 3);
}

#[tokio::test]
async fn what_is_not_sampled_is_not_queued() {
    let (telemetry, _spans) = Telemetry::exporting(Arc::new(ManualClock::default()), &SeededRng::new(7), Sample::NONE);
    let context = telemetry.context(None);
    telemetry.finish(|end_ms| span(context, end_ms), &context);
    assert_eq!(telemetry.spans_queued(), 0);
    let asked = telemetry.context(Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
    telemetry.finish(|end_ms| span(asked, end_ms), &asked);
    assert_eq!(telemetry.spans_queued(), 1);
}
