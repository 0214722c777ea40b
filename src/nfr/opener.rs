//! Opens a frame: checks first, then decrypts and decompresses just the chunks that are wanted.

use std::ops::Range;

use bytes::Bytes;

use super::compress::{self, Codec};
use super::digest::{ChunkHash, combine, hash_sized};
use super::engine::{Cipher, DataKey};
use super::frame::{Footer, HEADER_BYTES, Header, PREFIX_BYTES, Prefix, associated, footer_extent};
use super::sealer::{CHECK_BYTES, check_value, footer_hash, nonce};
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{Buffer, Chunks, FrameId, Seal};

/// A frame whose header and footer have been checked.
pub struct Opener {
    header: Header,
    head: [u8; HEADER_BYTES],
    cipher: Option<Cipher>,
    /// Where each chunk starts in the frame, and where the last one ends.
    bounds: Vec<u64>,
    size: u64,
    /// Of the plain bytes.
    blake3: [u8; 32],
}

impl Opener {
    /// Checks header and footer (with trailer) against the seal. `key` is the unwrapped data key.
    pub fn new(seal: &Seal, header: &[u8], footer: &[u8], key: Option<&DataKey>) -> Result<Self> {
        let bad = |why: &'static str| Error::corrupt(why).with("frame", seal.frame);
        let head: [u8; HEADER_BYTES] = header.try_into().map_err(|_| bad("the frame is shorter than a header"))?;
        if footer_hash(&head, footer) != seal.footer {
            return Err(bad("the frame's header or footer is damaged"));
        }
        let header = Header::decode(&head)?;
        let footer = Footer::decode(footer).ok_or_else(|| bad("the frame's footer is damaged"))?;
        if header.frame != seal.frame {
            return Err(bad("the frame is another one"));
        }
        if footer.chunks.len() as u64 != footer.size.div_ceil(header.chunk_bytes() as u64) {
            return Err(bad("the frame's footer contradicts itself"));
        }
        let mut at = HEADER_BYTES as u64;
        let mut bounds = vec![at];
        for bytes in &footer.chunks {
            if *bytes as usize > PREFIX_BYTES + header.chunk_bytes() + CHECK_BYTES {
                return Err(bad("a chunk of the frame is larger than a chunk can be"));
            }
            at += u64::from(*bytes);
            bounds.push(at);
        }
        let encrypted = matches!(header.encryption, crate::model::Encryption::Aes256Gcm);
        let cipher = match (encrypted, key) {
            (false, _) => None,
            (true, Some(key)) => Some(key.cipher()?),
            (true, None) => return Err(Error::internal("an encrypted frame needs its key").with("frame", seal.frame)),
        };
        Ok(Opener { header, head, cipher, bounds, size: footer.size, blake3: footer.blake3 })
    }

    /// Whether a chunk is opened in less time than it takes to hand it to another thread and back.
    pub fn is_light(&self) -> bool {
        self.cipher.is_some() && self.header.codec == Codec::None
    }

    /// How many chunks there are.
    pub fn chunks(&self) -> u32 {
        (self.bounds.len() - 1) as u32
    }

    /// Plain bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Which frame this is.
    pub fn frame(&self) -> FrameId {
        self.header.frame
    }

    /// Where a chunk lies in the frame; empty when there is no such chunk.
    pub fn extent(&self, index: u32) -> Range<u64> {
        let bound = |index: usize| self.bounds.get(index).copied().unwrap_or_default();
        bound(index as usize)..bound(index as usize + 1)
    }

    /// The chunks that hold a range of plain bytes.
    pub fn chunks_of(&self, range: &Range<u64>) -> Range<u32> {
        let chunk = self.header.chunk_bytes() as u64;
        let end = range.end.min(self.size);
        if range.start >= end {
            return 0..0;
        }
        (range.start / chunk) as u32..end.div_ceil(chunk) as u32
    }

    /// The hash of a chunk's plain bytes.
    pub fn hash(&self, index: u32, plain: &[u8]) -> ChunkHash {
        hash_sized(index, index.checked_add(1) == Some(self.chunks()), plain, self.header.chunk_bytes())
    }

    /// Whether these are the hashes of all chunks of the object that was sealed: whoever has its key can make chunks that
    /// open, but none that come to the same.
    pub fn is_made_of(&self, hashes: &[ChunkHash]) -> bool {
        hashes.len() as u64 == u64::from(self.chunks()) && combine(hashes).bytes == self.blake3
    }

    /// The plain bytes that a chunk holds.
    pub fn plain_extent(&self, index: u32) -> Range<u64> {
        let start = u64::from(index) * self.header.chunk_bytes() as u64;
        start.min(self.size)..(start + self.header.chunk_bytes() as u64).min(self.size)
    }

    /// Checks and opens one chunk, given as it lies in the frame.
    pub fn open(&self, index: u32, sealed: &[u8]) -> Result<Bytes> {
        self.open_buffer(index, Buffer::from(sealed))
    }

    /// The same, in the buffer that it lies in where nothing has to grow.
    pub fn open_buffer(&self, index: u32, mut sealed: Buffer) -> Result<Bytes> {
        let bad =
            || Error::corrupt("a chunk of the frame is damaged").with("frame", self.header.frame).with("chunk", index);
        let (front, stored) = sealed.split_at_mut_checked(PREFIX_BYTES).ok_or_else(bad)?;
        let prefix = Prefix::decode(front).ok_or_else(bad)?;
        let last = index.checked_add(1) == Some(self.chunks());
        if prefix.index != index || prefix.last != last || prefix.payload as usize != stored.len() {
            return Err(bad());
        }
        let aad = associated(&self.head, &prefix.encode());
        let bytes = match &self.cipher {
            Some(cipher) => cipher.open_in_place(nonce(index), &aad, stored).ok_or_else(bad)?,
            None => {
                let split = stored.len().checked_sub(CHECK_BYTES).and_then(|at| stored.split_at_checked(at));
                let (bytes, check) = split.ok_or_else(bad)?;
                if check_value(&aad, bytes) != check {
                    return Err(bad());
                }
                bytes.len()
            }
        };
        let extent = self.plain_extent(index);
        let len = (extent.end - extent.start) as usize;
        if prefix.compressed {
            let packed = stored.get(..bytes).unwrap_or_default();
            return Ok(compress::decompress(self.header.codec, packed, len).map_err(|_| bad())?.freeze());
        }
        if bytes == len { Ok(sealed.share(PREFIX_BYTES..PREFIX_BYTES + len)) } else { Err(bad()) }
    }
}

/// Opens a frame that is wholly here; for small ones.
pub fn open_whole(seal: &Seal, size: u64, frame: &[u8], key: Option<&DataKey>) -> Result<Chunks> {
    let cut = |range: Range<u64>| {
        let part = frame.get(range.start as usize..range.end as usize);
        part.ok_or_else(|| Error::corrupt("the frame is shorter than it should be").with("frame", seal.frame))
    };
    if frame.len() as u64 != seal.bytes {
        return Err(Error::corrupt("the frame has not the length it should have").with("frame", seal.frame));
    }
    let footer = footer_extent(seal.bytes, size, CHUNK_BYTES)?;
    let opener = Opener::new(seal, cut(0..HEADER_BYTES as u64)?, cut(footer)?, key)?;
    // Chunks of another size would make a rope that cannot be cut; a footer as long can list such ones too.
    if opener.size() != size || opener.header.chunk_bytes() != CHUNK_BYTES {
        return Err(Error::corrupt("the frame holds an object of another size").with("frame", seal.frame));
    }
    let pieces = (0..opener.chunks()).map(|index| opener.open(index, cut(opener.extent(index))?));
    Ok(Chunks::from_pieces(pieces.collect::<Result<_>>()?))
}
