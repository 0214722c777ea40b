//! Headers of a request, a line each, as `name: value`.

use meshstore::gateway::fuzzing::{Headers, content_digest, moment};
use meshstore::limits::{CONTENT_TYPE_BYTES_MAX, META_BYTES_MAX};
use meshstore::model::{Address, Condition, ContainerId, Digest, Dot, Incarnation, NfrOverride, NfrSpec, Session};
use meshstore::model::{Version, mix};
use meshstore::telemetry::trace::{Context, tracestate};

use super::common::{Input, fine};

/// No header makes the door stumble; what is taken in is within its bounds, and reads back as it is shown.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let mut lines: Vec<(&[u8], &[u8])> = Vec::new();
    while !input.0.is_empty() && lines.len() < 96 {
        let line = input.line();
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        lines.push((&line[..colon], line.get(colon + 1..).unwrap_or_default().trim_ascii()));
    }
    let headers = Headers::of(lines.iter().copied());
    let address: Address = "c/k".parse().unwrap();
    pushed(&headers, &address);
    conditions(&headers);
    if let Some(Some(session)) = fine(headers.session()) {
        seen(session, &address);
    }
    if let Some(Some(wait)) = fine(headers.deadline()) {
        assert!((1..=600_000).contains(&wait.as_millis()));
    }
    fine(headers.guard(([127, 0, 0, 1], 7700).into()));
    for (_, value) in &lines {
        traced(value);
        if let Ok(text) = std::str::from_utf8(value) {
            digested(text);
            nfr(text);
        }
    }
    states(&lines);
    times(data);
}

fn pushed(headers: &Headers, address: &Address) {
    let Some(push) = fine(headers.push(address.clone())) else { return };
    let held: usize = push.meta.iter().map(|(name, value)| name.len() + value.len()).sum();
    assert!(held <= META_BYTES_MAX && !push.meta.contains_key(""));
    assert!(push.content_type.is_none_or(|kind| (1..=CONTENT_TYPE_BYTES_MAX).contains(&kind.len())));
    assert!(push.ttl_s.is_none_or(|seconds| (1..=3_153_600_000).contains(&seconds)));
}

fn conditions(headers: &Headers) {
    let Some(condition) = fine(headers.if_match()) else { return };
    if let Condition::OneOf(versions) = condition {
        assert!((1..=64).contains(&versions.len()));
        let tags: Vec<String> = versions.iter().map(|version| format!("\"{version}\"")).collect();
        let tags = tags.join(", ");
        let again = Headers::of([(&b"if-match"[..], tags.as_bytes()), (b"if-none-match", tags.as_bytes())].into_iter());
        assert_eq!(again.if_match().unwrap(), Condition::OneOf(versions.clone()));
        assert!(versions.iter().all(|version| again.knows(*version)), "a version that was named is not known");
        let other = Version { time: mix(versions[0].time), container: ContainerId(1) };
        assert_eq!(again.knows(other), versions.contains(&other));
    }
}

fn seen(session: Session, address: &Address) {
    assert_eq!(session.to_string().parse::<Session>().unwrap(), session);
    assert!(session.all_dots().count() <= 128);
    let (time, dot) = (u64::MAX, Dot { incarnation: Incarnation(5), seq: 9 });
    let newest = Version { time, container: ContainerId(u64::MAX) };
    let mut later = session.clone();
    later.note(address, newest, dot);
    assert_eq!(later.wants(address), Some(newest));
    later.merge(&session);
    assert_eq!(later.wants(address), Some(newest), "what was noted is forgotten");
    assert_eq!(later.to_string().parse::<Session>().unwrap(), later);
    assert!(later.to_string().len() <= 4800, "a token that no header has room for");
}

fn traced(value: &[u8]) {
    let Some(context) = Context::parse(value) else { return };
    assert!(context.trace != 0 && context.span != 0);
    assert_eq!(Context::parse(&context.traceparent()), Some(context));
    assert_eq!(value[2..52], context.traceparent()[2..52], "other ids than were sent");
}

fn states(lines: &[(&[u8], &[u8])]) {
    let Some(state) = tracestate(lines.iter().map(|(_, value)| *value)) else { return };
    assert!(state.len() <= 512 && state.split(',').count() <= 32, "{} bytes are handed on", state.len());
    assert!(state.bytes().all(|byte| matches!(byte, b' '..=b'~')));
    assert_eq!(tracestate([state.as_bytes()].into_iter()), Some(state), "what is handed on is not what was read");
}

fn digested(text: &str) {
    let Some(digest) = fine(content_digest(text)) else { return };
    assert_eq!(digest.to_string().parse::<Digest>().unwrap(), digest);
    assert_eq!(content_digest(&digest.to_string()).unwrap(), digest);
}

fn nfr(text: &str) {
    let Some(read) = fine(text.parse::<NfrOverride>()) else { return };
    let spec = NfrSpec::default().overridden(read);
    let again: NfrOverride = spec.to_string().parse().unwrap();
    assert_eq!(NfrSpec::default().overridden(again), spec);
}

fn times(data: &[u8]) {
    let (text, header) = moment(Input(data).number(8));
    assert_eq!((text.len(), header.len()), (24, 29));
}
