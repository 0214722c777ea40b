//! Makes chunks smaller, where they can be, and never larger again than they may be.

use std::cell::RefCell;

use crate::error::{Error, Result};
use crate::model::{Buffer, Compression};

/// How much of an object is tried before `auto` decides.
const PROBE_BYTES: usize = 64 << 10;

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
        // All of a short object is tried when it is sealed, so it is its own probe.
        Compression::Auto if first.len() <= PROBE_BYTES => Codec::Zstd,
        Compression::Auto => {
            let probe = first.get(..PROBE_BYTES).unwrap_or(first);
            let mut out = Vec::new();
            if compress(Codec::Zstd, probe, &mut out) { Codec::Zstd } else { Codec::None }
        }
    }
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
