//! The file system as a trait: the machine's own (`real.rs`), one that loses what was not synced
//! (`sim.rs`), and a wrapper that fails on schedule (`faults.rs`).
//!
//! Whatever reads or writes files takes a `dyn Fs`, so that a simulation can own every byte.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// A tree of folders and files.
///
/// A file's bytes are durable after [`File::sync_data`], its name after [`Fs::sync_dir`] of its folder.
pub trait Fs: Send + Sync {
    /// Makes a file for reading and writing; it must not exist.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens a file for reading and writing; it must exist.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Gives a file another name, in place of the file that had it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Takes a file's name away; whoever has it open reads on.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder and those above it where they are missing; they are durable when it returns.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names in a folder, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// Whether a file or folder has this name.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Bytes that may still be written below this folder, as far as can be told.
    fn free_bytes(&self, dir: &Path) -> io::Result<u64>;
}

/// Bytes that are written at once where a file system cannot set blocks aside.
const FILL_BYTES: usize = 256 << 10;

/// An open file. All positions are absolute, so threads may share it.
pub trait File: Send + Sync {
    /// Fills the buffer from `offset` on; fails where the file ends first.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file holds no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file, or grows it with zeros.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Sets real room aside for the first `bytes`, growing the file where it is shorter. What the file then
    /// holds there is of no use to anybody.
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        fill(self, bytes)
    }

    /// Makes bytes and length durable.
    fn sync_data(&self) -> io::Result<()>;
}

/// Sets room aside by writing it. Not with zeros: some file systems leave those out.
pub(super) fn fill<F: File + ?Sized>(file: &F, bytes: u64) -> io::Result<()> {
    let part = vec![0xa5; FILL_BYTES];
    let mut at = 0;
    while at < bytes {
        let next = (at + FILL_BYTES as u64).min(bytes);
        file.write_all_at(part.get(..(next - at) as usize).unwrap_or(&part), at)?;
        at = next;
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod conformance {
    //! What every [`Fs`] must do, as long as nothing crashes.

    use super::*;
    use std::io::ErrorKind;

    pub fn holds(fs: &dyn Fs, root: &Path) {
        files_hold_bytes(fs, &root.join("bytes"));
        names_move_and_go(fs, &root.join("names/deep"));
    }

    fn files_hold_bytes(fs: &dyn Fs, dir: &Path) {
        fs.create_dir_all(dir).unwrap();
        let path = dir.join("a");
        assert_eq!(fs.open(&path).err().unwrap().kind(), ErrorKind::NotFound);
        let file = fs.create(&path).unwrap();
        assert_eq!(fs.create(&path).err().unwrap().kind(), ErrorKind::AlreadyExists);
        assert!(file.is_empty().unwrap());
        file.write_all_at(b"world", 1000).unwrap();
        file.write_all_at(b"hello", 2).unwrap();
        assert_eq!(file.len().unwrap(), 1005);
        let again = fs.open(&path).unwrap();
        let mut buffer = [9; 8];
        again.read_exact_at(&mut buffer, 0).unwrap();
        assert_eq!(&buffer, b"\0\0hello\0");
        assert_eq!(again.read_exact_at(&mut buffer, 1000).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        again.set_len(3).unwrap();
        file.set_len(6).unwrap();
        file.read_exact_at(&mut buffer[..6], 0).unwrap();
        assert_eq!(&buffer[..6], b"\0\0h\0\0\0");
        file.sync_data().unwrap();
        again.allocate(70_000).unwrap();
        again.allocate(10).unwrap();
        assert_eq!(file.len().unwrap(), 70_000);
        assert!(fs.free_bytes(dir).unwrap() > 0);
    }

    fn names_move_and_go(fs: &dyn Fs, dir: &Path) {
        assert!(fs.create(&dir.join("x")).is_err(), "a file needs its folder");
        fs.create_dir_all(dir).unwrap();
        fs.create_dir_all(dir).unwrap();
        for name in ["b", "a", "c"] {
            fs.create(&dir.join(name)).unwrap().write_all_at(name.as_bytes(), 0).unwrap();
        }
        let old = fs.open(&dir.join("a")).unwrap();
        fs.rename(&dir.join("b"), &dir.join("a")).unwrap();
        fs.remove(&dir.join("c")).unwrap();
        fs.sync_dir(dir).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["a"]);
        assert_eq!(fs.list(dir.parent().unwrap()).unwrap(), ["deep"]);
        assert!(fs.exists(&dir.join("a")).unwrap() && !fs.exists(&dir.join("b")).unwrap() && fs.exists(dir).unwrap());
        let mut byte = [0];
        old.read_exact_at(&mut byte, 0).unwrap();
        assert_eq!(&byte, b"a", "a replaced file stays readable to who has it open");
        fs.open(&dir.join("a")).unwrap().read_exact_at(&mut byte, 0).unwrap();
        assert_eq!(&byte, b"b");
        fs.rename(&dir.join("a"), &dir.parent().unwrap().join("moved")).unwrap();
        assert_eq!(fs.list(dir.parent().unwrap()).unwrap(), ["deep", "moved"]);
        assert_eq!(fs.remove(&dir.join("a")).unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs.rename(&dir.join("a"), &dir.join("b")).unwrap_err().kind(), ErrorKind::NotFound);
        assert!(fs.list(&dir.join("none")).is_err() && fs.sync_dir(&dir.join("none")).is_err());
    }
}
