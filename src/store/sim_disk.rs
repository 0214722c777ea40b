//! What the simulated disk holds, durable and not, and what a crash leaves of it.
//!
//! A crash keeps any subset of a file's unsynced writes, in sectors of 512 bytes, some of them
//! torn; of a folder's unsynced changes it keeps the first few, in order.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::lock;
use crate::model::{Rng, SeededRng};

const SECTOR_BYTES: u64 = 512;

pub(super) struct Disk {
    rng: SeededRng,
    pub(super) folders: BTreeMap<PathBuf, Folder>,
    nodes: u64,
    /// Changing operations left before everything fails.
    pub(super) fuse: Option<u64>,
    crashed: bool,
    pub(super) changes: u64,
    pub(super) ignore_data_syncs: bool,
    pub(super) ignore_folder_syncs: bool,
    /// Syncs of files that still succeed, and how many fail behind them.
    pub(super) failing_syncs: (u64, u64),
}

/// A file apart from its names.
pub(super) struct Node {
    id: u64,
    pub(super) bytes: Mutex<FileBytes>,
}

#[derive(Default)]
pub(super) struct FileBytes {
    pub(super) now: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

pub(super) enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

type Entries = BTreeMap<OsString, Arc<Node>>;

#[derive(Default)]
pub(super) struct Folder {
    pub(super) now: Entries,
    durable: Entries,
    unsynced: Vec<EntryOp>,
}

#[derive(Clone)]
pub(super) enum EntryOp {
    Put(OsString, Arc<Node>),
    Move(OsString, OsString),
    /// Moved into another folder, which has a `Put` for it.
    Leave(OsString, PathBuf),
    Drop(OsString),
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        let roots = ["", "/"].map(|root| (PathBuf::from(root), Folder::default()));
        Disk {
            rng: SeededRng::new(seed),
            folders: roots.into(),
            nodes: 0,
            fuse: None,
            crashed: false,
            changes: 0,
            ignore_data_syncs: false,
            ignore_folder_syncs: false,
            failing_syncs: (0, 0),
        }
    }

    pub(super) fn alive(&self) -> io::Result<()> {
        if self.crashed { Err(io::Error::other("simulated crash")) } else { Ok(()) }
    }

    /// Counts one changing operation; the one that finds the fuse burnt crashes the disk.
    pub(super) fn burn(&mut self) -> io::Result<()> {
        self.changes += 1;
        match &mut self.fuse {
            Some(0) => self.crashed = true,
            Some(left) => *left -= 1,
            None => {}
        }
        self.alive()
    }

    /// Syncs a file, or fails and forgets what was to be synced.
    pub(super) fn sync(&mut self, node: &Node) -> io::Result<()> {
        let mut bytes = lock(&node.bytes);
        match &mut self.failing_syncs {
            (0, 0) => {}
            (0, failing) => {
                *failing -= 1;
                bytes.forget(&self.rng);
                return Err(io::Error::other("simulated I/O error"));
            }
            (passing, _) => *passing -= 1,
        }
        if self.ignore_data_syncs { Ok(()) } else { bytes.sync() }
    }

    pub(super) fn folder(&mut self, path: &Path) -> io::Result<&mut Folder> {
        self.folders.get_mut(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn new_node(&mut self) -> Arc<Node> {
        self.nodes += 1;
        Arc::new(Node { id: self.nodes, bytes: Mutex::default() })
    }

    pub(super) fn crash(&mut self) -> Disk {
        self.crashed = true;
        let mut after = Disk::new(self.rng.u64());
        after.ignore_data_syncs = self.ignore_data_syncs;
        after.ignore_folder_syncs = self.ignore_folder_syncs;
        let mut left = Vec::new();
        let mut entries: BTreeMap<PathBuf, Entries> = BTreeMap::new();
        for (path, folder) in &self.folders {
            let kept = self.rng.below(folder.unsynced.len() as u64 + 1) as usize;
            let mut names = folder.durable.clone();
            for op in folder.unsynced.iter().take(kept) {
                if let (EntryOp::Leave(name, to), Some(node)) = (op, apply(&mut names, op)) {
                    left.push((path.clone(), name.clone(), to.clone(), node));
                }
            }
            entries.insert(path.clone(), names);
        }
        // A rename between folders is one step of the file system's journal: never neither name.
        for (from, name, to, node) in left {
            let arrived = entries.get(&to).is_some_and(|names| names.values().any(|other| other.id == node.id));
            if let (false, Some(names)) = (arrived, entries.get_mut(&from)) {
                names.entry(name).or_insert(node);
            }
        }
        let mut survivors = HashMap::new();
        for (path, names) in entries {
            let folder = after.folders.entry(path).or_default();
            for (name, node) in names {
                let survivor = survivors.entry(node.id).or_insert_with(|| {
                    let bytes = lock(&node.bytes).survive(&self.rng);
                    after.nodes += 1;
                    Arc::new(Node { id: after.nodes, bytes: Mutex::new(bytes) })
                });
                folder.durable.insert(name, survivor.clone());
            }
            folder.now = folder.durable.clone();
        }
        after
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        let mut hash = Lanes::default();
        for (path, folder) in &self.folders {
            hash.add(path.as_os_str().as_encoded_bytes());
            for (name, node) in &folder.durable {
                hash.add(name.as_encoded_bytes());
                hash.add(&lock(&node.bytes).durable);
            }
        }
        hash.finish()
    }
}

/// Does `op` to the names; gives back the file that lost its name in this folder.
fn apply(names: &mut Entries, op: &EntryOp) -> Option<Arc<Node>> {
    match op {
        EntryOp::Put(name, node) => names.insert(name.clone(), node.clone()),
        EntryOp::Move(from, to) => {
            let node = names.remove(from)?;
            names.insert(to.clone(), node)
        }
        EntryOp::Leave(name, _) | EntryOp::Drop(name) => names.remove(name),
    }
}

impl Folder {
    pub(super) fn find(&self, name: &OsStr) -> io::Result<Arc<Node>> {
        self.now.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn change(&mut self, op: EntryOp) {
        apply(&mut self.now, &op);
        self.unsynced.push(op);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable = self.now.clone();
    }
}

impl FileBytes {
    pub(super) fn change(&mut self, change: Change) -> io::Result<()> {
        change.apply(&mut self.now)?;
        self.unsynced.push(change);
        Ok(())
    }

    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.unsynced.drain(..).try_for_each(|change| change.apply(&mut self.durable))
    }

    /// A failed sync: some of what it was to write has reached the disk, the rest never will, though it is read as if.
    fn forget(&mut self, rng: &SeededRng) {
        self.durable = self.survive(rng).durable;
        self.unsynced.clear();
    }

    fn survive(&self, rng: &SeededRng) -> FileBytes {
        let mut bytes = self.durable.clone();
        // Of each ten files one keeps all and one nothing, the others something between.
        let mode = rng.below(10);
        for change in &self.unsynced {
            let whole = match mode {
                0 => true,
                1 => false,
                _ => rng.below(2) == 0,
            };
            match change {
                change if whole => drop(change.apply(&mut bytes)),
                Change::Write(offset, data) if mode > 3 => tear(*offset, data, &mut bytes, rng),
                _ => {}
            }
        }
        FileBytes { now: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

/// Writes some of the sectors, and half the time of one sector only its first bytes.
fn tear(offset: u64, data: &[u8], bytes: &mut Vec<u8>, rng: &SeededRng) {
    let (mut at, mut rest) = (offset, data);
    let sectors = (offset + data.len() as u64).div_ceil(SECTOR_BYTES) - offset / SECTOR_BYTES;
    let torn = offset / SECTOR_BYTES + rng.below(sectors * 2);
    while !rest.is_empty() {
        let room = SECTOR_BYTES - at % SECTOR_BYTES;
        let (sector, after) = rest.split_at(rest.len().min(room as usize));
        let kept = match at / SECTOR_BYTES {
            index if index == torn => rng.below(sector.len() as u64 + 1) as usize,
            _ => sector.len() * rng.below(2) as usize,
        };
        if kept > 0 {
            write(bytes, at, sector.get(..kept).unwrap_or(sector)).unwrap_or_default();
        }
        at += sector.len() as u64;
        rest = after;
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Change::Write(offset, data) => write(bytes, *offset, data),
            Change::SetLen(length) => {
                bytes.resize(memory(*length)?, 0);
                Ok(())
            }
        }
    }
}

fn write(bytes: &mut Vec<u8>, offset: u64, data: &[u8]) -> io::Result<()> {
    let from = memory(offset)?;
    let to = memory(offset.saturating_add(data.len() as u64))?;
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    if let Some(place) = bytes.get_mut(from..to) {
        place.copy_from_slice(data);
    }
    Ok(())
}

/// Refuses a file too large to simulate, before memory is asked for it.
fn memory(length: u64) -> io::Result<usize> {
    const FILE_BYTES_MAX: u64 = 1 << 32;
    usize::try_from(length).ok().filter(|_| length <= FILE_BYTES_MAX).ok_or_else(|| io::ErrorKind::FileTooLarge.into())
}

/// Four FNV-1a hashes from different starts: tells runs apart, proves nothing to an adversary.
#[derive(Default)]
struct Lanes([u64; 4]);

impl Lanes {
    fn add(&mut self, bytes: &[u8]) {
        const PRIME: u64 = 0x0000_0100_0000_01b3;
        for (lane, start) in self.0.iter_mut().zip(1u64..) {
            let mut hash = (*lane ^ start ^ 0xcbf2_9ce4_8422_2325).wrapping_mul(PRIME);
            hash = (hash ^ bytes.len() as u64).wrapping_mul(PRIME);
            for part in bytes.chunks(8) {
                let word = part.iter().fold(0, |word, byte| (word << 8) | u64::from(*byte));
                hash = (hash ^ word).wrapping_mul(PRIME).rotate_left(29);
            }
            *lane = hash;
        }
    }

    fn finish(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (to, lane) in out.chunks_exact_mut(8).zip(self.0) {
            to.copy_from_slice(&lane.to_be_bytes());
        }
        out
    }
}
