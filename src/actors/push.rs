//! One push, from the first chunk to the acknowledgement.
//!
//! Chunks are held for level 1 while there is room, and sealed towards the disk while more arrive. An
//! object of class `ram` that turns out not to fit in memory goes on as one of class `disk`.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::body::Body;
use super::container::{Crew, Plan};
use super::cpu::blocking;
use super::handle::Permits;
use super::hashing::Hashing;
use super::memory::Admit;
use super::nfr::{Sealed, SealingStream, Stages, seal_small};
use super::request::{Push, Pushed};
use super::sync::FreeDisk;
use crate::error::{Error, Kind, Result};
use crate::limits::{CHUNK_BYTES, DISK_GRANT_BYTES, INLINE_FRAME_BYTES_MAX};
use crate::model::{Chunks, Digest, DigestKind, Durability};
use crate::nfr::PlainDigest;
use crate::tiers::{Change, Draft, Job, MemoryTier, Outcome, Reservation, Show};

/// Plain bytes whose sealed form surely rests in the store: frame overhead is well under this.
const SMALL_BYTES_MAX: usize = INLINE_FRAME_BYTES_MAX - 512;

/// What stays in memory comes in shorter pieces than chunks are: it is hashed while the rest arrives.
const HELD_PIECE_BYTES: usize = CHUNK_BYTES / 4;

/// Stores an object as planned.
pub async fn store(crew: &Crew, plan: Plan, push: Box<Push>, body: Body, permits: Permits) -> Result<Pushed> {
    if crew.keeper.foresees(&push.address, &push.condition) {
        // What the others know counts here already, and once more when it is committed.
        drop(crew.decide(&push.address, &push.condition).await?);
        let (keeper, wanted) = (Arc::clone(&crew.keeper), push.clone());
        let work = move || keeper.foresee(&wanted.address, wanted.size.unwrap_or_default(), &wanted.condition);
        blocking(work).await.inspect_err(|error| crew.teller.refused(&push.address, error))?;
    }
    let mut intake = Intake::new(crew, plan, &push);
    let address = push.address.clone();
    let outcome = intake.run(body).await;
    drop(permits);
    outcome.map_err(|error| if error.context("address").is_some() { error } else { error.with("address", address) })
}

/// What has arrived of a push so far.
struct Intake<'a> {
    crew: &'a Crew,
    plan: Plan,
    push: &'a Push,
    stages: Arc<Stages>,
    size: u64,
    /// The most that there may be.
    bytes_max: u64,
    /// Bytes for which the disk was asked.
    granted: u64,
    /// The copy for level 1, while there is room for it.
    held: Option<(Vec<Bytes>, Option<Reservation>)>,
    /// The way to the disk, if the object goes there.
    stream: Option<SealingStream>,
    /// The digest of an object that stays in memory, once its first bytes are there.
    hashing: Option<Hashing>,
    /// SHA-256, when the collection shows it or the pusher sent it to be checked.
    sha256: Option<PlainDigest>,
}

impl<'a> Intake<'a> {
    fn new(crew: &'a Crew, plan: Plan, push: &'a Push) -> Self {
        let wanted = [Some(plan.nfr.digest), push.expect.map(|digest| digest.kind)];
        let sha256 = wanted.into_iter().flatten().find_map(PlainDigest::beside_chunks);
        Intake {
            crew,
            plan,
            push,
            stages: Arc::clone(&crew.stages),
            size: 0,
            bytes_max: crew.bytes_max(push.address.collection()),
            granted: 0,
            held: plan.in_ram.then(|| (Vec::new(), None)),
            stream: None,
            hashing: None,
            sha256,
        }
    }

    async fn run(&mut self, mut body: Body) -> Result<Pushed> {
        body.in_chunks_of(if self.plan.durability == Durability::Ram { HELD_PIECE_BYTES } else { CHUNK_BYTES });
        let next = self.receive(&mut body).await?;
        if self.plan.durability == Durability::Disk && next.as_ref().is_none_or(|chunk| chunk.len() <= SMALL_BYTES_MAX)
        {
            // A short chunk is always the last.
            return self.run_small(next).await;
        }
        // Most pushes are small: what they wait in is to be small as well.
        Box::pin(self.run_large(next, body)).await
    }

    async fn run_large(&mut self, mut next: Option<Bytes>, mut body: Body) -> Result<Pushed> {
        while let Some(chunk) = next {
            // Where the length is known, nothing waits for what follows it to hear whether it is the last.
            let is_last = self.push.size.map(|size| size <= self.size + chunk.len() as u64);
            next = if is_last.is_some() { None } else { self.receive(&mut body).await? };
            if !self.has_place(&chunk).await? {
                body.give_back(self.turn_to_disk().into_iter().chain([chunk]).chain(next));
                return self.run(body).await;
            }
            self.take(chunk, is_last.unwrap_or(next.is_none())).await?;
            if is_last.is_some() {
                next = self.receive(&mut body).await?;
            }
        }
        match self.stream.take() {
            Some(stream) => {
                self.check_size()?;
                let sealed = stream.finish().await?;
                self.commit(sealed).await
            }
            None => self.hold().await,
        }
    }

    /// The next chunk, within the time that the caller is willing to wait for progress. What came before is hashed
    /// meanwhile.
    async fn receive(&self, body: &mut Body) -> Result<Option<Bytes>> {
        let hashing = async {
            if let Some(hashing) = &self.hashing {
                hashing.go_on().await;
            }
            pending().await
        };
        let next = async {
            tokio::select! {
                biased;
                chunk = body.next_chunk() => chunk,
                never = hashing => never,
            }
        };
        within(self.push.deadline, "the body stalled", next).await
    }

    fn count(&mut self, chunk: &Bytes) -> Result<()> {
        self.size += chunk.len() as u64;
        let most = self.push.size.unwrap_or(self.bytes_max).min(self.bytes_max);
        if self.size > most {
            // The policy that says so is named.
            self.crew.may_change(&self.push.address, Some(self.size))?;
            return Err(Error::too_large("the body is longer than it may be").with("limit", most));
        }
        Ok(())
    }

    fn check_size(&self) -> Result<()> {
        if self.push.size.is_some_and(|size| size != self.size) {
            return Err(Error::invalid("the body is shorter than announced").with("received", self.size));
        }
        Ok(())
    }

    async fn take(&mut self, chunk: Bytes, last: bool) -> Result<()> {
        self.hash_sha256(&chunk).await?;
        self.held.iter_mut().for_each(|(pieces, _)| pieces.push(chunk.clone()));
        if self.plan.durability == Durability::Disk && self.stream.is_none() {
            self.start_stream(&chunk).await?;
        }
        if self.stream.is_some() && self.size > self.granted {
            // A body without a length asks again and again, for a little more than has come.
            let step = DISK_GRANT_BYTES.min(self.crew.disk_budget / 8);
            self.ask_disk(self.push.size.unwrap_or(self.size + step)).await?;
        }
        match &mut self.stream {
            Some(stream) => stream.feed(chunk, last).await,
            None => {
                self.hashing.get_or_insert_with(|| self.stages.hashers.digest()).add(chunk, last);
                Ok(())
            }
        }
    }

    async fn hash_sha256(&mut self, chunk: &Bytes) -> Result<()> {
        if let Some(mut digest) = self.sha256.take() {
            let chunk = chunk.clone();
            self.sha256 = Some(
                self.stages
                    .cpu
                    .wait(move || {
                        digest.update(&chunk);
                        Ok(digest)
                    })
                    .await?,
            );
        }
        Ok(())
    }

    /// Counts a chunk in, and gives the copy for level 1 up where there is no room for it. Says no when that copy
    /// was to be the only one.
    async fn has_place(&mut self, chunk: &Bytes) -> Result<bool> {
        self.count(chunk)?;
        if self.held.is_none() || self.has_room().await? {
            return Ok(true);
        }
        if self.plan.durability == Durability::Disk {
            self.held = None;
        }
        Ok(self.plan.durability == Durability::Disk)
    }

    /// Begins again, as a push to the disk alone. Returns what has been kept.
    fn turn_to_disk(&mut self) -> Vec<Bytes> {
        let kept = self.held.take().map(|(pieces, _)| pieces).unwrap_or_default();
        let plan = Plan { durability: Durability::Disk, in_ram: false, ..self.plan };
        *self = Intake::new(self.crew, plan, self.push);
        kept
    }

    /// Whether level 1 has room for all that is known to come, after asking for what is missing.
    async fn has_room(&mut self) -> Result<bool> {
        let Some((_, room)) = &mut self.held else { return Ok(false) };
        let budget = self.crew.keeper.memory().budget();
        // One object may take a quarter of level 1, or half if memory is all it asks for.
        let share = if self.plan.durability == Durability::Ram { budget / 2 } else { budget / 4 };
        let expected = self.push.size.unwrap_or(self.size).max(self.size);
        let needed = MemoryTier::cost(&self.push.address, expected);
        let missing = needed.saturating_sub(room.as_ref().map_or(0, Reservation::bytes));
        if needed > share || missing == 0 {
            return Ok(needed <= share);
        }
        let more = match reserve(self.crew, missing, self.push.deadline).await {
            // The disk is what was asked for; a copy in memory is only welcome.
            Err(_) if self.plan.durability == Durability::Disk => None,
            granted => granted?,
        };
        match (more, room) {
            (None, _) => return Ok(false),
            (Some(more), Some(room)) => room.absorb(more),
            (more, room) => *room = more,
        }
        Ok(true)
    }

    /// Asks for room on the disk for so many bytes of this object, those that have come among them.
    async fn ask_disk(&mut self, bytes: u64) -> Result<()> {
        if self.crew.keeper.disk().sealed_bytes().saturating_add(bytes) > self.crew.disk_budget {
            let room = self.crew.sync.ask(FreeDisk { bytes });
            within(self.push.deadline, "the disk made no room in time", room).await?;
        }
        self.granted = bytes;
        Ok(())
    }

    async fn start_stream(&mut self, first: &Bytes) -> Result<()> {
        let disk = self.crew.keeper.disk();
        self.stream = Some(SealingStream::start(Arc::clone(&self.stages), disk, self.plan.nfr, first).await?);
        Ok(())
    }

    async fn run_small(&mut self, only: Option<Bytes>) -> Result<Pushed> {
        if let Some(chunk) = &only {
            self.has_place(chunk).await?;
            if let Some(digest) = &mut self.sha256 {
                digest.update(chunk);
            }
            self.held.iter_mut().for_each(|(pieces, _)| pieces.push(chunk.clone()));
        }
        self.check_size()?;
        self.ask_disk(self.size).await?;
        let plain = only.map_or_else(Chunks::default, Chunks::from);
        let sealed = seal_small(&self.stages, self.crew.keeper.disk(), self.plan.nfr, &plain)?;
        self.commit(sealed).await
    }

    /// The object is complete in memory, and that is what was asked for.
    async fn hold(&mut self) -> Result<Pushed> {
        self.check_size()?;
        let hashing = self.hashing.take().unwrap_or_else(|| self.stages.hashers.digest());
        let digest = hashing.finish().await?;
        let draft = self.draft(digest)?;
        let (pieces, room) = self.held.take().unwrap_or_default();
        let room = match room {
            Some(room) => Some(room),
            None => reserve(self.crew, MemoryTier::cost(&self.push.address, 0), self.push.deadline).await?,
        };
        let mut room = room.ok_or_else(|| Error::busy("level 1 has no room; try again"))?;
        let decision = self.crew.decide(&self.push.address, &self.push.condition).await?;
        let (keeper, address) = (Arc::clone(&self.crew.keeper), self.push.address.clone());
        let (chunks, condition) = (Chunks::from_pieces(pieces), self.push.condition.clone());
        let held = match keeper.hold_again(&address, &draft, &chunks, &mut room, &condition) {
            Some(held) => Ok(held),
            None => {
                let hold = move || keeper.hold(&address, &draft, &chunks, room, &condition, decision.as_ref());
                let holding = blocking(hold);
                within(self.push.deadline, "the push took too long; it may still happen", holding).await
            }
        };
        if self.crew.keeper.must_look_ahead() {
            let keeper = Arc::clone(&self.crew.keeper);
            // Nobody waits for it; whoever finds no version left tries it again, and tells why it fails.
            drop(tokio::task::spawn_blocking(move || keeper.look_ahead()));
        }
        let (manifest, created) = held.inspect_err(|error| self.crew.teller.refused(&self.push.address, error))?;
        self.crew.teller.pushed(&self.push.address, &manifest, created);
        Ok(Pushed { manifest, created })
    }

    async fn commit(&mut self, sealed: Sealed) -> Result<Pushed> {
        let draft = self.draft(sealed.blake3)?;
        let decision = self.crew.decide(&self.push.address, &self.push.condition).await?;
        let show = match self.held.take() {
            Some((pieces, Some(room))) => Some(Show { chunks: Chunks::from_pieces(pieces), room }),
            _ => None,
        };
        let bind = sealed.binding();
        let condition = self.push.condition.clone();
        let change = Change::Store { draft, seal: sealed.seal, frame: sealed.frame, bind, condition };
        let job = Job { address: self.push.address.clone(), change, show, decision };
        let committed = self.crew.commit(job);
        match within(self.push.deadline, "the commit took too long", committed).await? {
            Outcome::Stored { manifest, created } => Ok(Pushed { manifest, created }),
            Outcome::Deleted(_) | Outcome::Mended | Outcome::Superseded => {
                Err(Error::internal("a push became something else"))
            }
        }
    }

    /// What the object is, once its bytes are known to be the ones that were meant.
    fn draft(&mut self, blake3: Digest) -> Result<Draft> {
        // A policy may have come while the body did.
        self.crew.may_change(&self.push.address, Some(self.size))?;
        let sha256 = self.sha256.take().map(PlainDigest::finish);
        let of = |kind| match kind {
            DigestKind::Blake3 => blake3,
            DigestKind::Sha256 => sha256.unwrap_or(blake3),
        };
        if let Some(expected) = self.push.expect
            && of(expected.kind) != expected
        {
            return Err(Error::new(
                Kind::PreconditionFailed,
                "the body has another digest than announced; nothing was stored",
            )
            .with("received", of(expected.kind))
            .with("announced", expected));
        }
        Ok(Draft {
            size: self.size,
            digest: of(self.plan.nfr.digest),
            content_type: self.push.content_type.clone(),
            meta: self.push.meta.clone(),
            nfr: self.plan.nfr,
            ttl_ms: self.plan.ttl_ms,
        })
    }
}

/// Room in level 1: at once when it is free, else from the memory actor.
pub(super) async fn reserve(crew: &Crew, bytes: u64, deadline: Duration) -> Result<Option<Reservation>> {
    if let Some(room) = crew.keeper.memory().try_reserve(bytes) {
        return Ok(Some(room));
    }
    within(deadline, "level 1 made no room in time", crew.memory.ask(Admit { bytes })).await
}

/// Waits no longer than the caller does.
pub(super) async fn within<T>(
    deadline: Duration,
    what: &'static str,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    match timeout(deadline, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::deadline(what).with("deadline_ms", deadline.as_millis())),
    }
}
