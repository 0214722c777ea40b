//! A wrapper around any file system that fails on schedule. For tests.

use std::ffi::OsString;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::fs::{File, Fs};
use super::lock;

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultOp {
    /// Making a file.
    Create,
    /// Opening a file.
    Open,
    /// Reading a file.
    Read,
    /// Writing or resizing a file.
    Write,
    /// Making a file's bytes durable.
    SyncData,
    /// Making a folder's names durable.
    SyncDir,
    /// Giving a file another name.
    Rename,
    /// Removing a file.
    Remove,
}

/// A file system that works until it was told to fail; clones share the schedule.
#[derive(Clone)]
pub struct FaultFs {
    inner: Arc<dyn Fs>,
    faults: Arc<Mutex<Faults>>,
}

#[derive(Default)]
struct Faults {
    full: bool,
    /// The operation, how many of it still pass, and what the next one fails with.
    planned: Vec<(FaultOp, u64, io::ErrorKind)>,
    /// Bytes of files that cannot be read.
    ruined: Vec<(PathBuf, Range<u64>)>,
}

struct FaultFile {
    path: PathBuf,
    inner: Arc<dyn File>,
    faults: Arc<Mutex<Faults>>,
}

impl FaultFs {
    /// A wrapper that passes everything on.
    pub fn new(inner: Arc<dyn Fs>) -> Self {
        FaultFs { inner, faults: Arc::default() }
    }

    /// Lets `after` operations of this kind pass and fails the next one, once.
    pub fn fail(&self, op: FaultOp, after: u64, with: io::ErrorKind) {
        lock(&self.faults).planned.push((op, after, with));
    }

    /// Fails whatever makes or grows a file, with "no space left", until told otherwise.
    pub fn set_full(&self, full: bool) {
        lock(&self.faults).full = full;
    }

    /// Makes bytes of the file that is opened by this name unreadable, as bad sectors do. A write of a part of them
    /// fails as well, since the system reads the rest first; they are well again once they are written whole or cut off.
    pub fn ruin(&self, path: &Path, bytes: Range<u64>) {
        lock(&self.faults).ruined.push((path.to_owned(), bytes));
    }

    /// How many planned faults have not been met yet.
    pub fn planned(&self) -> usize {
        lock(&self.faults).planned.len()
    }

    fn wrap(&self, path: &Path, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(FaultFile { path: path.to_owned(), inner, faults: self.faults.clone() })
    }
}

fn check(faults: &Mutex<Faults>, op: FaultOp) -> io::Result<()> {
    let mut faults = lock(faults);
    if faults.full && op == FaultOp::Create {
        return Err(io::ErrorKind::StorageFull.into());
    }
    let mut due = None;
    faults.planned.retain_mut(|(planned, passes, kind)| {
        if *planned != op {
            return true;
        }
        if *passes == 0 && due.is_none() {
            due = Some(*kind);
            return false;
        }
        *passes = passes.saturating_sub(1);
        true
    });
    due.map_or(Ok(()), |kind| Err(kind.into()))
}

impl Fs for FaultFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        check(&self.faults, FaultOp::Create)?;
        Ok(self.wrap(path, self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        check(&self.faults, FaultOp::Open)?;
        Ok(self.wrap(path, self.inner.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        check(&self.faults, FaultOp::Rename)?;
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        check(&self.faults, FaultOp::Remove)?;
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        check(&self.faults, FaultOp::Create)?;
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        check(&self.faults, FaultOp::SyncDir)?;
        self.inner.sync_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        if lock(&self.faults).full { Ok(0) } else { self.inner.free_bytes(dir) }
    }
}

impl FaultFile {
    fn check_room(&self, length: u64) -> io::Result<()> {
        let full = lock(&self.faults).full && length > self.inner.len()?;
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Fails where bytes are ruined, but for those that are `mended`.
    fn check_sectors(&self, bytes: Range<u64>, mended: impl Fn(&Range<u64>) -> bool) -> io::Result<()> {
        let mut faults = lock(&self.faults);
        faults.ruined.retain(|(path, ruined)| *path != self.path || !mended(ruined));
        let hit = |ruined: &Range<u64>| ruined.start < bytes.end && bytes.start < ruined.end;
        let bad = faults.ruined.iter().any(|(path, ruined)| *path == self.path && hit(ruined));
        if bad { Err(io::Error::other("a bad sector")) } else { Ok(()) }
    }
}

impl File for FaultFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        check(&self.faults, FaultOp::Read)?;
        self.check_sectors(offset..offset.saturating_add(buffer.len() as u64), |_| false)?;
        self.inner.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        check(&self.faults, FaultOp::Write)?;
        let end = offset.saturating_add(bytes.len() as u64);
        self.check_room(end)?;
        self.check_sectors(offset..end, |ruined| offset <= ruined.start && ruined.end <= end)?;
        self.inner.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        check(&self.faults, FaultOp::Write)?;
        self.check_room(bytes)?;
        self.check_sectors(0..0, |ruined| ruined.start >= bytes)?;
        self.inner.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        check(&self.faults, FaultOp::Write)?;
        self.check_room(bytes)?;
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        check(&self.faults, FaultOp::SyncData)?;
        self.inner.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::super::SimFs;
    use super::*;

    #[test]
    fn it_is_a_file_system_while_nothing_is_planned() {
        super::super::fs::conformance::holds(&FaultFs::new(Arc::new(SimFs::new(0))), Path::new("/"));
    }

    #[test]
    fn the_planned_operation_fails_once() {
        let fs = FaultFs::new(Arc::new(SimFs::new(0)));
        let file = fs.create(Path::new("/a")).unwrap();
        fs.fail(FaultOp::SyncData, 1, io::ErrorKind::Other);
        assert_eq!([0, 1, 2].map(|_| file.sync_data().is_ok()), [true, false, true]);
    }

    #[test]
    fn ruined_bytes_are_neither_read_nor_written_in_part_until_they_are_written_whole() {
        let fs = FaultFs::new(Arc::new(SimFs::new(0)));
        let file = fs.create(Path::new("/a")).unwrap();
        file.write_all_at(&[1; 100], 0).unwrap();
        fs.ruin(Path::new("/a"), 40..60);
        let reads = |from: u64, bytes: usize| file.read_exact_at(&mut vec![0; bytes], from).is_ok();
        assert!(reads(0, 40) && reads(60, 40) && !reads(0, 41) && !reads(59, 1) && !reads(0, 100));
        assert!(file.write_all_at(&[2; 30], 50).is_err() && !reads(40, 20));
        file.write_all_at(&[2; 30], 30).unwrap();
        assert!(reads(0, 100));
        fs.ruin(Path::new("/a"), 40..60);
        file.set_len(40).unwrap();
        file.set_len(100).unwrap();
        assert!(reads(0, 100));
    }

    #[test]
    fn a_full_disk_refuses_bytes_until_there_is_room() {
        let fs = FaultFs::new(Arc::new(SimFs::new(0)));
        let file = fs.create(Path::new("/a")).unwrap();
        file.write_all_at(b"abc", 0).unwrap();
        fs.set_full(true);
        assert_eq!(file.write_all_at(b"x", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.set_len(4).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(fs.create(Path::new("/b")).is_err());
        file.write_all_at(b"xyz", 0).unwrap();
        file.set_len(1).unwrap();
        fs.set_full(false);
        file.write_all_at(b"x", 9).unwrap();
    }
}
