//! The stages that bytes go through on their way to the disk, each alone, as fast as the same libraries
//! do it with the same settings on the same chunks. They know nothing of the container.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, anyhow};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::Bytes;
use meshstore::limits::CHUNK_BYTES;
use meshstore::nfr::{HASHED_BYTES, hash_part};

/// Level and least saving of the container's `auto`.
const ZSTD_LEVEL: i32 = 1;
const PROBE_BYTES: usize = 64 << 10;

/// An object and what is made of it on the way.
pub struct Stages {
    plain: Vec<Bytes>,
    /// What is encrypted and written: compressed where that pays. Each is locked by whoever works on it.
    packed: Vec<Mutex<Vec<u8>>>,
    pays: bool,
}

impl Stages {
    pub fn of(object: &Bytes) -> Result<Self> {
        let plain: Vec<Bytes> = object.chunks(CHUNK_BYTES).map(|chunk| object.slice_ref(chunk)).collect();
        let first = plain.first().context("an empty object has no stages")?;
        let probe = first.get(..PROBE_BYTES).unwrap_or(first);
        let pays = zstd::bulk::compress(probe, ZSTD_LEVEL)?.len() <= most(probe.len());
        let pack = |chunk: &Bytes| if pays { zstd::bulk::compress(chunk, ZSTD_LEVEL) } else { Ok(chunk.to_vec()) };
        let packed: std::io::Result<Vec<Vec<u8>>> = plain.iter().map(pack).collect();
        Ok(Stages { plain, packed: packed?.into_iter().map(Mutex::new).collect(), pays })
    }

    /// Times that the object becomes smaller.
    pub fn saving(&self) -> f64 {
        let packed: usize = self.packed.iter().map(|chunk| lock(chunk).len()).sum();
        self.plain.iter().map(Bytes::len).sum::<usize>() as f64 / packed as f64
    }

    /// Reads every byte.
    pub fn read(&self, threads: usize) -> Result<()> {
        self.each(
            threads,
            || (),
            |(), at| {
                let (words, _) = self.plain(at)?.as_chunks::<8>();
                black_box(words.iter().fold(0u64, |sum, word| sum.wrapping_add(u64::from_le_bytes(*word))));
                Ok(())
            },
        )
    }

    /// Compresses every chunk, or tries a piece of the first one where that is all that is done.
    pub fn compress(&self, threads: usize) -> Result<()> {
        let context = || (zstd::bulk::Compressor::new(ZSTD_LEVEL), vec![0; CHUNK_BYTES]);
        self.each(threads, context, |(compressor, out), at| {
            let compressor = compressor.as_mut().map_err(|error| anyhow!("no compressor: {error}"))?;
            if !self.pays {
                // That bytes are noise is seen without trying.
                return Ok(());
            }
            let plain = self.plain(at)?;
            let space = out.get_mut(..most(plain.len())).context("no room")?;
            // That it does not fit is an answer too.
            let _ = black_box(compressor.compress_to_buffer(plain, space));
            Ok(())
        })
    }

    /// Encrypts every chunk where it is.
    pub fn encrypt(&self, threads: usize) -> Result<()> {
        let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| anyhow!("no key"))?;
        let key = LessSafeKey::new(key);
        self.each(
            threads,
            || (),
            |(), at| {
                let mut chunk = lock(self.packed.get(at).context("no chunk")?);
                let tag =
                    key.seal_in_place_separate_tag(Nonce::assume_unique_for_key([1; 12]), Aad::empty(), &mut chunk);
                tag.map(drop).map_err(|_| anyhow!("cannot encrypt"))
            },
        )
    }

    /// Hashes every chunk.
    pub fn hash(&self, threads: usize) -> Result<()> {
        let last = self.plain.len() - 1;
        self.each(
            threads,
            || (),
            |(), at| {
                let (plain, parts) = (self.plain(at)?, CHUNK_BYTES / HASHED_BYTES);
                for (n, part) in plain.chunks(HASHED_BYTES).enumerate() {
                    let end = at == last && (n + 1) * HASHED_BYTES >= plain.len();
                    black_box(hash_part((at * parts + n) as u32, end, part));
                }
                Ok(())
            },
        )
    }

    /// Writes what is to rest on the disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        let chunks: Vec<_> = self.packed.iter().map(lock).collect();
        let chunks: Vec<&[u8]> = chunks.iter().map(|chunk| chunk.as_slice()).collect();
        write_and_sync(path, &chunks)
    }

    fn plain(&self, at: usize) -> Result<&Bytes> {
        self.plain.get(at).context("no chunk")
    }

    /// Hands the chunks out to threads, one at a time.
    fn each<C>(
        &self,
        threads: usize,
        context: impl Fn() -> C + Sync,
        work: impl Fn(&mut C, usize) -> Result<()> + Sync,
    ) -> Result<()> {
        let next = AtomicUsize::new(0);
        let run = || -> Result<()> {
            let mut context = context();
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= self.plain.len() {
                    return Ok(());
                }
                work(&mut context, at)?;
            }
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
        })
    }
}

/// Writes a new file and waits until the disk has it.
pub fn write_and_sync(path: &Path, pieces: &[&[u8]]) -> Result<()> {
    let mut file = File::create_new(path).with_context(|| format!("cannot make {}", path.display()))?;
    for piece in pieces.iter().flat_map(|piece| piece.chunks(CHUNK_BYTES)) {
        file.write_all(piece).context("cannot write")?;
    }
    file.sync_all().context("cannot sync")
}

/// What a chunk may still be if compressing it is to pay.
fn most(bytes: usize) -> usize {
    bytes - bytes.div_ceil(10)
}

fn lock(chunk: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    chunk.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
