//! Makes chunks smaller, where they can be, and never larger again than they may be.

use std::cell::RefCell;

use crate::error::{Error, Result};
use crate::model::{Buffer, Compression};

/// How much of an object is tried before `auto` decides.
const PROBE_BYTES: usize = 64 << 10;

/// Fewer bytes say little of how they are spread.
const NOISE_BYTES_MIN: usize = 256;

const ZSTD_LEVEL: i32 = 1;

/// How the chunks of a frame are made small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    None,
    /// Zstandard.
    Zstd,
    /// LZ4 block.
    Lz4,
}

thread_local! {
    // A zstd context is some hundred kilobytes that are dear to set up: one for each worker.
    static ZSTD: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static UNZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The codec for an object that starts with these bytes.
pub fn choose(wish: Compression, first: &[u8]) -> Codec {
    match wish {
        Compression::None => Codec::None,
        Compression::Zstd => Codec::Zstd,
        Compression::Lz4 => Codec::Lz4,
        Compression::Auto => {
            let probe = first.get(..PROBE_BYTES).unwrap_or(first);
            // All of a short object is tried when it is sealed, so it is its own probe.
            let is_worth_it =
                !is_noise(probe) && (first.len() <= PROBE_BYTES || compress(Codec::Zstd, probe, &mut Vec::new()));
            if is_worth_it { Codec::Zstd } else { Codec::None }
        }
    }
}

/// Whether bytes are spread as random ones are, such as those of a picture or of what is compressed already: each value
/// about as often as the others, and yet not more evenly than chance has it, which a pattern would be. To count them
/// takes a twentieth of a try.
fn is_noise(bytes: &[u8]) -> bool {
    if bytes.len() < NOISE_BYTES_MIN {
        return false;
    }
    let mut counts = [0u64; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    // Of n random bytes the squares of the counts come to n * n / 256 + n, give or take n / 11.
    let (n, squares) = (bytes.len() as u64, counts.iter().map(|count| count * count).sum::<u64>());
    squares.checked_sub(n * n / 256).is_some_and(|beyond| (n - n / 3..=n + n / 3).contains(&beyond))
}

/// Appends the compressed bytes to `out` if that saves at least a tenth; else leaves `out` as it was.
pub fn compress(codec: Codec, plain: &[u8], out: &mut Vec<u8>) -> bool {
    let limit = plain.len() - plain.len().div_ceil(10);
    let start = out.len();
    let written = match codec {
        Codec::None => None,
        // A buffer of the limit's size makes zstd give up as soon as it is not worth it.
        Codec::Zstd => fill(out, limit, |space| zstd_into(plain, space)),
        Codec::Lz4 => {
            let most = lz4_flex::block::get_maximum_output_size(plain.len());
            fill(out, most, |space| lz4_flex::block::compress_into(plain, space).ok())
        }
    };
    let kept = written.filter(|written| *written <= limit && *written > 0);
    out.truncate(start + kept.unwrap_or(0));
    kept.is_some()
}

/// The plain bytes, which must be exactly `len` long: a lying chunk cannot make us allocate more.
pub fn decompress(codec: Codec, packed: &[u8], len: usize) -> Result<Buffer> {
    let mut plain = Buffer::of(len);
    let written = match codec {
        Codec::None => None,
        Codec::Zstd => UNZSTD.with_borrow_mut(|context| {
            if context.is_none() {
                *context = zstd::bulk::Decompressor::new().ok();
            }
            context.as_mut()?.decompress_to_buffer(packed, &mut plain[..]).ok()
        }),
        Codec::Lz4 => lz4_flex::block::decompress_into(packed, &mut plain).ok(),
    };
    let whole = written == Some(len);
    whole.then_some(plain).ok_or_else(|| Error::corrupt("a chunk does not decompress to its size"))
}

fn fill(out: &mut Vec<u8>, most: usize, write: impl FnOnce(&mut [u8]) -> Option<usize>) -> Option<usize> {
    let start = out.len();
    out.resize(start + most, 0);
    out.get_mut(start..).and_then(write)
}

fn zstd_into(plain: &[u8], space: &mut [u8]) -> Option<usize> {
    ZSTD.with_borrow_mut(|context| {
        if context.is_none() {
            *context = zstd::bulk::Compressor::new(ZSTD_LEVEL).ok();
        }
        context.as_mut()?.compress_to_buffer(plain, space).ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::mix;

    /// The same each time: one in some thousand draws of really random bytes would be tried.
    fn random(bytes: usize) -> Vec<u8> {
        (0..bytes).map(|n| mix(n as u64) as u8).collect()
    }

    #[test]
    fn random_bytes_are_not_tried_and_whatever_else_is() {
        for bytes in [NOISE_BYTES_MIN, 1_000, 4_096, PROBE_BYTES, 2 * PROBE_BYTES] {
            assert_eq!(choose(Compression::Auto, &random(bytes)), Codec::None, "{bytes}");
            let cycle: Vec<u8> = (0..bytes).map(|n| n as u8).collect();
            let digits: Vec<u8> = random(bytes).iter().map(|byte| b'0' + byte % 10).collect();
            let hex: String = random(bytes / 2).iter().map(|byte| format!("{byte:02x}")).collect();
            let mostly: Vec<u8> =
                random(bytes).iter().enumerate().map(|(n, b)| if n % 4 == 0 { 0 } else { *b }).collect();
            for (what, plain) in [("cycle", cycle), ("digits", digits), ("hex", hex.into()), ("mostly", mostly)] {
                assert_eq!(choose(Compression::Auto, &plain), Codec::Zstd, "{what}, {bytes}");
            }
        }
        assert_eq!(choose(Compression::Auto, &random(100)), Codec::Zstd, "too short to tell");
        assert_eq!(choose(Compression::Zstd, &random(1_000)), Codec::Zstd, "asked for");
    }
}
