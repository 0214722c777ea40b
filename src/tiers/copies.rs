//! Copies of what other containers keep, on this container's disk: sealed frames as files, without records.
//!
//! A copy may go at any time and is never the only one. Its name says which frame it is, and of which object: another
//! site may name any frame as one of its own, and is not to read it by that. The seal of the frame proves its bytes, so
//! nothing about it is written down, nothing is synced, and a start finds what is there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{frame_name, frame_of_name};
use super::{FrameReader, Source, locked};
use crate::error::Result;
use crate::limits::CHUNK_BYTES;
use crate::model::{Address, FrameId};
use crate::store::{File, Fs, io_error};

const FOLDER: &str = "copies";

/// Room on the disk that copies leave to what is kept.
const LEAVES_BYTES: u64 = 256 << 20;

/// The copies of a container.
pub struct Copies {
    fs: Arc<dyn Fs>,
    folder: PathBuf,
    budget: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Bytes, and when it was used last.
    frames: HashMap<FrameId, (u64, u64)>,
    /// By when they were used, oldest first.
    order: BTreeMap<u64, FrameId>,
    bytes: u64,
    clock: u64,
}

impl Held {
    fn touch(&mut self, frame: FrameId) -> Option<u64> {
        self.clock += 1;
        let (bytes, at) = self.frames.get_mut(&frame)?;
        self.order.remove(at);
        *at = self.clock;
        self.order.insert(self.clock, frame);
        Some(*bytes)
    }

    fn add(&mut self, frame: FrameId, bytes: u64) {
        self.remove(frame);
        self.clock += 1;
        self.frames.insert(frame, (bytes, self.clock));
        self.order.insert(self.clock, frame);
        self.bytes += bytes;
    }

    fn remove(&mut self, frame: FrameId) -> bool {
        let Some((bytes, at)) = self.frames.remove(&frame) else { return false };
        self.order.remove(&at);
        self.bytes -= bytes;
        true
    }
}

impl Copies {
    /// Finds what copies there are below `root`; those that are not whole go.
    pub fn open(fs: Arc<dyn Fs>, root: &Path, budget: u64) -> Result<Self> {
        let folder = root.join(FOLDER);
        let failed = |error, what| io_error(error, what).with("path", folder.display());
        fs.create_dir_all(&folder).map_err(|error| failed(error, "cannot make a folder"))?;
        let names = fs.list(&folder).map_err(|error| failed(error, "cannot list a folder"))?;
        let mut held = Held::default();
        for name in names {
            let path = folder.join(&name);
            let bytes = fs.open(&path).and_then(|file| file.len());
            match (name.to_str().and_then(frame_of_name), bytes) {
                (Some(frame), Ok(bytes)) => held.add(frame, bytes),
                // Best effort: what cannot be removed is in nobody's way.
                _ => drop(fs.remove(&path)),
            }
        }
        let copies = Copies { fs, folder, budget, held: Mutex::new(held) };
        copies.make_room(0);
        Ok(copies)
    }

    /// The copy of an object's frame, if it is here and has this length.
    pub fn reader(&self, address: &Address, frame: FrameId, bytes: u64) -> Option<FrameReader> {
        let copy = name(address, frame);
        let held = locked(&self.held).touch(copy)?;
        match self.fs.open(&self.path(copy)) {
            Ok(file) if held == bytes => Some(FrameReader::File(file, bytes)),
            _ => {
                self.let_go(copy);
                None
            }
        }
    }

    /// Whether the copy of an object's frame is here.
    pub fn has(&self, address: &Address, frame: FrameId) -> bool {
        locked(&self.held).frames.contains_key(&name(address, frame))
    }

    /// Copies the frame of an object from where it is, if it is good. Returns whether it is here now: there may be no
    /// room for it.
    pub fn take(
        &self,
        address: &Address,
        frame: FrameId,
        source: &dyn Source,
        is_good: impl Fn(&FrameReader) -> Result<bool>,
    ) -> Result<bool> {
        let frame = name(address, frame);
        let bytes = source.len();
        let free = self.fs.free_bytes(&self.folder).unwrap_or(0);
        if bytes > self.budget / 4 || free < bytes.saturating_add(LEAVES_BYTES) || !self.make_room(bytes) {
            return Ok(false);
        }
        let (path, unfinished) = (self.path(frame), self.folder.join(format!("{frame}.part")));
        let written = self.write(&unfinished, source).and_then(|file| {
            let is_good = is_good(&FrameReader::File(file, bytes))?;
            let moved = || self.fs.rename(&unfinished, &path);
            if is_good {
                moved().map_err(|error| io_error(error, "cannot move a copy to its place"))?;
            }
            Ok(is_good)
        });
        match written {
            Ok(true) => locked(&self.held).add(frame, bytes),
            // Best effort: the next start removes it in any case.
            _ => drop(self.fs.remove(&unfinished)),
        }
        written
    }

    fn write(&self, path: &Path, source: &dyn Source) -> Result<Arc<dyn File>> {
        let file = self.fs.create(path).map_err(|error| io_error(error, "cannot make a copy"))?;
        let mut at = 0;
        while at < source.len() {
            let next = (at + CHUNK_BYTES as u64).min(source.len());
            let piece = source.read(at..next)?;
            file.write_all_at(&piece, at).map_err(|error| io_error(error, "cannot write a copy"))?;
            at = next;
        }
        Ok(file)
    }

    /// Lets a copy go, as when it fails its check.
    pub fn drop_copy(&self, address: &Address, frame: FrameId) {
        self.let_go(name(address, frame));
    }

    fn let_go(&self, copy: FrameId) {
        locked(&self.held).remove(copy);
        // Best effort: a start finds it again, and its seal tells whether it is of use.
        let _ = self.fs.remove(&self.path(copy));
    }

    /// How many there are, and their bytes.
    pub fn usage(&self) -> (u64, u64) {
        let held = locked(&self.held);
        (held.frames.len() as u64, held.bytes)
    }

    /// Lets those go that were not used for longest, until so many more bytes fit.
    fn make_room(&self, bytes: u64) -> bool {
        loop {
            let oldest = {
                let held = locked(&self.held);
                if held.bytes.saturating_add(bytes) <= self.budget {
                    return true;
                }
                held.order.values().next().copied()
            };
            match oldest {
                Some(copy) => self.let_go(copy),
                None => return false,
            }
        }
    }

    fn path(&self, frame: FrameId) -> PathBuf {
        self.folder.join(frame_name(frame))
    }
}

/// What the copy of an object's frame is called.
fn name(address: &Address, frame: FrameId) -> FrameId {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&frame.0).update(address.as_str().as_bytes());
    let mut name = FrameId([0; 16]);
    hasher.finalize_xof().fill(&mut name.0);
    name
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::store::SimFs;

    fn frame(n: u8) -> FrameId {
        FrameId([n; 16])
    }

    fn bytes(n: u8, length: usize) -> Bytes {
        vec![n; length].into()
    }

    fn object() -> Address {
        "c/object".parse().unwrap()
    }

    fn take(copies: &Copies, n: u8, length: usize) -> bool {
        copies.take(&object(), frame(n), &bytes(n, length), |_| Ok(true)).unwrap()
    }

    #[test]
    fn a_copy_is_that_of_one_object_and_of_none_that_is_not_good() {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(0));
        let copies = Copies::open(Arc::clone(&fs), Path::new("/root"), 1000).unwrap();
        let is_good = |copy: &FrameReader| {
            assert_eq!((copy.read(0..100).unwrap(), copies.usage()), (bytes(1, 100), (0, 0)), "nobody reads it yet");
            Ok(false)
        };
        assert!(!copies.take(&object(), frame(1), &bytes(1, 100), is_good).unwrap());
        assert_eq!((copies.usage(), fs.list(Path::new("/root/copies")).unwrap().len()), ((0, 0), 0));
        assert!(take(&copies, 1, 100) && copies.has(&object(), frame(1)));
        // Whoever names the frame of another object does not get it.
        let other: Address = "mine/object".parse().unwrap();
        assert!(!copies.has(&other, frame(1)) && copies.reader(&other, frame(1), 100).is_none());
        copies.drop_copy(&other, frame(1));
        assert!(copies.has(&object(), frame(1)));
    }

    #[test]
    fn copies_stay_until_others_need_their_room_also_over_a_restart() {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(0));
        let copies = Copies::open(Arc::clone(&fs), Path::new("/root"), 1000).unwrap();
        for n in 0..4 {
            assert!(take(&copies, n, 250));
        }
        assert!(!take(&copies, 9, 251), "one copy takes a quarter at most");
        let read = |copies: &Copies, n: u8| {
            let reader = copies.reader(&object(), frame(n), 250)?;
            Some(reader.read(0..reader.len()).unwrap())
        };
        assert_eq!(read(&copies, 0), Some(bytes(0, 250)));
        assert!(take(&copies, 4, 250));
        assert_eq!(read(&copies, 1), None, "it was not used for longest");
        assert_eq!((read(&copies, 0), copies.usage()), (Some(bytes(0, 250)), (4, 1000)));
        // One of another length is not the one that is meant.
        assert!(copies.reader(&object(), frame(2), 249).is_none() && read(&copies, 2).is_none());
        fs.create(Path::new("/root/copies/half.part")).unwrap();
        drop(copies);
        let copies = Copies::open(Arc::clone(&fs), Path::new("/root"), 500).unwrap();
        assert_eq!(copies.usage(), (2, 500));
        assert!(!fs.exists(Path::new("/root/copies/half.part")).unwrap());
    }
}
