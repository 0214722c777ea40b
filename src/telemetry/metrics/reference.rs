//! The reference of metrics, log keys and spans, made from their declarations.

use super::declare::{Family, Kind};
use super::list::families;
use crate::telemetry::log::LOG_KEYS;

/// Every metric, for reading in a terminal.
pub fn reference() -> String {
    families().iter().fold(String::new(), |out, family| {
        format!("{out}{}  {}\n      {}\n", shown(family), family.kind.name(), family.text())
    })
}

/// The same as a page of the documentation.
pub fn reference_markdown() -> String {
    let mut out = String::from(HEAD);
    for family in families() {
        let Family { kind, unit, labels, .. } = family;
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let (name, labels, text) = (shown(&family), labels.join(", "), family.text());
        out.push_str(&format!("| `{name}` | {} | {unit} | {labels} | {text} |\n", kind.name()));
    }
    out.push_str(LOGS);
    for (key, meaning) in LOG_KEYS {
        out.push_str(&format!("| `{key}` | {meaning} |\n"));
    }
    out.push_str(TRACES);
    out
}

/// The name under which the samples of a family are found; a histogram's have endings of their own.
fn shown(family: &Family) -> String {
    match family.kind {
        Kind::Histogram => family.name.to_owned(),
        kind => format!("{}{}", family.name, kind.suffix()),
    }
}

const HEAD: &str = "# Metrics, logs and traces

<!-- Written by `meshstore metrics reference --markdown`; a test compares. Change src/telemetry/ instead. -->

## Metrics

`GET /metrics` answers in the text form of OpenMetrics 1.0. Every label has a closed set of values. Counters start at
zero with the process. Of families with many labels only the series that were ever counted are shown. A histogram has
`_bucket`, `_count` and `_sum`.

| name | type | unit | labels | meaning |
|---|---|---|---|---|
";

const LOGS: &str = "
## Log lines

Lines go to stderr, for people or as one JSON object a line (`log.format`). An object has these keys, and beside them
the fields of the event. A field of an event that has the name of one of these keys is written with `_` behind it.

| key | meaning |
|---|---|
";

const TRACES: &str = "
Each answered request is a line `request` with `method`, `route`, `status`, `ms`, `bytes` and the ids: at level
`warn` when the status is 5xx, else at `debug`. Keys, bodies, tokens and headers are never logged with it.

## Traces

Each request belongs to a trace: that of its `traceparent` header (W3C Trace Context), or a new one when the header is
missing or malformed. An answer carries `traceparent` with the span of this request when the caller sent one, when
the trace is sampled, or when something went wrong, and the caller's `tracestate` unchanged unless that is malformed. With `telemetry.otlp_url` set,
the span is sent to a collector as OTLP over HTTP in JSON, to `/v1/traces` under that URL: when the caller's
`traceparent` says that it is sampled, or, for a new trace, by `telemetry.sample`. Spans wait in a bounded queue; when
it is full they are dropped and counted (`meshstore_spans_total`), and no request waits for it. A span has the
attributes `http.request.method`, `http.route`, `http.response.status_code` and `http.response.body.size`.
";
