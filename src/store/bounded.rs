//! A wrapper around any file system that has only so much room, as real disks do. For tests.
//!
//! Room is taken block by block when it is first written or allocated: a file that was only made longer is
//! full of holes, and a write into one of them may find no room.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::fs::{File, Fs};
use super::lock;

const BLOCK_BYTES: u64 = 4096;

/// A disk with a bound; clones share it.
#[derive(Clone)]
pub struct BoundedFs {
    inner: Arc<dyn Fs>,
    room: Arc<Mutex<Room>>,
}

struct Room {
    blocks_max: u64,
    used: u64,
    names: HashMap<PathBuf, u64>,
    /// The blocks that each file has.
    files: HashMap<u64, BTreeSet<u64>>,
    next: u64,
}

struct BoundedFile {
    inner: Arc<dyn File>,
    room: Arc<Mutex<Room>>,
    id: u64,
}

impl BoundedFs {
    /// A disk of this size. What `inner` holds already counts from when it is opened.
    pub fn new(inner: Arc<dyn Fs>, bytes: u64) -> Self {
        let room =
            Room { blocks_max: bytes / BLOCK_BYTES, used: 0, names: HashMap::new(), files: HashMap::new(), next: 0 };
        BoundedFs { inner, room: Arc::new(Mutex::new(room)) }
    }

    /// Makes the disk larger or smaller.
    pub fn set_size(&self, bytes: u64) {
        lock(&self.room).blocks_max = bytes / BLOCK_BYTES;
    }

    /// Bytes in use.
    pub fn used_bytes(&self) -> u64 {
        lock(&self.room).used * BLOCK_BYTES
    }

    fn wrap(&self, path: &Path, inner: Arc<dyn File>) -> io::Result<Arc<dyn File>> {
        let length = inner.len()?;
        let mut room = lock(&self.room);
        let id = match room.names.get(path) {
            Some(id) => *id,
            None => {
                let (id, blocks) = (room.next, length.div_ceil(BLOCK_BYTES));
                room.next += 1;
                room.used += blocks;
                room.names.insert(path.to_owned(), id);
                room.files.insert(id, (0..blocks).collect());
                id
            }
        };
        Ok(Arc::new(BoundedFile { inner, room: Arc::clone(&self.room), id }))
    }
}

impl Room {
    /// Takes those of the blocks that the file does not have yet, all or none.
    fn take(&mut self, file: u64, blocks: RangeInclusive<u64>) -> io::Result<()> {
        // Who writes to a file without a name is not counted: its room was counted as free already.
        let Some(held) = self.files.get_mut(&file) else { return Ok(()) };
        let new: Vec<u64> = blocks.filter(|block| !held.contains(block)).collect();
        if self.used + new.len() as u64 > self.blocks_max {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.used += new.len() as u64;
        held.extend(new);
        Ok(())
    }

    fn cut(&mut self, file: u64, blocks: u64) {
        if let Some(held) = self.files.get_mut(&file) {
            self.used -= held.split_off(&blocks).len() as u64;
        }
    }

    fn forget(&mut self, path: &Path) {
        if let Some(id) = self.names.remove(path) {
            self.cut(id, 0);
            self.files.remove(&id);
        }
    }
}

impl Fs for BoundedFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wrap(path, self.inner.create(path)?)
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wrap(path, self.inner.open(path)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)?;
        let mut room = lock(&self.room);
        room.forget(to);
        if let Some(id) = room.names.remove(from) {
            room.names.insert(to.to_owned(), id);
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)?;
        lock(&self.room).forget(path);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        let room = lock(&self.room);
        Ok(room.blocks_max.saturating_sub(room.used) * BLOCK_BYTES)
    }
}

impl BoundedFile {
    fn take(&self, from: u64, bytes: u64) -> io::Result<()> {
        match bytes {
            0 => Ok(()),
            _ => lock(&self.room).take(self.id, from / BLOCK_BYTES..=(from + bytes - 1) / BLOCK_BYTES),
        }
    }
}

impl File for BoundedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.take(offset, bytes.len() as u64)?;
        self.inner.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)?;
        lock(&self.room).cut(self.id, bytes.div_ceil(BLOCK_BYTES));
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.take(0, bytes)?;
        if self.inner.len()? < bytes { self.inner.set_len(bytes) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::super::SimFs;
    use super::*;

    fn full(result: io::Result<()>) -> bool {
        result.is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
    }

    #[test]
    fn it_is_a_file_system_while_there_is_room() {
        super::super::fs::conformance::holds(&BoundedFs::new(Arc::new(SimFs::new(0)), 1 << 20), Path::new("/"));
    }

    #[test]
    fn room_is_taken_when_written_and_comes_back_when_cut_or_removed() {
        let fs = BoundedFs::new(Arc::new(SimFs::new(0)), 4 * BLOCK_BYTES);
        let (a, b) = (fs.create(Path::new("/a")).unwrap(), fs.create(Path::new("/b")).unwrap());
        a.set_len(100 * BLOCK_BYTES).unwrap();
        assert_eq!(fs.used_bytes(), 0, "a hole takes no room");
        a.write_all_at(&[1; 2], BLOCK_BYTES - 1).unwrap();
        b.allocate(2 * BLOCK_BYTES).unwrap();
        assert_eq!((b.len().unwrap(), fs.free_bytes(Path::new("/")).unwrap()), (2 * BLOCK_BYTES, 0));
        assert!(full(a.write_all_at(&[1], 50 * BLOCK_BYTES)), "also inside the file");
        assert!(full(b.allocate(3 * BLOCK_BYTES)));
        a.write_all_at(&[2; 8], 0).unwrap();
        b.write_all_at(&[2; 8], BLOCK_BYTES).unwrap();
        a.set_len(1).unwrap();
        assert_eq!(fs.used_bytes(), 3 * BLOCK_BYTES);
        fs.rename(Path::new("/a"), Path::new("/b")).unwrap();
        assert_eq!(fs.used_bytes(), BLOCK_BYTES, "what was replaced is gone");
        fs.remove(Path::new("/b")).unwrap();
        assert_eq!(fs.used_bytes(), 0);
        let again = BoundedFs::new(Arc::new(fs.clone()), BLOCK_BYTES);
        again.create(Path::new("/c")).unwrap().write_all_at(&[1; 5000], 0).unwrap_err();
        again.set_size(2 * BLOCK_BYTES);
        again.open(Path::new("/c")).unwrap().write_all_at(&[1; 5000], 0).unwrap();
    }
}
