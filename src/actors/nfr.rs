//! The NFR actor: hands out the stages through which bytes are sealed and opened.
//!
//! Owns: the keyring in use, the source of randomness, the pool of workers. Asked by: container, memory, scrub, keys.
//! Bound: `ACTOR_QUEUE_MAX`; callers wait. A life that ends costs nothing: it holds no state of its own.

use std::ops::Range;
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::future::try_join;
use tokio::sync::mpsc;

use super::cpu::{CpuPool, blocking};
use super::hashing::Hashers;
use super::runtime::{Answer, Ask, Serves};
use super::window::Window;
use crate::error::{Error, Result};
use crate::limits::{BODY_WINDOW_CHUNKS, CHUNK_BYTES};
use crate::model::{Address, Digest, Manifest, NfrSpec, Rng, Seal, Version, WrappedKey};
use crate::nfr::{self, FrameBuilder, Keyring, SealedChunk, Sealer};
use crate::tiers::{Binding, DiskTier, Run, Source, StagedFrame};

/// What seals and opens.
pub struct Stages {
    pub(super) cpu: CpuPool,
    pub(super) hashers: Hashers,
    keyring: RwLock<Arc<Keyring>>,
    pub(super) rng: Arc<dyn Rng>,
}

/// The actor.
pub struct NfrActor {
    stages: Arc<Stages>,
}

/// Hand out the stages.
pub struct HandOutStages;

impl Ask for HandOutStages {
    type Reply = Arc<Stages>;
}

impl Serves<HandOutStages> for NfrActor {
    fn serve(&mut self, HandOutStages: HandOutStages) -> Answer<Arc<Stages>> {
        Answer::Ready(Ok(Arc::clone(&self.stages)))
    }
}

/// Use another keyring from here on.
pub struct Rekey(pub Keyring);

impl Ask for Rekey {
    type Reply = ();
}

impl Serves<Rekey> for NfrActor {
    fn serve(&mut self, Rekey(keyring): Rekey) -> Answer<()> {
        *self.stages.keyring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keyring);
        Answer::Ready(Ok(()))
    }
}

impl NfrActor {
    /// An actor that hands out these stages.
    pub fn new(stages: Arc<Stages>) -> Self {
        NfrActor { stages }
    }
}

impl Stages {
    /// Stages with these workers and keys.
    pub fn new(cpu: CpuPool, keyring: Keyring, rng: Arc<dyn Rng>) -> Self {
        Stages { hashers: Hashers::new(cpu.clone()), cpu, keyring: RwLock::new(Arc::new(keyring)), rng }
    }

    /// The keyring in use.
    pub(super) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The same object with its data key wrapped by the active key.
    pub(super) fn rewrapped(&self, address: &Address, mut manifest: Manifest) -> Result<Manifest> {
        if let Some(seal) = &manifest.seal
            && let Some(wrapped) = &seal.key
        {
            let binding = nfr::binding(address, manifest.version, manifest.size, seal);
            let anew = self.keyring().rewrap(&*self.rng, wrapped, &binding)?;
            if let (Some(anew), Some(seal)) = (anew, &mut manifest.seal) {
                seal.key = Some(anew);
            }
        }
        Ok(manifest)
    }

    /// Wraps a sealer's data key for the object and version it turned out to be.
    pub(super) fn wrap(
        &self,
        sealer: &Sealer,
        address: &Address,
        version: Version,
        size: u64,
        seal: &Seal,
    ) -> Result<Option<WrappedKey>> {
        let key = sealer.data_key();
        key.map(|key| self.keyring().wrap(&*self.rng, key, &nfr::binding(address, version, size, seal))).transpose()
    }
}

/// What became of a stream of chunks.
pub struct Sealed {
    /// The frame, durable but for the commit.
    pub frame: StagedFrame,
    /// How it is made.
    pub seal: Seal,
    /// BLAKE3 of the plain bytes.
    pub blake3: Digest,
    sealer: Arc<Sealer>,
    stages: Arc<Stages>,
}

impl Sealed {
    /// What the commit calls once the version is known.
    pub fn binding(&self) -> Binding {
        let (sealer, stages) = (Arc::clone(&self.sealer), Arc::clone(&self.stages));
        Box::new(move |address, version, size, seal| stages.wrap(&sealer, address, version, size, seal))
    }
}

/// A pipeline that seals chunks in parallel and writes them in order while more arrive.
pub struct SealingStream {
    stages: Arc<Stages>,
    sealer: Arc<Sealer>,
    builder: FrameBuilder,
    window: Window<SealedChunk>,
    /// Sealed bytes on their way to the disk.
    out: mpsc::Sender<Bytes>,
    written: tokio::task::JoinHandle<Result<StagedFrame>>,
    next: u32,
}

impl SealingStream {
    /// Starts a frame for an object that begins with `first`.
    pub async fn start(stages: Arc<Stages>, disk: &DiskTier, spec: NfrSpec, first: &Bytes) -> Result<Self> {
        let (rng, probe) = (Arc::clone(&stages.rng), first.clone());
        let sealer = Arc::new(stages.cpu.wait(move || Sealer::new(spec, &*rng, &probe)).await?);
        let mut staging = disk.stage(sealer.frame());
        let (out, mut incoming) = mpsc::channel::<Bytes>(BODY_WINDOW_CHUNKS);
        let header = sealer.header();
        let written = tokio::task::spawn_blocking(move || {
            staging.write(&header)?;
            let mut complete = false;
            while let Some(bytes) = incoming.blocking_recv() {
                complete = bytes.is_empty();
                staging.write(&bytes)?;
            }
            // An empty piece ends the frame; without it the push was given up half-way.
            if complete { staging.finish() } else { Err(Error::unavailable("the push was given up")) }
        });
        let window = Window::new(BODY_WINDOW_CHUNKS);
        Ok(SealingStream { stages, sealer, builder: FrameBuilder::new(), window, out, written, next: 0 })
    }

    /// Takes in the next chunk.
    pub async fn feed(&mut self, chunk: Bytes, last: bool) -> Result<()> {
        let (sealer, index) = (Arc::clone(&self.sealer), self.next);
        self.next += 1;
        let work = self.stages.cpu.run(move || sealer.seal(index, last, &chunk));
        match self.window.push(work).await? {
            Some(sealed) => self.pass_on(sealed).await,
            None => Ok(()),
        }
    }

    async fn pass_on(&mut self, sealed: SealedChunk) -> Result<()> {
        self.builder.push(&sealed);
        if self.out.send(sealed.bytes).await.is_ok() {
            return Ok(());
        }
        // The writer ended early: its own error says why.
        let written = std::mem::replace(
            &mut self.written,
            tokio::spawn(async { Err(Error::internal("the frame was given up")) }),
        );
        match written.await {
            Ok(Err(error)) => Err(error),
            _ => Err(Error::internal("the frame's writer stopped")),
        }
    }

    /// Ends the frame: sealed, written, synced.
    pub async fn finish(mut self) -> Result<Sealed> {
        while let Some(sealed) = self.window.next().await? {
            self.pass_on(sealed).await?;
        }
        let finished = std::mem::take(&mut self.builder).finish(&self.sealer);
        for piece in [finished.footer, Bytes::new()] {
            // If the writer is gone, joining it below says why.
            let _ = self.out.send(piece).await;
        }
        drop(self.out);
        let frame =
            self.written.await.map_err(|error| Error::internal("the frame's writer failed").because(error))??;
        Ok(Sealed { frame, seal: finished.seal, blake3: finished.blake3, sealer: self.sealer, stages: self.stages })
    }
}

/// Seals an object that is small enough to rest in the store: no worker, no file, no waiting.
pub fn seal_small(
    stages: &Arc<Stages>,
    disk: &DiskTier,
    spec: NfrSpec,
    plain: &crate::model::Chunks,
) -> Result<Sealed> {
    let (bytes, finished, sealer) = nfr::seal_whole(spec, &*stages.rng, plain)?;
    let mut staging = disk.stage(sealer.frame());
    staging.write(&bytes)?;
    let frame = staging.finish()?;
    Ok(Sealed {
        frame,
        seal: finished.seal,
        blake3: finished.blake3,
        sealer: Arc::new(sealer),
        stages: Arc::clone(stages),
    })
}

/// Seals an object that is wholly in memory, whatever its size.
pub async fn seal_chunks(
    stages: Arc<Stages>,
    disk: &DiskTier,
    spec: NfrSpec,
    plain: &crate::model::Chunks,
) -> Result<Sealed> {
    let mut chunks = plain.chunks().peekable();
    let first = chunks.peek().cloned().unwrap_or_default();
    let mut stream = SealingStream::start(stages, disk, spec, &first).await?;
    while let Some(chunk) = chunks.next() {
        stream.feed(chunk, chunks.peek().is_none()).await?;
    }
    stream.finish().await
}

/// Checks, unwraps and opens what a manifest's seal describes, up to its header and footer.
pub async fn opener(
    stages: Arc<Stages>,
    address: Address,
    manifest: Arc<Manifest>,
    frame: Arc<dyn Source>,
) -> Result<Arc<nfr::Opener>> {
    blocking(move || {
        let tail = footer(&manifest, &*frame)?;
        let (head, tail) = frame.ends(0..nfr::HEADER_BYTES as u64, tail)?;
        opened(&stages, &address, &manifest, &head, &tail)
    })
    .await
}

/// The same of a frame that is read whole and in one go, where that is possible: all up to the footer is on its way while
/// the footer comes, and the first chunk is next.
pub async fn opener_of_all(
    stages: Arc<Stages>,
    address: Address,
    manifest: Arc<Manifest>,
    frame: Arc<dyn Source>,
) -> Result<(Arc<nfr::Opener>, Option<Box<dyn Run>>)> {
    let tail = footer(&manifest, &*frame)?;
    let Some(mut run) = Arc::clone(&frame).run(0..tail.start) else {
        return Ok((opener(stages, address, manifest, frame).await?, None));
    };
    let (head, tail) = try_join(run.next(nfr::HEADER_BYTES), blocking(move || frame.read(tail))).await?;
    let opener = blocking(move || opened(&stages, &address, &manifest, &head, &tail)).await?;
    Ok((opener, Some(run)))
}

/// Where the footer of a frame is, which must have the length that its manifest says.
pub(super) fn footer(manifest: &Manifest, frame: &dyn Source) -> Result<Range<u64>> {
    let seal = manifest.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame"))?;
    if frame.len() != seal.bytes {
        return Err(Error::corrupt("the frame has not the length it should have").with("frame", seal.frame));
    }
    nfr::footer_extent(seal.bytes, manifest.size, CHUNK_BYTES)
}

/// What opens a frame with this header and footer, which are checked.
pub(super) fn opened(
    stages: &Stages,
    address: &Address,
    manifest: &Manifest,
    head: &[u8],
    tail: &[u8],
) -> Result<Arc<nfr::Opener>> {
    let seal =
        manifest.seal.as_ref().ok_or_else(|| Error::corrupt("a record names no frame").with("address", address))?;
    let binding = nfr::binding(address, manifest.version, manifest.size, seal);
    let key = seal.key.as_ref().map(|key| stages.keyring().unwrap(key, &binding)).transpose()?;
    let opener = nfr::Opener::new(seal, head, tail, key.as_ref())?;
    if opener.size() != manifest.size {
        return Err(Error::corrupt("the frame holds an object of another size").with("frame", seal.frame));
    }
    Ok(Arc::new(opener))
}
