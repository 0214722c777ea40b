//! The digest of plain bytes. BLAKE3 is a tree, so chunks are hashed apart and joined at the end.

use blake3::Hasher;
use blake3::hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::engine::Sha256;
use crate::limits::CHUNK_BYTES;
use crate::model::{Digest, DigestKind};

/// The hash of one chunk, good only together with those of the other chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkHash {
    /// As a part of a larger object.
    part: [u8; 32],
    /// As the whole object; of use when there is no other chunk.
    whole: Option<[u8; 32]>,
}

/// Bytes that are hashed at once where nothing else is done with them: a small part of a chunk, so that threads that
/// share the parts of an object are done at nearly the same time.
pub const HASHED_BYTES: usize = CHUNK_BYTES / 16;

/// Hashes one part of an object that is cut into parts of [`HASHED_BYTES`].
pub fn hash_part(index: u32, last: bool, plain: &[u8]) -> ChunkHash {
    hash_sized(index, last, plain, HASHED_BYTES)
}

/// Hashes one chunk of an object that is cut into chunks of `chunk_bytes`, a power of two from 1024 on.
pub(super) fn hash_sized(index: u32, last: bool, plain: &[u8], chunk_bytes: usize) -> ChunkHash {
    if index == 0 && last {
        return ChunkHash { part: [0; 32], whole: Some(*blake3::hash(plain).as_bytes()) };
    }
    let mut hasher = Hasher::new();
    hasher.set_input_offset(u64::from(index) * chunk_bytes as u64).update(plain);
    ChunkHash { part: hasher.finalize_non_root(), whole: None }
}

/// BLAKE3 of the whole object, from the hashes of its chunks in order.
pub fn combine(chunks: &[ChunkHash]) -> Digest {
    let bytes = match chunks {
        [] => *blake3::hash(&[]).as_bytes(),
        [ChunkHash { whole: Some(whole), .. }] => *whole,
        [one] => one.part,
        many => {
            let (left, right) = halves(many);
            *merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()
        }
    };
    Digest { kind: DigestKind::Blake3, bytes }
}

fn subtree(chunks: &[ChunkHash]) -> [u8; 32] {
    match chunks {
        [] => [0; 32],
        [one] => one.part,
        many => {
            let (left, right) = halves(many);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The left half is the largest power of two that leaves something for the right one.
fn halves(chunks: &[ChunkHash]) -> (&[ChunkHash], &[ChunkHash]) {
    chunks.split_at_checked(chunks.len().div_ceil(2).next_power_of_two()).unwrap_or((chunks, &[]))
}

/// A digest of bytes that come in order, for kinds that cannot be hashed in parallel.
#[derive(Clone)]
pub struct PlainDigest(Sha256);

impl PlainDigest {
    /// What is needed beside the chunk hashes; `None` when those suffice.
    pub fn beside_chunks(kind: DigestKind) -> Option<Self> {
        match kind {
            DigestKind::Blake3 => None,
            DigestKind::Sha256 => Some(PlainDigest(Sha256::new())),
        }
    }

    /// Takes in the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest.
    pub fn finish(self) -> Digest {
        Digest { kind: DigestKind::Sha256, bytes: self.0.finish() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_chunks_join_to_the_hash_of_the_whole() {
        let data: Vec<u8> = (0..20 * 1024 + 77).map(|i| (i * 7 / 3) as u8).collect();
        for len in (0..=16).map(|n| n * 1024).chain([1, 1023, 1025, 5000, data.len()]) {
            let plain = &data[..len];
            let count = len.div_ceil(1024);
            let chunks = plain.chunks(1024).enumerate();
            let hashes: Vec<_> = chunks.map(|(i, c)| hash_sized(i as u32, i + 1 == count, c, 1024)).collect();
            assert_eq!(combine(&hashes).bytes, *blake3::hash(plain).as_bytes(), "{len}");
        }
    }
}
