//! Bytes as hex digits, and back. Every answer carries ids and a digest, so writing them is no work for a formatter.

use std::fmt;

/// The two digits of each byte.
// Made while compiling, which ends at an index that is too high.
#[allow(clippy::indexing_slicing)]
const PAIRS: [[u8; 2]; 256] = {
    let digits = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

/// Appends two lower-case digits for each byte.
pub fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len() * 2, 0);
    let (pairs, _) = out.get_mut(start..).unwrap_or_default().as_chunks_mut();
    for (pair, byte) in pairs.iter_mut().zip(bytes) {
        *pair = PAIRS.get(usize::from(*byte)).copied().unwrap_or_default();
    }
}

/// Writes two lower-case digits for each byte.
pub(super) fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut out = Vec::with_capacity(bytes.len() * 2);
    push_hex(&mut out, bytes);
    f.write_str(&String::from_utf8_lossy(&out))
}

/// The bytes that just these digits stand for; nothing for any other text, signs and spaces included.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut out = [0; N];
    if text.len() != N * 2 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = match pair {
            [high, low] => digit(*high)? << 4 | digit(*low)?,
            _ => return None,
        };
    }
    Some(out)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_just_the_right_number_are_read() {
        assert_eq!(from_hex("00ffA5"), Some([0, 255, 0xa5]));
        let mut out = b"=".to_vec();
        push_hex(&mut out, &[0, 255, 0xa5]);
        assert_eq!(out, b"=00ffa5");
        for bad in ["", "00ffa", "00ffa5a", "00ff+1", "00ff 1", "00ffé", "é0ff0"] {
            assert_eq!(from_hex::<3>(bad), None, "{bad}");
        }
    }
}
