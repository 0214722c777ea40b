//! `traceparent` and `tracestate` of W3C Trace Context: read strictly, the first written in version 00.

/// Bytes of a header of version 00.
pub const TRACEPARENT_BYTES: usize = 55;

/// The longest `tracestate` that is handed on, and the most members in it: what the standard asks for.
const TRACESTATE_BYTES_MAX: usize = 512;
const TRACESTATE_MEMBERS_MAX: usize = 32;

/// The one flag that version 00 knows: whoever called records this trace.
const SAMPLED: u8 = 1;

/// The place of a request in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// The trace; never 0.
    pub trace: u128,
    /// The span; never 0.
    pub span: u64,
    /// The span of whoever asked, if it named one.
    pub parent: Option<u64>,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl Context {
    /// What a header says of its sender; `None` when it is to be ignored. A later version may say more
    /// behind the part that we know.
    pub fn parse(header: &[u8]) -> Option<Self> {
        let (known, more) = header.split_at_checked(TRACEPARENT_BYTES)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version.len(), trace.len(), span.len(), flags.len()];
        let version = hex(version)?;
        let ends = more.is_empty() || version > 0 && more.starts_with(b"-");
        if lengths != [2, 32, 16, 2] || version == 0xff || !ends {
            return None;
        }
        let (trace, span) = (hex(trace)?, hex(span)? as u64);
        let sampled = hex(flags)? as u8 & SAMPLED != 0;
        (trace != 0 && span != 0).then_some(Context { trace, span, parent: None, sampled })
    }

    /// The header that names this span.
    pub fn traceparent(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut out = *b"00-00000000000000000000000000000000-0000000000000000-00";
        let mut put = |at: usize, value: u32| {
            if let Some(digits) = out.get_mut(at..at + 8) {
                digits.copy_from_slice(&hex_of(value));
            }
        };
        put(3, (self.trace >> 96) as u32);
        put(11, (self.trace >> 64) as u32);
        put(19, (self.trace >> 32) as u32);
        put(27, self.trace as u32);
        put(36, (self.span >> 32) as u32);
        put(44, self.span as u32);
        if let Some(flags) = out.last_mut().filter(|_| self.sampled) {
            *flags += SAMPLED;
        }
        out
    }
}

/// What other systems want carried with a trace, from all headers of that name; `None` when there is
/// none, or when it is malformed or too long and so not to be handed on.
pub fn tracestate<'a>(headers: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    let mut state = String::new();
    for header in headers {
        if state.len() + header.len() > TRACESTATE_BYTES_MAX {
            return None;
        }
        let members = std::str::from_utf8(header).ok()?.split(',').map(|member| member.trim_matches([' ', '\t']));
        for member in members.filter(|member| !member.is_empty()) {
            let (key, value) = member.split_once('=')?;
            if !is_key(key) || value.is_empty() || !value.bytes().all(|b| matches!(b, b' '..=b'~') && b != b'=') {
                return None;
            }
            let separator = if state.is_empty() { "" } else { "," };
            state.extend([separator, member]);
        }
    }
    let members = state.split(',').count();
    // The commas that join the headers count as well.
    let fits = state.len() <= TRACESTATE_BYTES_MAX && members <= TRACESTATE_MEMBERS_MAX;
    (!state.is_empty() && fits).then_some(state)
}

fn is_key(key: &str) -> bool {
    let known = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b);
    key.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        && key.len() <= 256
        && key.bytes().all(known)
}

/// Eight digits, all at once: every answer carries a header, and a loop over digits is what it would
/// cost most.
fn hex_of(value: u32) -> [u8; 8] {
    let value = u64::from(value);
    let pairs = (value << 16 | value) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs << 8 | pairs) & 0x00ff_00ff_00ff_00ff;
    let nibbles = (bytes << 4 | bytes) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 in each byte whose digit is a letter: 10 and 6 give a carry into the high half.
    let letters = (nibbles + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    (nibbles + 0x3030_3030_3030_3030 + letters * u64::from(b'a' - b'9' - 1)).to_be_bytes()
}

/// Lower-case digits alone: capitals make a header malformed.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0u128, |sum, digit| match digit {
        b'0'..=b'9' => Some(sum << 4 | u128::from(digit - b'0')),
        b'a'..=b'f' => Some(sum << 4 | u128::from(digit - b'a' + 10)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn parsed(header: &str) -> Option<Context> {
        Context::parse(header.as_bytes())
    }

    #[test]
    fn a_good_header_reads_back() {
        let context = parsed(GOOD).unwrap();
        assert_eq!((context.trace, context.span), (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7));
        assert!(context.sampled);
        assert_eq!(context.traceparent(), GOOD.as_bytes());
        // Flags that this version does not know are not handed on.
        assert_eq!(parsed(&GOOD.replace("-01", "-ff")).unwrap().traceparent(), GOOD.as_bytes());
    }

    #[test]
    fn a_later_version_may_say_more() {
        let later = GOOD.replacen("00-", "01-", 1);
        assert!(parsed(&later).is_some() && parsed(&format!("{later}-what-ever")).is_some());
        assert!(parsed(&format!("{later}what")).is_none());
    }

    #[test]
    fn what_the_standard_calls_invalid_is_ignored() {
        let zero_trace = format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &format!(" {GOOD}"),
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.replacen("00-", "0-0", 1),
            &GOOD.to_uppercase(),
            &GOOD.replace('f', "g"),
            &GOOD.replace('-', "_"),
            &zero_trace,
            &zero_span,
        ] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    fn state(headers: &[&str]) -> Option<String> {
        tracestate(headers.iter().map(|header| header.as_bytes()))
    }

    #[test]
    fn the_state_of_other_systems_is_joined_from_its_headers() {
        assert_eq!(state(&["a=1, b@c=2 x ,", "d/e=3"]).unwrap(), "a=1,b@c=2 x,d/e=3");
        assert_eq!(state(&[]), None);
        let many = |count: usize| (0..count).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert!(state(&[&many(32)]).is_some() && state(&[&many(33)]).is_none());
    }

    #[test]
    fn a_malformed_state_is_dropped_whole() {
        let long = format!("a={}", "x".repeat(511));
        for bad in ["", ",", "a", "=1", "a=", "A=1", "a=1,b", "a b=1", "a=1=2", "a=\u{1}", "a=é", "-a=1", &long] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
        assert_eq!(state(&["a=1", "b"]), None);
        // The comma that joins two headers is one byte too many.
        let (most, more) = (format!("a={}", "x".repeat(506)), format!("a={}", "x".repeat(507)));
        assert_eq!(state(&[&most, "b=y"]).map(|state| state.len()), Some(512));
        assert_eq!(state(&[&more, "b=y"]), None);
    }

    proptest! {
        #[test]
        fn any_context_reads_back(trace in 1u128.., span in 1u64.., sampled: bool) {
            let context = Context { trace, span, parent: None, sampled };
            prop_assert_eq!(Context::parse(&context.traceparent()), Some(context));
        }

        #[test]
        fn any_bytes_are_read_without_a_fault(bytes: Vec<u8>) {
            let _ = Context::parse(&bytes);
            let _ = tracestate([bytes.as_slice()].into_iter());
        }
    }
}
