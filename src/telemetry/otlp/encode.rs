//! A batch of spans in the JSON form of OTLP: ids in hex, 64-bit numbers as text.

use serde::Serialize;

use crate::telemetry::trace::Span;

/// `SPAN_KIND_SERVER`.
const KIND_SERVER: u8 = 2;

/// `STATUS_CODE_ERROR`.
const STATUS_ERROR: u8 = 2;

const NANOS_PER_MS: u64 = 1_000_000;

/// Who the spans are of.
#[derive(Clone, Debug)]
pub struct Resource {
    /// The site.
    pub site: String,
    /// The container.
    pub container: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: ResourceJson<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct ResourceJson<'a> {
    attributes: [Attribute<'a>; 4],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: Vec<SpanJson<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpanJson<'a> {
    trace_id: String,
    span_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<String>,
    flags: u32,
    name: String,
    kind: u8,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    attributes: [Attribute<'a>; 4],
    status: Status,
}

#[derive(Serialize)]
struct Status {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u8>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Value<'a> {
    StringValue(&'a str),
    IntValue(String),
}

/// The body of an export.
pub(super) fn encode(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let text = |key, value| Attribute { key, value: Value::StringValue(value) };
    let (name, version) = (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
    let attributes = [
        text("service.name", name),
        text("service.version", version),
        text("service.namespace", &resource.site),
        text("service.instance.id", &resource.container),
    ];
    let spans = spans.iter().map(span).collect();
    let scope_spans = [ScopeSpans { scope: Scope { name, version }, spans }];
    let request = Request { resource_spans: [ResourceSpans { resource: ResourceJson { attributes }, scope_spans }] };
    // Structs with plain names and fields: this cannot fail.
    serde_json::to_vec(&request).unwrap_or_default()
}

fn span(span: &Span) -> SpanJson<'_> {
    let end = span.end_ms.saturating_mul(NANOS_PER_MS);
    SpanJson {
        trace_id: format!("{:032x}", span.context.trace),
        span_id: format!("{:016x}", span.context.span),
        trace_state: span.state.as_deref(),
        parent_span_id: span.context.parent.map(|parent| format!("{parent:016x}")),
        flags: u32::from(span.context.sampled),
        name: format!("{} {}", span.method, span.route),
        kind: KIND_SERVER,
        start_time_unix_nano: end.saturating_sub(span.duration_ns).to_string(),
        end_time_unix_nano: end.to_string(),
        attributes: [
            Attribute { key: "http.request.method", value: Value::StringValue(span.method) },
            Attribute { key: "http.route", value: Value::StringValue(span.route) },
            Attribute { key: "http.response.status_code", value: Value::IntValue(span.status.to_string()) },
            Attribute { key: "http.response.body.size", value: Value::IntValue(span.bytes.to_string()) },
        ],
        status: Status { code: (span.status >= 500).then_some(STATUS_ERROR) },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::telemetry::trace::Context;

    #[test]
    fn a_batch_has_the_shape_of_the_protocol() {
        let context = Context { trace: 0xabc, span: 0xde, parent: Some(1), sampled: true };
        let (state, duration_ns) = (Some("a=1".to_owned()), 500_000);
        let one = Span { context, state, method: "GET", route: "/x", status: 503, bytes: 7, end_ms: 2, duration_ns };
        let two = Span { context: Context { parent: None, ..context }, state: None, status: 200, ..one.clone() };
        let resource = Resource { site: "edge".into(), container: "c1".into() };
        let body: serde_json::Value = serde_json::from_slice(&encode(&resource, &[one, two])).unwrap();
        let of = &body["resourceSpans"][0];
        assert_eq!(
            of["resource"]["attributes"][2],
            json!({"key": "service.namespace", "value": {"stringValue": "edge"}})
        );
        let spans = &of["scopeSpans"][0]["spans"];
        let want = json!({
            "traceId": "00000000000000000000000000000abc", "spanId": "00000000000000de", "traceState": "a=1", "parentSpanId": "0000000000000001",
            "flags": 1, "name": "GET /x", "kind": 2, "startTimeUnixNano": "1500000", "endTimeUnixNano": "2000000",
            "attributes": [
                {"key": "http.request.method", "value": {"stringValue": "GET"}},
                {"key": "http.route", "value": {"stringValue": "/x"}},
                {"key": "http.response.status_code", "value": {"intValue": "503"}},
                {"key": "http.response.body.size", "value": {"intValue": "7"}}
            ],
            "status": {"code": 2}
        });
        assert_eq!(spans[0], want);
        let left_out = ["parentSpanId", "traceState"].map(|key| spans[1].get(key));
        assert_eq!((left_out, &spans[1]["status"]), ([None, None], &json!({})));
    }
}
