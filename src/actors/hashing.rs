//! The digest of a body that is not sealed, made while it arrives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use super::cpu::CpuPool;
use super::window::Window;
use crate::error::Result;
use crate::limits::{BODY_WINDOW_CHUNKS, CHUNK_BYTES};
use crate::model::Digest;
use crate::nfr::{ChunkHash, HASHED_BYTES, combine, hash_part};

/// Where there are no more workers than these, the threads that send and receive keep the processors busy, and to wake
/// a worker takes a third of the time that a part does.
const FEW_WORKERS: usize = 2;

/// Of so many parts few workers are given the first: it is done before the others are.
const PARTS_PER_HELP: u32 = 4;

/// What hashes bodies: a pool of workers, and who uses it.
#[derive(Clone)]
pub(super) struct Hashers {
    cpu: CpuPool,
    bodies: Arc<AtomicUsize>,
}

/// Hashes parts of [`HASHED_BYTES`] in their order, on the thread that brings them and beside it.
pub(super) struct Hashing {
    hashers: Hashers,
    next: u32,
    hashes: Vec<ChunkHash>,
    window: Window<ChunkHash>,
}

impl Hashers {
    /// Bodies are hashed on these workers as well.
    pub(super) fn new(cpu: CpuPool) -> Self {
        Hashers { cpu, bodies: Arc::default() }
    }

    /// The digest of a body that has not begun yet.
    pub(super) fn digest(&self) -> Hashing {
        let window = Window::new(BODY_WINDOW_CHUNKS * (CHUNK_BYTES / HASHED_BYTES));
        Hashing { hashers: self.clone(), next: 0, hashes: Vec::new(), window }
    }
}

impl Hashing {
    /// Hashes the next part. `to_come` says how many bytes follow it, if that is known.
    pub(super) async fn add(&mut self, part: Bytes, last: bool, to_come: Option<u64>) -> Result<()> {
        let index = self.next;
        if index == 0 {
            self.hashers.bodies.fetch_add(1, Ordering::Relaxed);
        }
        self.next += 1;
        let work = move || Ok(hash_part(index, last, &part));
        if last || !self.has_help(index, to_come) {
            self.window.done(work()?);
            return Ok(());
        }
        let result = self.hashers.cpu.run(work);
        self.hashes.extend(self.window.push(result).await?);
        Ok(())
    }

    /// Whether a worker is to hash the part. This thread is one of those that could be at work.
    fn has_help(&self, index: u32, to_come: Option<u64>) -> bool {
        let workers = self.hashers.cpu.workers();
        let is_its_turn = workers > FEW_WORKERS || {
            let is_alone = self.hashers.bodies.load(Ordering::Relaxed) == 1;
            let others_come = to_come.is_none_or(|bytes| bytes > 2 * HASHED_BYTES as u64);
            is_alone && others_come && index.is_multiple_of(PARTS_PER_HELP)
        };
        is_its_turn && self.window.at_work() + 1 < workers
    }

    /// The digest of all parts.
    pub(super) async fn finish(&mut self) -> Result<Digest> {
        while let Some(hash) = self.window.next().await? {
            self.hashes.push(hash);
        }
        Ok(combine(&self.hashes))
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        if self.next > 0 {
            self.hashers.bodies.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn digest(hashers: &Hashers, plain: &[u8]) -> Digest {
        let mut hashing = hashers.digest();
        let (mut left, parts) = (plain.len() as u64, plain.chunks(HASHED_BYTES));
        for part in parts {
            left -= part.len() as u64;
            hashing.add(Bytes::copy_from_slice(part), left == 0, Some(left)).await.unwrap();
        }
        hashing.finish().await.unwrap()
    }

    #[tokio::test]
    async fn a_digest_is_the_same_whoever_hashes_its_parts() {
        let plain: Vec<u8> = (0..9 * HASHED_BYTES + 5).map(|i| (i / 3) as u8).collect();
        for workers in [1, 2, 3, 8] {
            let hashers = Hashers::new(CpuPool::new(workers).unwrap());
            for bytes in [0, 1, HASHED_BYTES, HASHED_BYTES + 1, 4 * HASHED_BYTES, plain.len()] {
                let plain = plain.get(..bytes).unwrap();
                assert_eq!(digest(&hashers, plain).await.bytes, *blake3::hash(plain).as_bytes(), "{workers} {bytes}");
            }
            assert_eq!(hashers.bodies.load(Ordering::Relaxed), 0);
        }
    }

    async fn begun(hashers: &Hashers) -> Hashing {
        let mut hashing = hashers.digest();
        hashing.add(Bytes::from_static(b"its first part"), true, Some(0)).await.unwrap();
        hashing
    }

    #[tokio::test]
    async fn few_workers_help_one_body_with_what_is_followed_by_more() {
        let hashers = |workers| Hashers::new(CpuPool::new(workers).unwrap());
        let (part, plenty) = (HASHED_BYTES as u64, Some(u64::MAX));
        let (two, four) = (hashers(2), hashers(4));
        let body = begun(&two).await;
        assert!(body.has_help(0, plenty) && body.has_help(4, None));
        assert!(!body.has_help(1, plenty), "it is not its turn");
        assert!(!body.has_help(0, Some(2 * part)), "the end is near");
        let other = begun(&two).await;
        assert!(!body.has_help(0, plenty) && !other.has_help(0, plenty), "nobody is alone");
        drop(other);
        assert!(body.has_help(0, plenty));
        assert!(!begun(&hashers(1)).await.has_help(0, plenty), "this thread keeps the only processor busy");
        let (one, another) = (begun(&four).await, begun(&four).await);
        assert!(one.has_help(1, Some(1)) && another.has_help(1, Some(1)));
    }
}
