//! One JSON object a line: fixed keys, then the request around the event, then the event's own fields.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

use super::Origin;
use crate::telemetry::trace::{self, Place};

/// The keys of every line, in their order; the last two where the event belongs to a request.
pub const LOG_KEYS: [(&str, &str); 8] = [
    ("timestamp", "when: RFC 3339, UTC, microseconds"),
    ("level", "`ERROR`, `WARN`, `INFO`, `DEBUG` or `TRACE`"),
    ("target", "the part of the program that speaks"),
    ("site", "the site's name"),
    ("container", "the container's name"),
    ("message", "what happened, always in the same words"),
    ("trace_id", "the trace of the request that the line belongs to, where there is one: 32 hex digits"),
    ("span_id", "the span of that request: 16 hex digits"),
];

/// Writes lines for one container.
pub(super) struct JsonLines(Origin);

impl JsonLines {
    pub(super) fn of(origin: Origin) -> Self {
        JsonLines(origin)
    }
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        if let Some(Place { context, method, route }) = trace::here() {
            fields.put("trace_id", Value::from(format!("{:032x}", context.trace)));
            fields.put("span_id", Value::from(format!("{:016x}", context.span)));
            fields.put("method", Value::from(method));
            fields.put("route", Value::from(route));
        }
        event.record(&mut fields);
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let metadata = event.metadata();
        let fixed = [
            ("timestamp", time.as_str()),
            ("level", metadata.level().as_str()),
            ("target", metadata.target()),
            ("site", &self.0.site),
            ("container", &self.0.container),
        ];
        // Written by hand for the order: a map would sort the keys.
        let mut lead = '{';
        for (name, value) in fixed.into_iter().map(|(name, value)| (name, Value::from(value))) {
            write!(out, "{lead}\"{name}\":{value}")?;
            lead = ',';
        }
        for (name, value) in fields.0 {
            write!(out, ",{}:{value}", Value::from(name))?;
        }
        writeln!(out, "}}")
    }
}

struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        let taken = matches!(name, "timestamp" | "level" | "target" | "site" | "container");
        self.0.insert(if taken { format!("{name}_") } else { name.to_owned() }, value);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), Value::from(value));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::telemetry::trace::Context;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn lines(say: impl FnOnce()) -> Vec<String> {
        let lines = Lines::default();
        let out = lines.clone();
        let origin = Origin { site: "edge \"1\"".into(), container: "c1".into() };
        let layer = tracing_subscriber::fmt::layer().with_writer(move || out.clone()).with_ansi(false);
        let layer = layer.event_format(JsonLines::of(origin));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), say);
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_line_says_whose_it_is_and_which_request_it_belongs_to() {
        let lines = lines(|| {
            let context = Context { trace: 0xff, span: 0xa, parent: None, sampled: false };
            let _inside = trace::enter(Some(Place { context, method: "GET", route: "/x" }));
            tracing::warn!(number = 7, share = 0.5, good = true, error = %"a\nb", level = "ram", "it happened");
        });
        let line: Value = serde_json::from_str(&lines[0]).unwrap();
        for (key, want) in [
            ("level", Value::from("WARN")),
            ("site", Value::from("edge \"1\"")),
            ("container", Value::from("c1")),
            ("message", Value::from("it happened")),
            ("trace_id", Value::from(format!("{:032x}", 0xff))),
            ("span_id", Value::from("000000000000000a")),
            ("route", Value::from("/x")),
            ("number", Value::from(7)),
            ("share", Value::from(0.5)),
            ("good", Value::from(true)),
            ("error", Value::from("a\nb")),
            ("level_", Value::from("ram")),
        ] {
            assert_eq!(line[key], want, "{key} in {line}");
        }
        for (key, _) in LOG_KEYS {
            assert!(line.get(key).is_some(), "{key} is documented and missing");
        }
        let time = line["timestamp"].as_str().unwrap();
        assert!(time.len() == 27 && time.ends_with('Z') && &time[10..11] == "T", "{time}");
        assert!(lines[0].starts_with("{\"timestamp\":"));
    }

    #[test]
    fn one_event_is_one_line() {
        let lines = lines(|| tracing::error!(text = "a\r\nb\u{1b}[31m", "x\ny"));
        assert_eq!(lines.len(), 1);
        assert_eq!(serde_json::from_str::<Value>(&lines[0]).unwrap()["message"], "x\ny");
    }
}
