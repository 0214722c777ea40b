//! One container without threads, on a simulated disk and clock: crashed anywhere, restarted, checked.
//!
//! A schedule is decided by its seed alone: the same seed leaves the same bytes and the same trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use meshstore::model::{
    Address, Chunks, CollectionPolicy, Compression, Condition, FrameId, Head, Level, Manifest, ManualClock, NfrSpec,
    Receipt, Rest, Rng, SeededRng, Usage, Version,
};
use meshstore::nfr::{Keyring, binding, open_whole, seal_whole};
use meshstore::node::{Parts, Sizes};
use meshstore::store::{Fs, SimFs, SyncKind};
use meshstore::tiers::{Change, Draft, Job, Keeper, MemoryTier, Outcome, Show, Source};

const ROOT: &str = "/data";
const KEYS: u64 = 8;
const LIVES: u64 = 4;
const SIZES: Sizes = Sizes { level1_bytes: 1 << 20, cache_bytes: 1 << 20, reserve_bytes: 64 << 10 };

/// What an address may hold: the number of a push, or nothing.
type State = Option<u64>;

/// What is known of an address from the answers alone.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Acknowledged as durable.
    durable: State,
    /// Possible instead: asked for without an answer, or acknowledged in memory only.
    maybe: Vec<State>,
    /// What a read must give right now, in this life.
    current: State,
}

/// A planted bug.
#[derive(Clone, Copy, PartialEq)]
enum Planted {
    Nothing,
    Forgetful(SyncKind),
    /// Uploads are not marked before they begin.
    UnmarkedUploads,
}

/// A cloud that never forgets and never fails: what is owed to it is what is tested.
#[derive(Default)]
struct Cloud {
    frames: BTreeMap<FrameId, Vec<u8>>,
    heads: BTreeMap<Address, Version>,
}

/// One schedule under way.
struct World {
    rng: SeededRng,
    clock: Arc<ManualClock>,
    keyring: Arc<Keyring>,
    known: BTreeMap<Address, Known>,
    pushes: u64,
    highest: Option<Version>,
    trace: fingerprint::Trace,
    cloud: Cloud,
    planted: Planted,
}

/// A fingerprint of what happened, without another dependency.
mod fingerprint {
    #[derive(Default, Clone, Copy, PartialEq, Debug)]
    pub struct Trace(pub u64);

    impl Trace {
        pub fn note(&mut self, what: impl std::fmt::Debug) {
            for byte in format!("{what:?}").bytes() {
                self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
}

type Broken = String;

impl World {
    fn address(&self) -> Address {
        format!("sim/{}", self.rng.below(KEYS)).parse().unwrap()
    }

    /// The bytes of the n-th push; a third is too large to rest in the store.
    fn body(number: u64) -> Chunks {
        let rng = SeededRng::new(number);
        let len = match rng.below(3) {
            0 => rng.below(200),
            1 => rng.below(5_000),
            _ => 20_000 + rng.below(20_000),
        };
        let mut data = number.to_le_bytes().to_vec();
        data.resize(8 + len as usize, 0);
        rng.fill(&mut data[8..]);
        Chunks::from(Bytes::from(data))
    }

    fn spec(&self) -> NfrSpec {
        NfrSpec { compress: Compression::None, ..NfrSpec::default() }
    }

    fn draft(&self, plain: &Chunks, digest: meshstore::model::Digest) -> Draft {
        Draft { size: plain.len(), digest, content_type: None, meta: BTreeMap::new(), nfr: self.spec(), ttl_ms: None }
    }

    /// Seals and stages a push: everything but its commit.
    fn stage(&self, keeper: &Keeper, address: &Address, plain: &Chunks, show: bool) -> meshstore::Result<Job> {
        let (frame, finished, sealer) = seal_whole(self.spec(), &self.rng, plain)?;
        let mut staging = keeper.disk().stage(sealer.frame());
        // In pieces, so that a crash may come between them.
        for piece in frame.chunks(9_000) {
            staging.write(piece)?;
        }
        let staged = staging.finish()?;
        let (keyring, seed) = (Arc::clone(&self.keyring), self.rng.u64());
        let bind = Box::new(move |address: &Address, version, size, seal: &meshstore::model::Seal| {
            let key = sealer.data_key().unwrap();
            keyring.wrap(&SeededRng::new(seed), key, &binding(address, version, size, seal)).map(Some)
        });
        let room = keeper.memory().try_reserve(MemoryTier::cost(address, plain.len()));
        let show = room.filter(|_| show).map(|room| Show { chunks: plain.clone(), room });
        let draft = self.draft(plain, finished.blake3);
        Ok(Job {
            address: address.clone(),
            change: Change::Store { draft, seal: finished.seal, frame: staged, bind, condition: Condition::Always },
            show,
            decision: None,
        })
    }

    /// Several changes in one group, staged before any of them is committed.
    fn group(&mut self, keeper: &Keeper) -> Result<bool, Broken> {
        let mut jobs = Vec::new();
        let mut wanted: Vec<(Address, State)> = Vec::new();
        for _ in 0..1 + self.rng.below(4) {
            let address = self.address();
            if self.rng.below(4) == 0 {
                wanted.push((address.clone(), None));
                jobs.push(Job {
                    address,
                    change: Change::Delete { condition: Condition::Always, unseen: false },
                    show: None,
                    decision: None,
                });
                continue;
            }
            self.pushes += 1;
            let number = self.pushes;
            let show = self.rng.below(2) == 0;
            match self.stage(keeper, &address, &Self::body(number), show) {
                Ok(job) => jobs.push(job),
                Err(_) => return Ok(false),
            }
            wanted.push((address, Some(number)));
        }
        for (address, state) in &wanted {
            self.known.entry(address.clone()).or_default().maybe.push(*state);
        }
        let outcomes = keeper.commit(jobs);
        let mut alive = true;
        for ((address, state), outcome) in wanted.into_iter().zip(outcomes) {
            self.trace.note((&address, state, outcome.is_ok()));
            match outcome {
                Ok(Outcome::Stored { manifest, .. }) => self.rising(manifest.version)?,
                Ok(Outcome::Deleted(stamp)) => stamp.map_or(Ok(()), |stamp| self.rising(stamp.version))?,
                Ok(Outcome::Superseded | Outcome::Mended) => return Err("a plain change became another".into()),
                Err(_) => {
                    alive = false;
                    continue;
                }
            }
            *self.known.get_mut(&address).unwrap() = Known { durable: state, maybe: Vec::new(), current: state };
        }
        Ok(alive)
    }

    /// A push of class `ram`: acknowledged in memory alone.
    fn hold(&mut self, keeper: &Keeper) -> Result<bool, Broken> {
        let address = self.address();
        self.pushes += 1;
        let plain = Self::body(self.pushes);
        let Some(room) = keeper.memory().try_reserve(MemoryTier::cost(&address, plain.len())) else { return Ok(true) };
        let hashes = [meshstore::nfr::hash_part(0, true, &plain.to_bytes())];
        let draft = self.draft(&plain, meshstore::nfr::combine(&hashes));
        let held = keeper.hold(&address, &draft, &plain, room, &Condition::Always, None);
        self.trace.note((&address, held.is_ok()));
        let Ok((manifest, _)) = held else { return Ok(false) };
        self.rising(manifest.version)?;
        let known = self.known.entry(address).or_default();
        known.maybe.push(Some(self.pushes));
        known.current = Some(self.pushes);
        Ok(true)
    }

    /// Writes a dirty object to disk, as an eviction does.
    fn demote(&mut self, keeper: &Keeper) -> Result<bool, Broken> {
        let Some(address) = keeper.memory().dirty().into_iter().next() else { return Ok(true) };
        let resident = keeper.memory().peek(&address).unwrap();
        let mut manifest = (*resident.manifest).clone();
        let Ok(job) = self.stage(keeper, &address, &resident.chunks, false) else { return Ok(false) };
        let Change::Store { mut seal, frame, bind, .. } = job.change else { unreachable!() };
        seal.key = bind(&address, manifest.version, manifest.size, &seal).unwrap();
        manifest.seal = Some(seal);
        let change = Change::Adopt { manifest: Box::new(manifest), frame };
        let outcome =
            keeper.commit(vec![Job { address: address.clone(), change, show: None, decision: None }]).remove(0);
        self.trace.note((&address, "demoted", outcome.is_ok()));
        let known = self.known.get_mut(&address).unwrap();
        match outcome {
            Ok(Outcome::Stored { .. }) => {
                let current = known.current;
                *known = Known { durable: current, maybe: Vec::new(), current };
                Ok(true)
            }
            Ok(other) => Err(format!("a demotion became {other:?}")),
            Err(_) => Ok(false),
        }
    }

    /// New versions are greater than all before them, whatever the clock and the crashes did.
    fn rising(&mut self, version: Version) -> Result<(), Broken> {
        if self.highest.is_some_and(|highest| version <= highest) {
            return Err(format!("version {version} after {:?}", self.highest));
        }
        self.highest = Some(version);
        Ok(())
    }

    /// What an address holds, by its bytes; an error for bytes that were never pushed.
    fn read(&self, keeper: &Keeper, address: &Address) -> Result<State, Broken> {
        if let Some(resident) = keeper.memory().peek(address) {
            return number_of(&resident.chunks, address);
        }
        self.read_disk(keeper, address)
    }

    fn read_disk(&self, keeper: &Keeper, address: &Address) -> Result<State, Broken> {
        let head = keeper.disk().head(address).map_err(|error| error.to_string())?;
        let Some(Head::Object(manifest)) = head else { return Ok(None) };
        let plain = self.open(keeper, address, &manifest).map_err(|error| format!("{address}: {error}"))?;
        number_of(&plain, address)
    }

    fn open(&self, keeper: &Keeper, address: &Address, manifest: &Manifest) -> meshstore::Result<Chunks> {
        let seal = manifest.seal.as_ref().unwrap();
        let bytes = match seal.rest.on_disk() {
            true => {
                let frame = keeper.disk().reader(address, manifest.version, seal)?;
                frame.read(0..frame.len())?
            }
            false => {
                Bytes::from(self.cloud.frames.get(&seal.frame).expect("the cloud has what it has receipts for").clone())
            }
        };
        let bound = binding(address, manifest.version, manifest.size, seal);
        let key = self.keyring.unwrap(seal.key.as_ref().unwrap(), &bound)?;
        open_whole(seal, manifest.size, &bytes, Some(&key))
    }

    /// Within one life, every read gives what was acknowledged last. Says whether the disk still works.
    fn check_reads(&self, keeper: &Keeper) -> Result<bool, Broken> {
        for (address, known) in &self.known {
            let now = match self.read(keeper, address) {
                Ok(now) => now,
                // The disk may fail right behind a commit that was still durable.
                Err(broken) if broken.contains("simulated crash") => return Ok(false),
                Err(broken) => return Err(broken),
            };
            if now != known.current {
                return Err(format!("{address} reads {now:?}, acknowledged {:?}", known.current));
            }
        }
        Ok(true)
    }

    /// After a crash, every address holds what was durable, or what may have happened since.
    fn check_recovery(&mut self, keeper: &Keeper) -> Result<(), Broken> {
        for (address, known) in std::mem::take(&mut self.known) {
            let now = self.read(keeper, &address)?;
            if now != known.durable && !known.maybe.contains(&now) {
                return Err(format!("{address} holds {now:?} after a crash: {known:?}"));
            }
            self.trace.note((&address, now));
            self.known.insert(address, Known { durable: now, maybe: Vec::new(), current: now });
        }
        self.check_books(keeper)
    }

    /// What is counted is what is there, and every old version that is still kept can be read.
    fn check_books(&self, keeper: &Keeper) -> Result<(), Broken> {
        let said = |error: meshstore::Error| error.to_string();
        let (mut sum, mut owed, mut held) = (Usage::default(), Usage::default(), Usage::default());
        let mut sealed = 0;
        for key in 0..KEYS {
            let address: Address = format!("sim/{key}").parse().unwrap();
            for old in keeper.disk().store().old_versions(&address, 1000).map_err(said)? {
                number_of(&self.open(keeper, &address, &old).map_err(said)?, &address)?;
                let seal = old.seal.unwrap();
                sealed += if seal.rest.on_disk() { seal.bytes } else { 0 };
            }
            let owes = keeper.owed_at(&address).map_err(said)?;
            if let Some(Head::Object(manifest)) = keeper.disk().head(&address).map_err(said)? {
                sum = sum.plus(Usage::of(manifest.size));
                let seal = manifest.seal.unwrap();
                sealed += if seal.rest.on_disk() { seal.bytes } else { 0 };
                match seal.rest {
                    Rest::Disk => owed = owed.plus(Usage::of(seal.bytes)),
                    Rest::Both(_) | Rest::Cloud(_) => held = held.plus(Usage::of(seal.bytes)),
                }
                if owes.is_some() != (seal.rest == Rest::Disk) {
                    return Err(format!("{address} rests {:?} and owes {owes:?}", seal.rest));
                }
            } else if owes.is_some() {
                return Err(format!("{address} is not there and owes {owes:?}"));
            }
        }
        let holding = keeper.holding();
        let counted = (keeper.usage_of("sim"), keeper.disk().usage().map_err(said)?.bytes, holding.owed, holding.cloud);
        if counted == (sum, sealed, owed, held) {
            Ok(())
        } else {
            Err(format!("counted {counted:?}, there is {:?}", (sum, sealed, owed, held)))
        }
    }

    /// Sends some of what is owed. A crash, or a roll of the dice, may come at any point in between.
    fn pay(&mut self, keeper: &Keeper) -> meshstore::Result<()> {
        let page = keeper.disk().store().owed_page(None, 1 + self.rng.below(3) as usize, &|_, _| true)?;
        let begun = match self.planted {
            Planted::UnmarkedUploads => page,
            _ => keeper.begin_uploads(page)?,
        };
        let mut receipts = Vec::new();
        for (version, owed) in begun {
            let Some(manifest) = keeper.durable(&owed.address, Some(version))? else { continue };
            let seal = manifest.seal.as_ref().unwrap();
            let frame = keeper.disk().reader(&owed.address, version, seal)?;
            self.cloud.frames.insert(seal.frame, frame.read(0..frame.len())?.to_vec());
            let head = self.cloud.heads.entry(owed.address).or_insert(version);
            *head = version.max(*head);
            receipts.push((version, Receipt { bytes: seal.bytes, etag: None, version: None, at_ms: 0 }));
        }
        self.trace.note(("sent", receipts.len()));
        if self.rng.below(4) == 0 { Ok(()) } else { keeper.pay(&receipts) }
    }

    /// The cloud forgets some of what it is to forget.
    fn forget(&mut self, keeper: &Keeper) -> meshstore::Result<()> {
        let done = keeper.disk().store().chores(1 + self.rng.below(3) as usize, &|_, _| true)?;
        for (version, chore) in &done {
            if self.cloud.heads.get(&chore.address).is_some_and(|head| head <= version) {
                self.cloud.heads.remove(&chore.address);
            }
            chore.frame.map(|frame| self.cloud.frames.remove(&frame));
        }
        self.trace.note(("forgot", done.len()));
        if self.rng.below(4) == 0 { Ok(()) } else { keeper.end_chores(&done) }
    }

    /// Objects leave the disk for the cloud.
    fn release(&mut self, keeper: &Keeper) -> meshstore::Result<()> {
        let page = keeper.disk().store().both_levels(None, 2, 100, &|_, _| true)?.found;
        let checked: Vec<_> = page.into_iter().map(|(address, manifest)| (address, manifest.version)).collect();
        let left = keeper.release(&checked)?;
        self.trace.note(("released", left.len()));
        Ok(())
    }

    /// An object comes back from the cloud to the disk.
    fn readmit(&mut self, keeper: &Keeper) -> meshstore::Result<()> {
        let address = self.address();
        let Some(Head::Object(manifest)) = keeper.disk().head(&address)? else { return Ok(()) };
        let seal = manifest.seal.as_ref().unwrap();
        if manifest.level() != Level::Cloud || keeper.disk().store().is_discarded(seal.frame)? {
            return Ok(());
        }
        let mut staging = keeper.disk().stage(seal.frame);
        staging.write(&self.cloud.frames[&seal.frame])?;
        let back = keeper.readmit(&address, manifest.version, staging.finish()?)?;
        self.trace.note(("back", back));
        Ok(())
    }

    /// Once every debt is paid, the cloud holds what it should, and nothing else.
    fn settle(&mut self, keeper: &Keeper) -> Result<(), Broken> {
        let said = |error: meshstore::Error| error.to_string();
        let open = || Ok(keeper.holding().owed.objects + keeper.disk().store().chores(9, &|_, _| true)?.len() as u64);
        for _ in 0..500 {
            if open().map_err(said)? == 0 {
                break;
            }
            self.pay(keeper).map_err(said)?;
            self.forget(keeper).map_err(said)?;
        }
        let left = keeper.disk().store().chores(9, &|_, _| true).map_err(said)?;
        if keeper.holding().owed != Usage::default() || !left.is_empty() {
            return Err(format!("still owed: {:?}, {left:?}", keeper.holding().owed));
        }
        let (mut frames, mut heads) = (BTreeSet::new(), BTreeMap::new());
        for key in 0..KEYS {
            let address: Address = format!("sim/{key}").parse().unwrap();
            for old in keeper.disk().store().old_versions(&address, 1000).map_err(said)? {
                frames.extend(old.seal.filter(|seal| seal.rest.receipt().is_some()).map(|seal| seal.frame));
            }
            if let Some(Head::Object(manifest)) = keeper.disk().head(&address).map_err(said)? {
                frames.insert(manifest.seal.unwrap().frame);
                heads.insert(address, manifest.version);
            }
        }
        if self.cloud.heads != heads {
            return Err(format!("the cloud has the heads {:?}, not {heads:?}", self.cloud.heads));
        }
        let there: BTreeSet<_> = self.cloud.frames.keys().copied().collect();
        if there != frames {
            return Err(format!("the cloud has the frames {there:?}, not {frames:?}"));
        }
        Ok(())
    }

    /// One life of the container, until the disk fails or the schedule says so.
    fn live(&mut self, keeper: &Keeper) -> Result<(), Broken> {
        for _ in 0..40 {
            let alive = match self.rng.below(17) {
                0..=4 => self.group(keeper)?,
                5 => self.hold(keeper)?,
                6 => self.demote(keeper)?,
                7 => keeper.disk().collect().is_ok(),
                8 => keeper.sweep().is_ok(),
                9 | 10 => self.pay(keeper).is_ok(),
                11 | 12 => self.forget(keeper).is_ok(),
                13 => self.release(keeper).is_ok(),
                14 => self.readmit(keeper).is_ok(),
                15 => {
                    self.clock.set(1_700_000_000_000 + self.rng.below(100_000));
                    true
                }
                _ => {
                    keeper.memory().evict_clean(&self.address());
                    true
                }
            };
            if !alive || !self.check_reads(keeper)? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Whose bytes these are; an error when they are nobody's.
fn number_of(plain: &Chunks, address: &Address) -> Result<State, Broken> {
    let bytes = plain.to_bytes();
    let number = bytes.get(..8).map(|front| u64::from_le_bytes(front.try_into().unwrap()));
    match number {
        Some(number) if World::body(number).to_bytes() == bytes => Ok(Some(number)),
        _ => Err(format!("{address} holds bytes that were never pushed")),
    }
}

/// Runs one schedule. Returns the fingerprints of its disk and of what happened.
fn run(seed: u64, planted: Planted) -> Result<([u8; 32], fingerprint::Trace), Broken> {
    let rng = SeededRng::new(seed);
    let keyring = Arc::new(Keyring::generate(&rng));
    let clock = Arc::new(ManualClock::at(1_700_000_000_000));
    let trace = fingerprint::Trace::default();
    let mut world = World {
        rng,
        clock,
        keyring,
        known: BTreeMap::new(),
        pushes: 0,
        highest: None,
        trace,
        cloud: Cloud::default(),
        planted,
    };
    let site = "sim".parse().unwrap();
    let mut fs = SimFs::new(seed);
    for _ in 0..LIVES {
        if let Planted::Forgetful(kind) = planted {
            fs.ignore_syncs(kind);
        }
        let disk: Arc<dyn Fs> = Arc::new(fs.clone());
        let clock: Arc<dyn meshstore::model::Clock> = Arc::clone(&world.clock) as _;
        let parts =
            Parts::open(disk, Path::new(ROOT), clock, &world.rng, SIZES, &site).map_err(|error| error.to_string())?;
        let policy = CollectionPolicy { retention_s: seed % 3 * 20, ..CollectionPolicy::default() };
        parts.rulings.collections.put(&"sim".parse().unwrap(), policy, None).map_err(|error| error.to_string())?;
        world.check_recovery(&parts.keeper)?;
        fs.crash_after(world.rng.below(600));
        world.live(&parts.keeper)?;
        drop(parts);
        fs = fs.crash();
    }
    let digest = fs.digest();
    let clock: Arc<dyn meshstore::model::Clock> = Arc::clone(&world.clock) as _;
    let parts = Parts::open(Arc::new(fs), Path::new(ROOT), clock, &world.rng, SIZES, &site)
        .map_err(|error| error.to_string())?;
    world.check_recovery(&parts.keeper)?;
    world.settle(&parts.keeper)?;
    Ok((digest, world.trace))
}

#[test]
fn hundreds_of_crashes_lose_nothing_that_was_acknowledged() {
    for seed in 0..400 {
        if let Err(broken) = run(seed, Planted::Nothing) {
            panic!("seed {seed}: {broken}");
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 0..25 {
        assert_eq!(run(seed, Planted::Nothing), run(seed, Planted::Nothing), "seed {seed}");
    }
}

#[test]
fn an_upload_that_is_not_marked_is_noticed() {
    assert!((0..200).any(|seed| run(seed, Planted::UnmarkedUploads).is_err()));
}

#[test]
fn a_missing_fsync_of_bytes_is_noticed() {
    assert!((0..50).any(|seed| run(seed, Planted::Forgetful(SyncKind::Data)).is_err()));
}

#[test]
fn a_missing_fsync_of_a_folder_is_noticed() {
    assert!((0..50).any(|seed| run(seed, Planted::Forgetful(SyncKind::Folder)).is_err()));
}
