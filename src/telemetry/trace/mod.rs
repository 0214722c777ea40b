//! Traces: which one a request belongs to, and what is told of it when it is over.

mod context;
mod ids;
mod place;
mod sample;

pub use context::{Context, TRACEPARENT_BYTES, tracestate};
pub use place::{Place, enter, here, within};
pub use sample::Sample;

use crate::model::Rng;
use ids::Ids;

/// Gives requests their place in a trace.
pub(super) struct Tracer {
    ids: Ids,
    sample: Sample,
}

impl Tracer {
    pub(super) fn new(rng: &dyn Rng, sample: Sample) -> Self {
        Tracer { ids: Ids::new(rng), sample }
    }

    /// What the caller decided about sampling holds; only for new traces it is decided here.
    pub(super) fn begin(&self, traceparent: Option<&[u8]>) -> Context {
        let (trace, span) = self.ids.next();
        match traceparent.and_then(Context::parse) {
            Some(caller) => Context { span, parent: Some(caller.span), ..caller },
            None => Context { trace, span, parent: None, sampled: self.sample.takes(trace as u64) },
        }
    }
}

/// A request that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its place in the trace.
    pub context: Context,
    /// What other systems want carried with the trace.
    pub state: Option<String>,
    /// Its method, `other` when it is none of the known ones.
    pub method: &'static str,
    /// The template of its path.
    pub route: &'static str,
    /// The status of its answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// Wall-clock milliseconds since 1970 when it ended.
    pub end_ms: u64,
    /// How long it took.
    pub duration_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SeededRng;

    #[test]
    fn a_request_joins_the_trace_of_its_caller_and_keeps_its_decision() {
        let never = Tracer::new(&SeededRng::new(1), Sample::NONE);
        let header = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let joined = never.begin(Some(header));
        assert_eq!(joined.trace, 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((joined.parent, joined.sampled), (Some(0xb7ad_6b71_6920_3331), true));
        assert_ne!(joined.span, 0xb7ad_6b71_6920_3331);
        let always = Tracer::new(&SeededRng::new(1), "1".parse().unwrap());
        assert!(!always.begin(Some(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")).sampled);
        assert!(always.begin(None).sampled && !never.begin(None).sampled);
    }

    #[test]
    fn what_is_malformed_starts_a_new_trace() {
        let tracer = Tracer::new(&SeededRng::new(2), Sample::NONE);
        let fresh = tracer.begin(Some(b"00-xyz"));
        assert_eq!(fresh.parent, None);
        assert_ne!(fresh.trace, tracer.begin(None).trace);
    }
}
