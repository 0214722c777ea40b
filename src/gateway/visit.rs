//! What is told of each request: it is counted, timed, logged, and has its place in a trace.
//!
//! A hit in memory passes here as well, so nothing here waits, locks or allocates, but for the header of an
//! answer that is part of a trace.

use std::sync::Arc;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::RequestHead;
use actix_web::http::Method as HttpMethod;
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

use super::path::Target;
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::labels::{Method, Route, Status};
use crate::telemetry::trace::{Context, Place, Span, tracestate};

static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The status that is told of a request whose caller was gone before its answer.
const GONE: u16 = 499;

/// A request under way.
pub(super) struct Visit {
    method: Method,
    route: Route,
    context: Context,
    /// Whether the caller named a trace, if perhaps in words that are not understood.
    asked: bool,
    state: Option<String>,
    started: u64,
}

impl Visit {
    /// Begins with the head of the request.
    pub(super) fn begin(telemetry: &Telemetry, head: &RequestHead, target: &Target<'_>) -> Self {
        let (asked, caller) = traceparent(&head.headers);
        let context = telemetry.context(caller);
        // The state belongs to the caller's trace; a new one has none.
        let state = context.parent.and_then(|_| state(&head.headers));
        let (method, route) = (method(&head.method), route(target));
        Visit { method, route, context, asked, state, started: telemetry.ticks_ns() }
    }

    /// When it began, in the telemetry's ticks.
    pub(super) fn started(&self) -> u64 {
        self.started
    }

    /// Where the rest of a request runs that has to wait. Log lines from there name the trace.
    pub(super) fn place(&self) -> Place {
        Place { context: self.context, method: self.method.name(), route: self.route.name() }
    }

    /// Ends with the head of the answer, to which it adds the place in the trace.
    pub(super) fn answered(self, telemetry: &Telemetry, response: &mut HttpResponse) {
        let bytes = match response.body().size() {
            BodySize::Sized(bytes) if self.method != Method::Head => bytes,
            _ => 0,
        };
        telemetry.metrics.http_sent.add((), bytes);
        let status = response.status();
        // Whoever does not trace reads no trace's name, unless there is something to look up by it.
        let told = self.asked || self.context.sampled || !status.is_success();
        if told && let Ok(value) = HeaderValue::from_bytes(&self.context.traceparent()) {
            response.headers_mut().insert(TRACEPARENT.clone(), value);
        }
        if let Some(state) = self.state.as_deref().and_then(|state| HeaderValue::from_str(state).ok()) {
            response.headers_mut().insert(TRACESTATE.clone(), state);
        }
        self.end(telemetry, status.as_u16(), Status::of(status.as_u16()), bytes);
    }

    fn end(self, telemetry: &Telemetry, status: u16, class: Status, bytes: u64) {
        let duration_ns = telemetry.since_ns(self.started);
        let (method, route) = (self.method.name(), self.route.name());
        telemetry.metrics.http_requests.one((self.method, self.route, class));
        telemetry.metrics.http_request_duration.observe((self.method, self.route), duration_ns);
        let (context, state, ms) = (self.context, self.state, duration_ns as f64 / 1e6);
        let (trace_id, span_id) = (format_args!("{:032x}", context.trace), format_args!("{:016x}", context.span));
        if class == Status::Failed {
            tracing::warn!(method, route, status, ms, bytes, trace_id, span_id, "request");
        } else {
            tracing::debug!(method, route, status, ms, bytes, trace_id, span_id, "request");
        }
        let span = |end_ms| Span { context, state, method, route, status, bytes, end_ms, duration_ns };
        telemetry.finish(span, &context);
    }
}

/// A request that waits: should its caller go, it is told as gone.
pub(super) struct Waiting {
    visit: Option<Visit>,
    telemetry: Arc<Telemetry>,
}

impl Waiting {
    pub(super) fn new(visit: Visit, telemetry: &Arc<Telemetry>) -> Self {
        Waiting { visit: Some(visit), telemetry: Arc::clone(telemetry) }
    }

    /// Ends with the head of the answer.
    pub(super) fn answered(mut self, response: &mut HttpResponse) {
        if let Some(visit) = self.visit.take() {
            visit.answered(&self.telemetry, response);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(visit) = self.visit.take() {
            visit.end(&self.telemetry, GONE, Status::Gone, 0);
        }
    }
}

/// Whether the header came at all, and what it says; two of them are as good as none.
fn traceparent(headers: &HeaderMap) -> (bool, Option<&[u8]>) {
    let mut values = headers.get_all(&TRACEPARENT);
    let first = values.next();
    (first.is_some(), first.filter(|_| values.next().is_none()).map(HeaderValue::as_bytes))
}

fn state(headers: &HeaderMap) -> Option<String> {
    tracestate(headers.get_all(&TRACESTATE).map(HeaderValue::as_bytes))
}

fn method(method: &HttpMethod) -> Method {
    match *method {
        HttpMethod::GET => Method::Get,
        HttpMethod::HEAD => Method::Head,
        HttpMethod::PUT => Method::Put,
        HttpMethod::DELETE => Method::Delete,
        HttpMethod::POST => Method::Post,
        _ => Method::Other,
    }
}

fn route(target: &Target<'_>) -> Route {
    match target {
        Target::Object(..) => Route::Object,
        Target::Locate(..) => Route::Locate,
        Target::Collection(_) => Route::List,
        Target::Policy(_) => Route::Policy,
        Target::Policies => Route::Policies,
        Target::Rule(_) => Route::Rule,
        Target::Rules => Route::Rules,
        Target::Transfers => Route::Transfers,
        Target::Sync => Route::Sync,
        Target::Admin(_) => Route::Admin,
        Target::Metrics => Route::Metrics,
        Target::Batch => Route::Batch,
        Target::Events => Route::Events,
        Target::OpenApi => Route::OpenApi,
        Target::Page => Route::Api,
        Target::Health => Route::Health,
        Target::Ready => Route::Ready,
        Target::Later | Target::Unknown => Route::Other,
    }
}
