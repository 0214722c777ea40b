//! Seals an object into a frame, chunk by chunk.

use bytes::Bytes;

use super::compress::{self, Codec};
use super::digest::{ChunkHash, combine, hash_sized};
use super::engine::{Cipher, DataKey, TAG_BYTES};
use super::frame::{Footer, HEADER_BYTES, Header, PREFIX_BYTES, Prefix, associated};
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::{Chunks, Digest, Encryption, FrameId, NfrSpec, Rest, Rng, Seal};

/// Bytes of the check value of a chunk that is not encrypted.
pub const CHECK_BYTES: usize = 32;

/// One sealing attempt: a fresh frame id and a fresh data key.
pub struct Sealer {
    header: Header,
    head: [u8; HEADER_BYTES],
    key: Option<(DataKey, Cipher)>,
}

/// A chunk as it rests in the frame.
pub struct SealedChunk {
    /// Prefix and payload.
    pub bytes: Bytes,
    hash: ChunkHash,
    plain: u64,
}

/// Collects what the footer says, from chunks in their order.
#[derive(Default)]
pub struct FrameBuilder {
    chunks: Vec<u32>,
    hashes: Vec<ChunkHash>,
    size: u64,
}

/// The end of a frame, and what is to be remembered of it.
pub struct FinishedFrame {
    /// Footer and trailer, to be appended to the chunks.
    pub footer: Bytes,
    /// How the frame is made; its data key is not wrapped yet.
    pub seal: Seal,
    /// Plain bytes.
    pub size: u64,
    /// BLAKE3 of the plain bytes.
    pub blake3: Digest,
}

/// The nonce of a chunk: its number. The data key is used for one frame only.
pub(super) fn nonce(index: u32) -> [u8; 12] {
    let [a, b, c, d] = index.to_le_bytes();
    [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0]
}

/// The check value of a chunk that is not encrypted.
pub(super) fn check_value(aad: &[u8], stored: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(aad).update(stored);
    *hasher.finalize().as_bytes()
}

impl Sealer {
    /// Starts a frame. `first` is how the object begins; `compress=auto` decides by it.
    pub fn new(spec: NfrSpec, rng: &dyn Rng, first: &[u8]) -> Result<Self> {
        Self::sized(spec, rng, first, CHUNK_BYTES.trailing_zeros() as u8)
    }

    pub(super) fn sized(spec: NfrSpec, rng: &dyn Rng, first: &[u8], chunk_log2: u8) -> Result<Self> {
        let mut frame = FrameId([0; 16]);
        rng.fill(&mut frame.0);
        let codec = compress::choose(spec.compress, first);
        let header = Header { encryption: spec.encrypt, codec, chunk_log2, frame };
        let key = match spec.encrypt {
            Encryption::None => None,
            Encryption::Aes256Gcm => {
                let key = DataKey::random(rng);
                let cipher = key.cipher()?;
                Some((key, cipher))
            }
        };
        Ok(Sealer { header, head: header.encode(), key })
    }

    /// The frame's id.
    pub fn frame(&self) -> FrameId {
        self.header.frame
    }

    /// What the frame starts with.
    pub fn header(&self) -> Bytes {
        Bytes::copy_from_slice(&self.head)
    }

    /// The key that opens the frame, to be wrapped; `None` when it is not encrypted.
    pub fn data_key(&self) -> Option<&DataKey> {
        self.key.as_ref().map(|(key, _)| key)
    }

    /// Seals one chunk: compress if that pays, then encrypt, or add a check value.
    ///
    /// Each index may be sealed once; the index is the nonce.
    pub fn seal(&self, index: u32, last: bool, plain: &[u8]) -> Result<SealedChunk> {
        let full = plain.len() == self.header.chunk_bytes();
        if plain.is_empty() || plain.len() > self.header.chunk_bytes() || !(last || full) {
            return Err(Error::internal("a chunk of the wrong size").with("bytes", plain.len()).with("index", index));
        }
        let mut out = Vec::with_capacity(PREFIX_BYTES + plain.len() + CHECK_BYTES);
        out.resize(PREFIX_BYTES, 0);
        let compressed = self.header.codec != Codec::None && compress::compress(self.header.codec, plain, &mut out);
        if !compressed {
            out.extend_from_slice(plain);
        }
        let check = if self.key.is_some() { TAG_BYTES } else { CHECK_BYTES };
        let payload = (out.len() - PREFIX_BYTES + check) as u32;
        let prefix = Prefix { index, payload, compressed, last }.encode();
        let aad = associated(&self.head, &prefix);
        let (front, stored) = out.split_at_mut(PREFIX_BYTES);
        front.copy_from_slice(&prefix);
        match &self.key {
            Some((_, cipher)) => {
                let tag = cipher.seal(nonce(index), &aad, stored)?;
                out.extend_from_slice(&tag);
            }
            None => {
                let check = check_value(&aad, stored);
                out.extend_from_slice(&check);
            }
        }
        let hash = hash_sized(index, last, plain, self.header.chunk_bytes());
        Ok(SealedChunk { bytes: out.into(), hash, plain: plain.len() as u64 })
    }
}

impl FrameBuilder {
    /// A frame without chunks.
    pub fn new() -> Self {
        FrameBuilder::default()
    }

    /// The next chunk of the frame.
    pub fn push(&mut self, chunk: &SealedChunk) {
        self.chunks.push(chunk.bytes.len() as u32);
        self.hashes.push(chunk.hash);
        self.size += chunk.plain;
    }

    /// Ends the frame.
    pub fn finish(self, sealer: &Sealer) -> FinishedFrame {
        let blake3 = combine(&self.hashes);
        let sealed: u64 = self.chunks.iter().map(|bytes| u64::from(*bytes)).sum();
        let footer = Footer { chunks: self.chunks, size: self.size, blake3: blake3.bytes }.encode();
        let seal = Seal {
            frame: sealer.frame(),
            bytes: HEADER_BYTES as u64 + sealed + footer.len() as u64,
            footer: footer_hash(&sealer.head, &footer),
            key: None,
            inline: false,
            rest: Rest::Disk,
        };
        FinishedFrame { footer: footer.into(), seal, size: self.size, blake3 }
    }
}

/// What the manifest remembers of a frame: with it, header, footer and trailer cannot be changed.
pub(super) fn footer_hash(header: &[u8; HEADER_BYTES], footer: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(header).update(footer);
    *hasher.finalize().as_bytes()
}

/// Seals an object that is wholly here; for small ones.
pub fn seal_whole(spec: NfrSpec, rng: &dyn Rng, plain: &Chunks) -> Result<(Bytes, FinishedFrame, Sealer)> {
    let mut chunks = plain.chunks().peekable();
    let first = chunks.peek().cloned().unwrap_or_default();
    let sealer = Sealer::new(spec, rng, &first)?;
    let (mut builder, mut sealed) = (FrameBuilder::new(), Vec::new());
    while let Some(plain) = chunks.next() {
        let chunk = sealer.seal(sealed.len() as u32, chunks.peek().is_none(), &plain)?;
        builder.push(&chunk);
        sealed.push(chunk.bytes);
    }
    let finished = builder.finish(&sealer);
    let mut frame = Vec::with_capacity(finished.seal.bytes as usize);
    frame.extend_from_slice(&sealer.header());
    sealed.iter().chain([&finished.footer]).for_each(|part| frame.extend_from_slice(part));
    Ok((frame.into(), finished, sealer))
}
