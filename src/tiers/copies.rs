//! Copies of what other containers keep, on this container's disk: sealed frames as files, without records.
//!
//! A copy may go at any time and is never the only one. Its name says which frame it is, and the seal of that
//! frame proves its bytes, so nothing about it is written down, nothing is synced, and a start finds what is there.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::disk::{frame_name, frame_of_name};
use super::{FrameReader, Source, locked};
use crate::error::Result;
use crate::limits::CHUNK_BYTES;
use crate::model::FrameId;
use crate::store::{Fs, io_error};

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

    /// The copy of a frame, if it is here and has this length.
    pub fn reader(&self, frame: FrameId, bytes: u64) -> Option<FrameReader> {
        let held = locked(&self.held).touch(frame)?;
        match self.fs.open(&self.path(frame)) {
            Ok(file) if held == bytes => Some(FrameReader::File(file, bytes)),
            _ => {
                self.drop_copy(frame);
                None
            }
        }
    }

    /// Whether the copy of a frame is here.
    pub fn has(&self, frame: FrameId) -> bool {
        locked(&self.held).frames.contains_key(&frame)
    }

    /// Copies a frame from where it is. Returns whether it is here now: there may be no room for it.
    pub fn take(&self, frame: FrameId, source: &dyn Source) -> Result<bool> {
        let bytes = source.len();
        let free = self.fs.free_bytes(&self.folder).unwrap_or(0);
        if bytes > self.budget / 4 || free < bytes.saturating_add(LEAVES_BYTES) || !self.make_room(bytes) {
            return Ok(false);
        }
        let (path, unfinished) = (self.path(frame), self.folder.join(format!("{frame}.part")));
        let written = self.write(&unfinished, source).and_then(|()| {
            self.fs.rename(&unfinished, &path).map_err(|error| io_error(error, "cannot move a copy to its place"))
        });
        if let Err(error) = written {
            // Best effort: the next start removes it in any case.
            let _ = self.fs.remove(&unfinished);
            return Err(error);
        }
        locked(&self.held).add(frame, bytes);
        Ok(true)
    }

    fn write(&self, path: &Path, source: &dyn Source) -> Result<()> {
        let file = self.fs.create(path).map_err(|error| io_error(error, "cannot make a copy"))?;
        let mut at = 0;
        while at < source.len() {
            let next = (at + CHUNK_BYTES as u64).min(source.len());
            let piece = source.read(at..next)?;
            file.write_all_at(&piece, at).map_err(|error| io_error(error, "cannot write a copy"))?;
            at = next;
        }
        Ok(())
    }

    /// Lets a copy go, as when it fails its check.
    pub fn drop_copy(&self, frame: FrameId) {
        locked(&self.held).remove(frame);
        // Best effort: a start finds it again, and its seal tells whether it is of use.
        let _ = self.fs.remove(&self.path(frame));
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
                Some(frame) => self.drop_copy(frame),
                None => return false,
            }
        }
    }

    fn path(&self, frame: FrameId) -> PathBuf {
        self.folder.join(frame_name(frame))
    }
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

    #[test]
    fn copies_stay_until_others_need_their_room_also_over_a_restart() {
        let fs: Arc<dyn Fs> = Arc::new(SimFs::new(0));
        let copies = Copies::open(Arc::clone(&fs), Path::new("/root"), 1000).unwrap();
        for n in 0..4 {
            assert!(copies.take(frame(n), &bytes(n, 250)).unwrap());
        }
        assert!(!copies.take(frame(9), &bytes(9, 251)).unwrap(), "one copy takes a quarter at most");
        let read = |copies: &Copies, n: u8| {
            let reader = copies.reader(frame(n), 250)?;
            Some(reader.read(0..reader.len()).unwrap())
        };
        assert_eq!(read(&copies, 0), Some(bytes(0, 250)));
        assert!(copies.take(frame(4), &bytes(4, 250)).unwrap());
        assert_eq!(read(&copies, 1), None, "it was not used for longest");
        assert_eq!((read(&copies, 0), copies.usage()), (Some(bytes(0, 250)), (4, 1000)));
        // One of another length is not the one that is meant.
        assert!(copies.reader(frame(2), 249).is_none() && read(&copies, 2).is_none());
        fs.create(Path::new("/root/copies/half.part")).unwrap();
        drop(copies);
        let copies = Copies::open(Arc::clone(&fs), Path::new("/root"), 500).unwrap();
        assert_eq!(copies.usage(), (2, 500));
        assert!(!fs.exists(Path::new("/root/copies/half.part")).unwrap());
    }
}
