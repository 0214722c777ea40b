//! The digest of a body that is not sealed, made while it arrives.
//!
//! Parts wait on a pile. The thread that brings them goes on receiving, and hashes when nothing more has arrived, the
//! pile is high or the body is whole; a worker takes from the other end meanwhile. So neither waits long for the
//! other, whoever is slower.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::cpu::CpuPool;
use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;
use crate::model::Digest;
use crate::nfr::{ChunkHash, HASHED_BYTES, combine, hash_part};

/// Where there are no more workers than these, the threads that send and receive keep the processors busy.
const FEW_WORKERS: usize = 2;

/// As many parts as are worth waking a worker for, which takes as long as hashing two of them. It is woken while the
/// rest still arrives: a processor on which nothing runs any more takes as long again to begin.
const HELPED_PARTS: usize = CHUNK_BYTES / HASHED_BYTES / 4;

/// Parts that wait for help before the thread that brings them hashes some itself.
const WAITING_PARTS_MAX: usize = CHUNK_BYTES / HASHED_BYTES;

/// Parts that a worker hashes before others have their turn.
const TURN_PARTS: usize = 2 * CHUNK_BYTES / HASHED_BYTES;

/// Looks for what a worker has begun before the thread sleeps: to sleep and to be woken takes longer than a part.
const LOOKS: usize = 1000;

/// What hashes bodies: a pool of workers, and who uses it.
#[derive(Clone)]
pub(super) struct Hashers {
    cpu: CpuPool,
    bodies: Arc<AtomicUsize>,
}

/// Hashes a body in parts of [`HASHED_BYTES`], on the thread that brings them and beside it.
pub(super) struct Hashing {
    hashers: Hashers,
    /// Workers that help hold it as well.
    pile: Arc<Pile>,
}

/// The parts of one body that nobody has hashed yet, and the hashes of the others.
#[derive(Default)]
struct Pile {
    state: Mutex<State>,
    /// Parts that workers have begun and not ended.
    begun: AtomicUsize,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Part>,
    /// By index; none while the part waits or is at work, and where a worker gave up.
    hashes: Vec<Option<ChunkHash>>,
    /// Wants to know when no worker is at a part any more.
    waiter: Option<oneshot::Sender<()>>,
}

struct Part {
    index: u32,
    last: bool,
    plain: Bytes,
}

/// A part in a worker's hands. However that ends, nobody waits for it in vain.
struct Begun<'a> {
    pile: &'a Pile,
    index: u32,
    hash: Option<ChunkHash>,
}

impl Hashers {
    /// Bodies are hashed on these workers as well.
    pub(super) fn new(cpu: CpuPool) -> Self {
        Hashers { cpu, bodies: Arc::default() }
    }

    /// The digest of a body whose first bytes are there.
    pub(super) fn digest(&self) -> Hashing {
        self.bodies.fetch_add(1, Ordering::Relaxed);
        Hashing { hashers: self.clone(), pile: Arc::default() }
    }
}

impl Hashing {
    /// Adds the bytes that come next: whole parts, unless they are the last. Hashes what is too much to wait for help.
    pub(super) fn add(&mut self, plain: Bytes, last: bool) {
        let waiting = self.pile.add(plain, last);
        let is_helped = self.is_helped();
        if is_helped && waiting >= HELPED_PARTS && self.helpers() + 1 < self.hashers.cpu.workers() {
            let pile = Arc::clone(&self.pile);
            // It leaves what it did on the pile.
            drop(self.hashers.cpu.run(move || {
                pile.help();
                Ok(())
            }));
        }
        let most = if is_helped { WAITING_PARTS_MAX } else { 0 };
        for _ in most..waiting {
            self.pile.hash_newest();
        }
    }

    /// Hashes what waits. Before each part everybody else on this thread has a turn, whoever brings more among them.
    pub(super) async fn go_on(&self) {
        yield_now().await;
        while self.pile.hash_newest() {
            yield_now().await;
        }
    }

    /// Whether workers are to take part. This thread is one of those that could be at work.
    fn is_helped(&self) -> bool {
        let workers = self.hashers.cpu.workers();
        workers > FEW_WORKERS || (workers > 1 && self.hashers.bodies.load(Ordering::Relaxed) == 1)
    }

    fn helpers(&self) -> usize {
        Arc::strong_count(&self.pile) - 1
    }

    /// The digest of all parts.
    pub(super) async fn finish(self) -> Result<Digest> {
        while self.pile.hash_newest() {}
        self.pile.rest().await;
        let hashes: Option<Vec<ChunkHash>> = self.pile.state().hashes.drain(..).collect();
        Ok(combine(&hashes.ok_or_else(|| Error::internal("a worker gave up"))?))
    }
}

impl Drop for Hashing {
    fn drop(&mut self) {
        self.hashers.bodies.fetch_sub(1, Ordering::Relaxed);
        self.pile.state().waiting.clear();
    }
}

impl Pile {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cuts the bytes into parts, and says how many wait now.
    fn add(&self, mut plain: Bytes, last: bool) -> usize {
        let mut state = self.state();
        while !plain.is_empty() {
            let part = plain.split_to(plain.len().min(HASHED_BYTES));
            let index = state.hashes.len() as u32;
            state.waiting.push_back(Part { index, last: last && plain.is_empty(), plain: part });
            state.hashes.push(None);
        }
        state.waiting.len()
    }

    /// Hashes the part that came last: it is still in this processor's cache. Says no when none waits.
    fn hash_newest(&self) -> bool {
        let Some(part) = self.state().waiting.pop_back() else { return false };
        let hash = part.hash();
        self.state().set(part.index, Some(hash));
        true
    }

    /// Hashes what has waited longest, as long as it is a worker's turn.
    fn help(&self) {
        for _ in 0..TURN_PARTS {
            let mut state = self.state();
            let Some(part) = state.waiting.pop_front() else { return };
            self.begun.fetch_add(1, Ordering::Relaxed);
            drop(state);
            let mut begun = Begun { pile: self, index: part.index, hash: None };
            begun.hash = Some(part.hash());
        }
    }

    /// Waits until no worker is at a part of it.
    async fn rest(&self) {
        for _ in 0..LOOKS {
            if self.begun.load(Ordering::Relaxed) == 0 {
                return;
            }
            std::hint::spin_loop();
        }
        let ended = {
            let mut state = self.state();
            if self.begun.load(Ordering::Relaxed) == 0 {
                return;
            }
            let (waiter, ended) = oneshot::channel();
            state.waiter = Some(waiter);
            ended
        };
        // It is told, and not forgotten: a worker lays down what it has begun whatever happens.
        let _ = ended.await;
    }
}

impl State {
    fn set(&mut self, index: u32, hash: Option<ChunkHash>) {
        if let Some(place) = self.hashes.get_mut(index as usize) {
            *place = hash;
        }
    }
}

impl Part {
    fn hash(&self) -> ChunkHash {
        hash_part(self.index, self.last, &self.plain)
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let mut state = self.pile.state();
        state.set(self.index, self.hash);
        let is_last = self.pile.begun.fetch_sub(1, Ordering::Relaxed) == 1;
        let waiter = if is_last { state.waiter.take() } else { None };
        // Who is told wants the lock.
        drop(state);
        // Who wanted to know may have gone.
        waiter.map(|waiter| waiter.send(()));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn hashers(workers: usize) -> Hashers {
        Hashers::new(CpuPool::new(workers).unwrap())
    }

    fn bytes(len: usize) -> Bytes {
        (0..len).map(|i| (i / 3) as u8).collect()
    }

    async fn digest(hashers: &Hashers, plain: &Bytes, piece: usize) -> Digest {
        let mut hashing = hashers.digest();
        for start in (0..plain.len()).step_by(piece) {
            let end = plain.len().min(start + piece);
            hashing.add(plain.slice(start..end), end == plain.len());
        }
        hashing.finish().await.unwrap()
    }

    #[tokio::test]
    async fn a_digest_is_the_same_whoever_hashes_its_parts() {
        let plain = bytes(70 * HASHED_BYTES + 5);
        for workers in [1, 2, 3, 8] {
            let hashers = hashers(workers);
            for len in [0, 1, HASHED_BYTES, HASHED_BYTES + 1, 4 * HASHED_BYTES, 16 * HASHED_BYTES + 9, plain.len()] {
                let plain = plain.slice(..len);
                for piece in [HASHED_BYTES, 4 * HASHED_BYTES, 40 * HASHED_BYTES] {
                    let made = digest(&hashers, &plain, piece).await;
                    assert_eq!(made.bytes, *blake3::hash(&plain).as_bytes(), "{workers} {len} {piece}");
                }
            }
            assert_eq!(hashers.bodies.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn few_workers_help_one_body_that_brings_more_than_waking_them_costs() {
        let much = bytes(HELPED_PARTS * HASHED_BYTES);
        for (workers, bodies, helpers) in [(1, 1, 0), (2, 1, 1), (2, 2, 0), (4, 2, 1)] {
            let hashers = hashers(workers);
            let held: Vec<_> = (0..workers).map(|_| hold(&hashers.cpu)).collect();
            let others: Vec<_> = (1..bodies).map(|_| begun(&hashers)).collect();
            let mut body = hashers.digest();
            body.add(much.slice(HASHED_BYTES..), false);
            assert_eq!(body.helpers(), 0, "it is too little");
            body.add(much.slice(..HASHED_BYTES), false);
            assert_eq!(body.helpers(), helpers, "{workers} workers, {bodies} bodies");
            let waiting = body.pile.state().waiting.len();
            assert_eq!(waiting, if helpers > 0 { HELPED_PARTS } else { 0 }, "what nobody helps with is hashed at once");
            drop((held, others));
        }
    }

    #[tokio::test]
    async fn what_waits_is_hashed_while_nothing_more_arrives_and_no_longer() {
        let hashers = hashers(2);
        let held = [hold(&hashers.cpu), hold(&hashers.cpu)];
        let mut hashing = hashers.digest();
        let waiting = |hashing: &Hashing| hashing.pile.state().waiting.len();
        hashing.add(bytes(4 * HASHED_BYTES), false);
        let mut turns = 0;
        let others = async {
            while waiting(&hashing) > 1 {
                turns += 1;
                yield_now().await;
            }
        };
        tokio::select! {
            biased;
            () = others => {}
            () = hashing.go_on() => panic!("others had no turn"),
        }
        assert_eq!((turns, waiting(&hashing)), (4, 1), "one part a turn");
        hashing.go_on().await;
        assert_eq!(waiting(&hashing), 0);
        assert_eq!(hashing.finish().await.unwrap().bytes, *blake3::hash(&bytes(4 * HASHED_BYTES)).as_bytes());
        drop(held);
    }

    #[tokio::test]
    async fn a_body_does_not_wait_for_workers_that_have_no_time() {
        let hashers = hashers(2);
        let held = [hold(&hashers.cpu), hold(&hashers.cpu)];
        let plain = bytes(4 * CHUNK_BYTES);
        assert_eq!(digest(&hashers, &plain, CHUNK_BYTES / 4).await.bytes, *blake3::hash(&plain).as_bytes());
        drop(held);
    }

    #[tokio::test]
    async fn a_body_waits_for_what_a_worker_has_begun_and_fails_when_that_is_not_done() {
        let plain = bytes(2 * HASHED_BYTES);
        for is_done in [true, false] {
            let hashing = begun(&hashers(2));
            let part = hashing.pile.state().waiting.pop_front().unwrap();
            let pile = Arc::clone(&hashing.pile);
            pile.begun.fetch_add(1, Ordering::Relaxed);
            let worker = std::thread::spawn(move || {
                let mut held = Begun { pile: &pile, index: part.index, hash: None };
                std::thread::sleep(Duration::from_millis(50));
                held.hash = is_done.then(|| part.hash());
            });
            let digest = hashing.finish().await.ok().map(|digest| digest.bytes);
            assert_eq!(digest, is_done.then(|| *blake3::hash(&plain).as_bytes()));
            worker.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_body_that_is_given_up_leaves_nothing_to_its_helpers() {
        let hashers = hashers(2);
        let held = [hold(&hashers.cpu), hold(&hashers.cpu)];
        let mut hashing = hashers.digest();
        hashing.add(bytes(HELPED_PARTS * HASHED_BYTES), false);
        let pile = Arc::clone(&hashing.pile);
        assert_eq!(Arc::strong_count(&pile), 3, "a helper waits for its turn");
        drop(hashing);
        assert_eq!((pile.state().waiting.len(), hashers.bodies.load(Ordering::Relaxed)), (0, 0));
        drop(held);
        while Arc::strong_count(&pile) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(pile.state().hashes.iter().all(Option::is_none));
    }

    fn begun(hashers: &Hashers) -> Hashing {
        let mut hashing = hashers.digest();
        hashing.add(bytes(2 * HASHED_BYTES), true);
        hashing
    }

    /// Keeps a worker busy until what is returned goes.
    fn hold(cpu: &CpuPool) -> oneshot::Sender<()> {
        let (hold, held) = oneshot::channel::<()>();
        drop(cpu.run(move || {
            let _ = held.blocking_recv();
            Ok(())
        }));
        hold
    }
}
