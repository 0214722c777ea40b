//! The machine's own file system.

use std::ffi::OsString;
use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::fs::{File, Fs, fill};
use crate::sys;

/// Files and folders of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFs;

/// Keeps other processes out of a data folder until it is dropped, also by a kill.
#[derive(Debug)]
pub struct LockGuard {
    _file: fs::File,
}

impl RealFs {
    /// Takes the lock that this file stands for, making the file where it is missing; fails with
    /// [`io::ErrorKind::WouldBlock`] while another process holds it.
    pub fn lock(path: &Path) -> io::Result<LockGuard> {
        let file = Self::lock_file(path)?;
        match file.try_lock() {
            Ok(()) => Ok(LockGuard { _file: file }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The same, but waits for whoever holds it.
    pub fn lock_in_turn(path: &Path) -> io::Result<LockGuard> {
        let file = Self::lock_file(path)?;
        file.lock()?;
        Ok(LockGuard { _file: file })
    }

    fn lock_file(path: &Path) -> io::Result<fs::File> {
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
    }
}

impl Fs for RealFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        match OpenOptions::new().read(true).write(true).open(path) {
            // What is only read can be read all the same; who writes to it hears why not.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => Ok(Arc::new(fs::File::open(path)?)),
            opened => Ok(Arc::new(opened?)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let Some(parent) = path.parent() else { return Ok(()) };
        self.create_dir_all(parent)?;
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            made => made?,
        }
        self.sync_dir(parent)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        fs::File::open(path)?.sync_all()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        sys::free_bytes(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })
    }
}

impl File for fs::File {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        fs::File::set_len(self, bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        match sys::allocate(self.as_fd(), bytes) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => fill(self, bytes),
            done => done,
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        fs::File::sync_data(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_file_system() {
        let dir = tempfile::tempdir().unwrap();
        super::super::fs::conformance::holds(&RealFs, dir.path());
    }

    #[test]
    fn what_is_allocated_has_blocks() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let file = RealFs.create(&path).unwrap();
        file.set_len(1 << 20).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 < 1 << 20);
        file.allocate(1 << 20).unwrap();
        assert!(fs::metadata(&path).unwrap().blocks() * 512 >= 1 << 20);
    }

    #[test]
    fn a_lock_is_held_by_one_until_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = RealFs::lock(&path).unwrap();
        assert_eq!(RealFs::lock(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(held);
        RealFs::lock(&path).unwrap();
    }
}
