//! The layout of a frame: header, chunks, footer, trailer. `docs/frame.md` has it byte by byte.

use std::ops::Range;

use super::compress::Codec;
use crate::error::{Error, Result};
use crate::model::{Encryption, FrameId};

/// Bytes of the header.
pub const HEADER_BYTES: usize = 32;
/// Bytes before each chunk's payload.
pub const PREFIX_BYTES: usize = 12;
/// Bytes of the trailer.
pub const TRAILER_BYTES: usize = 16;
/// Bytes of the footer beside those for each chunk.
const FOOTER_FIXED_BYTES: usize = 8 + 4 + 32;

const MAGIC: &[u8; 8] = b"MSHFRAME";
const END_MAGIC: &[u8; 8] = b"MSHFREND";
const FORMAT: u8 = 1;

const COMPRESSED: u8 = 1;
const LAST: u8 = 2;

/// Smallest and largest chunk a frame may have, as powers of two.
const CHUNK_LOG2: std::ops::RangeInclusive<u8> = 10..=20;

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub encryption: Encryption,
    pub codec: Codec,
    pub chunk_log2: u8,
    pub frame: FrameId,
}

impl Header {
    pub fn chunk_bytes(&self) -> usize {
        1 << self.chunk_log2
    }

    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let encryption = match self.encryption {
            Encryption::None => 0,
            Encryption::Aes256Gcm => 1,
        };
        let codec = match self.codec {
            Codec::None => 0,
            Codec::Zstd => 1,
            Codec::Lz4 => 2,
        };
        let stages = [FORMAT, encryption, codec, self.chunk_log2, 0, 0, 0, 0];
        let fields = MAGIC.iter().chain(&stages).chain(&self.frame.0);
        let mut out = [0; HEADER_BYTES];
        out.iter_mut().zip(fields).for_each(|(to, from)| *to = *from);
        out
    }

    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let bad = |why: &'static str| Error::corrupt(why);
        let bytes: &[u8; HEADER_BYTES] = bytes.try_into().map_err(|_| bad("the frame is shorter than a header"))?;
        let [m0, m1, m2, m3, m4, m5, m6, m7, format, encryption, codec, chunk_log2, 0, 0, 0, 0, frame @ ..] = bytes
        else {
            return Err(bad("the frame's header has unknown fields"));
        };
        if [*m0, *m1, *m2, *m3, *m4, *m5, *m6, *m7] != *MAGIC {
            return Err(bad("this is not a frame"));
        }
        if *format != FORMAT {
            return Err(bad("the frame has an unknown format").with("format", format));
        }
        let encryption = match encryption {
            0 => Encryption::None,
            1 => Encryption::Aes256Gcm,
            _ => return Err(bad("the frame has an unknown encryption")),
        };
        let codec = match codec {
            0 => Codec::None,
            1 => Codec::Zstd,
            2 => Codec::Lz4,
            _ => return Err(bad("the frame has an unknown compression")),
        };
        if !CHUNK_LOG2.contains(chunk_log2) {
            return Err(bad("the frame has an unknown chunk size"));
        }
        Ok(Header { encryption, codec, chunk_log2: *chunk_log2, frame: FrameId(*frame) })
    }
}

/// What stands before each chunk; bound to the payload by its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub index: u32,
    /// Bytes of payload behind the prefix, check included.
    pub payload: u32,
    pub compressed: bool,
    pub last: bool,
}

impl Prefix {
    pub fn encode(&self) -> [u8; PREFIX_BYTES] {
        let flags = (u8::from(self.compressed) * COMPRESSED) | (u8::from(self.last) * LAST);
        let [i0, i1, i2, i3] = self.index.to_le_bytes();
        let [p0, p1, p2, p3] = self.payload.to_le_bytes();
        [i0, i1, i2, i3, p0, p1, p2, p3, flags, 0, 0, 0]
    }

    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let [i0, i1, i2, i3, p0, p1, p2, p3, flags @ 0..=3, 0, 0, 0] = bytes else { return None };
        Some(Prefix {
            index: u32::from_le_bytes([*i0, *i1, *i2, *i3]),
            payload: u32::from_le_bytes([*p0, *p1, *p2, *p3]),
            compressed: flags & COMPRESSED != 0,
            last: flags & LAST != 0,
        })
    }
}

/// What is checked together with a chunk's payload, so that no chunk passes in another place.
pub fn associated(header: &[u8; HEADER_BYTES], prefix: &[u8; PREFIX_BYTES]) -> [u8; HEADER_BYTES + PREFIX_BYTES] {
    let mut out = [0; HEADER_BYTES + PREFIX_BYTES];
    out.iter_mut().zip(header.iter().chain(prefix)).for_each(|(to, from)| *to = *from);
    out
}

/// The list of chunks at the end of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Footer {
    /// Bytes of each chunk in the frame, prefix included.
    pub chunks: Vec<u32>,
    /// Plain bytes of the object.
    pub size: u64,
    /// BLAKE3 of the plain bytes.
    pub blake3: [u8; 32],
}

impl Footer {
    /// Footer and trailer.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.chunks.len() * 4 + FOOTER_FIXED_BYTES + TRAILER_BYTES);
        self.chunks.iter().for_each(|bytes| out.extend_from_slice(&bytes.to_le_bytes()));
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&(self.chunks.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.blake3);
        let (len, sum) = (out.len() as u32, crc32fast::hash(&out));
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&sum.to_le_bytes());
        out.extend_from_slice(END_MAGIC);
        out
    }

    /// Reads footer and trailer. The caller has checked the bytes against the manifest already; the
    /// checks here keep a lie from becoming an allocation.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, trailer) = bytes.split_at_checked(bytes.len().checked_sub(TRAILER_BYTES)?)?;
        let (numbers, magic) = trailer.split_at_checked(8)?;
        let (len, sum) = numbers.split_at_checked(4)?;
        let whole = magic == END_MAGIC
            && u32::from_le_bytes(len.try_into().ok()?) as usize == body.len()
            && u32::from_le_bytes(sum.try_into().ok()?) == crc32fast::hash(body);
        if !whole {
            return None;
        }
        let (list, fixed) = body.split_at_checked(body.len().checked_sub(FOOTER_FIXED_BYTES)?)?;
        let (size, rest) = fixed.split_at_checked(8)?;
        let (count, blake3) = rest.split_at_checked(4)?;
        let words = list.chunks_exact(4);
        if !words.remainder().is_empty() || words.len() != u32::from_le_bytes(count.try_into().ok()?) as usize {
            return None;
        }
        let chunks = words.map(|word| word.try_into().map(u32::from_le_bytes)).collect::<Result<_, _>>().ok()?;
        Some(Footer { chunks, size: u64::from_le_bytes(size.try_into().ok()?), blake3: blake3.try_into().ok()? })
    }
}

/// Where footer and trailer lie in a frame of `frame_bytes` that holds an object of `size`.
pub fn footer_extent(frame_bytes: u64, size: u64, chunk_bytes: usize) -> Result<Range<u64>> {
    let len = size.div_ceil(chunk_bytes as u64) * 4 + (FOOTER_FIXED_BYTES + TRAILER_BYTES) as u64;
    let start = frame_bytes.checked_sub(len).filter(|start| *start >= HEADER_BYTES as u64);
    start.map(|start| start..frame_bytes).ok_or_else(|| Error::corrupt("the frame is shorter than its footer"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Header::decode(&bytes);
            let _ = Footer::decode(&bytes);
            let _ = Prefix::decode(&bytes);
        }

        #[test]
        fn a_footer_reads_back(chunks in proptest::collection::vec(any::<u32>(), 0..20), size: u64, blake3: [u8; 32]) {
            let footer = Footer { chunks, size, blake3 };
            prop_assert_eq!(Footer::decode(&footer.encode()), Some(footer));
        }
    }
}
