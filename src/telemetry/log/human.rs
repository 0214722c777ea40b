//! Lines for people: those of the logging library, with the request behind them.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Format, FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::telemetry::trace;

/// Writes lines for people.
pub(super) struct HumanLines(Format);

impl HumanLines {
    /// In colours where the reader shows them.
    pub(super) fn new(colours: bool) -> Self {
        HumanLines(Format::default().with_ansi(colours))
    }
}

impl<S, N> FormatEvent<S, N> for HumanLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let Some(place) = trace::here() else { return self.0.format_event(context, out, event) };
        let mut line = String::new();
        self.0.format_event(context, Writer::new(&mut line), event)?;
        let (trace, span) = (place.context.trace, place.context.span);
        let line = line.trim_end_matches('\n');
        writeln!(out, "{line} in {} {} trace_id={trace:032x} span_id={span:016x}", place.method, place.route)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::trace::{Context, Place};

    #[test]
    fn a_line_names_its_request_where_there_is_one() {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let out = Arc::clone(&lines);
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).event_format(HumanLines::new(false));
        let layer = layer.with_writer(move || Shared(Arc::clone(&out)));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!("alone");
            let context = Context { trace: 0xab, span: 7, parent: None, sampled: false };
            let _inside = trace::enter(Some(Place { context, method: "GET", route: "/x" }));
            tracing::warn!(number = 1, "together");
        });
        let text = String::from_utf8(lines.lock().unwrap().clone()).unwrap();
        let (alone, together) = text.split_once('\n').unwrap();
        assert!(alone.ends_with("alone"), "{alone}");
        let want = format!("together number=1 in GET /x trace_id={:032x} span_id={:016x}\n", 0xab, 7);
        assert!(together.ends_with(&want), "{together}");
    }

    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
}
