//! Hex digits back into bytes.

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
        for bad in ["", "00ffa", "00ffa5a", "00ff+1", "00ff 1", "00ffé", "é0ff0"] {
            assert_eq!(from_hex::<3>(bad), None, "{bad}");
        }
    }
}
