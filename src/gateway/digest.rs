//! `Content-Digest` (RFC 9530) and our own plain spelling, `blake3:<hex>` or `sha256:<hex>`.

use crate::error::{Error, Result};
use crate::model::{Digest, DigestKind};

/// The one digest of the header that can be checked. Algorithms we do not know may stand beside it,
/// as the RFC allows; a header with none that we know is refused, since it would go unchecked.
pub(super) fn parse(header: &str) -> Result<Digest> {
    if !header.contains('=') {
        return header.parse();
    }
    let bad = |why: &'static str| Error::invalid(why).with("content-digest", header.escape_default());
    let mut found = None;
    for member in header.split(',') {
        let (name, value) = member
            .trim()
            .split_once('=')
            .ok_or_else(|| bad("a content digest is sha-256=:base64: or blake3=:base64:"))?;
        let kind = match name {
            "sha-256" => DigestKind::Sha256,
            "blake3" => DigestKind::Blake3,
            _ => continue,
        };
        let bytes = value.strip_prefix(':').and_then(|value| value.strip_suffix(':')).and_then(base64);
        let bytes = bytes.ok_or_else(|| bad("the value is 32 bytes in base64 between colons"))?;
        if found.replace(Digest { kind, bytes }).is_some() {
            return Err(bad("one digest can be checked; send sha-256 or blake3"));
        }
    }
    found.ok_or_else(|| bad("no digest here can be checked; send sha-256 or blake3"))
}

/// 32 bytes of padded base64: 43 digits and one `=`. Bits beyond the last byte must be zero, so that
/// a digest has one spelling.
fn base64(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let mut out = Vec::with_capacity(32);
    let (mut bits, mut held) = (0u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    if bits != 0 { None } else { out.try_into().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of nothing, in both spellings.
    const HEX: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    const B64: &str = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=";

    #[test]
    fn both_spellings_meet() {
        let digest = parse(HEX).unwrap();
        assert_eq!(parse(&format!("sha-256=:{B64}:")).unwrap(), digest);
        assert_eq!(parse(&format!("sha-512=:eA==:, sha-256=:{B64}:")).unwrap(), digest);
        assert_eq!(parse(&format!("blake3=:{B64}:")).unwrap(), Digest { kind: DigestKind::Blake3, ..digest });
    }

    #[test]
    fn what_cannot_be_checked_is_refused() {
        let (short, loose, odd) = (&B64[1..], B64.replace("FU=", "FV="), B64.replace('+', "-"));
        for bad in [
            "",
            "md5=:eA==:",
            "sha256:00",
            "sha-256=x",
            "sha-256",
            &format!("sha-256={B64}"),
            &format!("sha-256=:{short}:"),
            &format!("sha-256=:{loose}:"),
            &format!("sha-256=:{odd}:"),
            &format!("sha-256=:{B64}:, blake3=:{B64}:"),
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
