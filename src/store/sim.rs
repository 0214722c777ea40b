//! A file system in memory that forgets, at a crash, what was not synced. For tests and simulation.
//!
//! The same seed and the same calls give the same bytes. How a crash decides is in `sim_disk.rs`.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::fs::{File, Fs};
use super::lock;
use super::sim_disk::{Change, Disk, EntryOp, Node};

/// What a sync makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// The bytes of a file.
    Data,
    /// The names in a folder.
    Folder,
}

/// A simulated disk; clones share it.
#[derive(Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    node: Arc<Node>,
}

impl SimFs {
    /// An empty disk whose crashes are decided by `seed`.
    pub fn new(seed: u64) -> Self {
        SimFs { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// Lets `n_ops` more changing operations through; from the next one on everything fails.
    pub fn crash_after(&self, n_ops: u64) {
        lock(&self.disk).fuse = Some(n_ops);
    }

    /// What survives a power cut now. This disk fails from here on, like the machine it was in.
    pub fn crash(&self) -> SimFs {
        SimFs { disk: Arc::new(Mutex::new(lock(&self.disk).crash())) }
    }

    /// A planted bug: syncs of this kind answer well and do nothing.
    pub fn ignore_syncs(&self, kind: SyncKind) {
        let mut disk = lock(&self.disk);
        match kind {
            SyncKind::Data => disk.ignore_data_syncs = true,
            SyncKind::Folder => disk.ignore_folder_syncs = true,
        }
    }

    /// Lets `after` more syncs of files succeed and the next `count` fail. As on a real system, what a failed sync was
    /// to bring to the disk is forgotten there: it is still read, and a later sync that succeeds does not bring it.
    pub fn fail_syncs(&self, after: u64, count: u64) {
        lock(&self.disk).failing_syncs = (after, count);
    }

    /// How many changing operations this disk has seen.
    pub fn changes(&self) -> u64 {
        lock(&self.disk).changes
    }

    /// A fingerprint of everything durable, names and bytes.
    pub fn digest(&self) -> [u8; 32] {
        lock(&self.disk).digest()
    }
}

fn split(path: &Path) -> io::Result<(PathBuf, OsString)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent.to_owned(), name.to_owned())),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "a file needs a name")),
    }
}

impl SimFs {
    fn file(&self, node: Arc<Node>) -> Arc<dyn File> {
        Arc::new(SimFile { disk: self.disk.clone(), node })
    }
}

impl Fs for SimFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let (parent, name) = split(path)?;
        let mut disk = lock(&self.disk);
        disk.burn()?;
        if disk.folders.contains_key(path) || disk.folder(&parent)?.now.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = disk.new_node();
        disk.folder(&parent)?.change(EntryOp::Put(name, node.clone()));
        drop(disk);
        Ok(self.file(node))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let (parent, name) = split(path)?;
        let mut disk = lock(&self.disk);
        disk.alive()?;
        let node = disk.folder(&parent)?.find(&name)?;
        drop(disk);
        Ok(self.file(node))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((from_dir, from_name), (to_dir, to_name)) = (split(from)?, split(to)?);
        let mut disk = lock(&self.disk);
        disk.burn()?;
        let node = disk.folder(&from_dir)?.find(&from_name)?;
        if disk.folders.contains_key(to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if from_dir == to_dir {
            disk.folder(&to_dir)?.change(EntryOp::Move(from_name, to_name));
            return Ok(());
        }
        disk.folder(&to_dir)?.change(EntryOp::Put(to_name, node));
        disk.folder(&from_dir)?.change(EntryOp::Leave(from_name, to_dir));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (parent, name) = split(path)?;
        let mut disk = lock(&self.disk);
        disk.burn()?;
        let folder = disk.folder(&parent)?;
        folder.find(&name)?;
        folder.change(EntryOp::Drop(name));
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.burn()?;
        for folder in path.ancestors() {
            if let Ok((parent, name)) = split(folder)
                && disk.folder(&parent).is_ok_and(|parent| parent.now.contains_key(&name))
            {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.folders.entry(folder.to_owned()).or_default();
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.burn()?;
        let ignore = disk.ignore_folder_syncs;
        let folder = disk.folder(path)?;
        if !ignore {
            folder.sync();
        }
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut disk = lock(&self.disk);
        disk.alive()?;
        let mut names: Vec<OsString> = disk.folder(dir)?.now.keys().cloned().collect();
        let folders = disk.folders.keys().filter(|path| path.parent() == Some(dir));
        names.extend(folders.filter_map(|path| path.file_name()).map(OsString::from));
        names.sort();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let mut disk = lock(&self.disk);
        disk.alive()?;
        if disk.folders.contains_key(path) {
            return Ok(true);
        }
        let (parent, name) = split(path)?;
        Ok(disk.folder(&parent).is_ok_and(|folder| folder.now.contains_key(&name)))
    }

    /// It never fills up; [`super::BoundedFs`] does.
    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        lock(&self.disk).alive()?;
        Ok(u64::MAX)
    }
}

impl File for SimFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        lock(&self.disk).alive()?;
        let bytes = lock(&self.node.bytes);
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let range = from..from.saturating_add(buffer.len());
        let found = bytes.now.get(range).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.alive()?;
        // The write that meets the crash may have reached the disk in part, so it counts as unsynced.
        lock(&self.node.bytes).change(Change::Write(offset, bytes.to_vec()))?;
        disk.burn()
    }

    fn len(&self) -> io::Result<u64> {
        lock(&self.disk).alive()?;
        Ok(lock(&self.node.bytes).now.len() as u64)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.alive()?;
        lock(&self.node.bytes).change(Change::SetLen(bytes))?;
        disk.burn()
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = lock(&self.disk);
        disk.burn()?;
        disk.sync(&self.node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ROOT: &str = "/data";

    fn path(name: &str) -> PathBuf {
        Path::new(ROOT).join(name)
    }

    fn disk(seed: u64) -> SimFs {
        let fs = SimFs::new(seed);
        fs.create_dir_all(Path::new(ROOT)).unwrap();
        fs
    }

    fn read(fs: &SimFs, name: &str) -> Option<Vec<u8>> {
        let file = fs.open(&path(name)).ok()?;
        let mut bytes = vec![0; file.len().unwrap() as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        Some(bytes)
    }

    #[test]
    fn it_is_a_file_system() {
        super::super::fs::conformance::holds(&SimFs::new(0), Path::new("/"));
    }

    #[test]
    fn what_was_synced_survives_every_crash() {
        for seed in 0..100 {
            let fs = disk(seed);
            let file = fs.create(&path("new")).unwrap();
            file.write_all_at(&[7; 3000], 0).unwrap();
            file.sync_data().unwrap();
            fs.sync_dir(Path::new(ROOT)).unwrap();
            file.write_all_at(&[8; 10], 5000).unwrap();
            let after = fs.crash();
            let bytes = read(&after, "new").unwrap();
            assert_eq!(bytes[..3000], [7; 3000]);
            assert!(file.len().is_err(), "the old disk is gone");
        }
    }

    #[test]
    fn what_was_not_synced_may_survive_lost_whole_or_torn() {
        let mut seen = BTreeSet::new();
        for seed in 0..200 {
            let fs = disk(seed);
            let file = fs.create(&path("a")).unwrap();
            file.write_all_at(&[1; 2048], 0).unwrap();
            file.sync_data().unwrap();
            fs.sync_dir(Path::new(ROOT)).unwrap();
            file.write_all_at(&[2; 2048], 0).unwrap();
            let twos = read(&fs.crash(), "a").unwrap().iter().filter(|byte| **byte == 2).count();
            seen.insert(match twos {
                0 => "lost",
                2048 => "whole",
                n if n % 512 == 0 => "sectors",
                _ => "torn",
            });
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["lost", "sectors", "torn", "whole"]);
    }

    #[test]
    fn what_a_failed_sync_forgot_is_read_until_a_crash_whatever_is_synced_later() {
        let lost = |seed| {
            let fs = disk(seed);
            let file = fs.create(&path("a")).unwrap();
            fs.sync_dir(Path::new(ROOT)).unwrap();
            file.write_all_at(b"x", 0).unwrap();
            fs.fail_syncs(1, 1);
            file.sync_data().unwrap();
            file.write_all_at(b"y", 0).unwrap();
            assert!(file.sync_data().is_err());
            file.write_all_at(b"z", 1).unwrap();
            file.sync_data().unwrap();
            assert_eq!(read(&fs, "a").unwrap(), b"yz");
            let left = read(&fs.crash(), "a").unwrap();
            assert!(left == b"xz" || left == b"yz");
            left == b"xz"
        };
        assert!((0..50).any(lost) && !(0..50).all(lost));
    }

    #[test]
    fn names_survive_in_the_order_they_were_given() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let fs = disk(seed);
            fs.create(&path("a")).unwrap();
            fs.rename(&path("a"), &path("b")).unwrap();
            fs.create(&path("c")).unwrap();
            seen.insert(fs.crash().list(Path::new(ROOT)).unwrap().join("".as_ref()).into_string().unwrap());
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["", "a", "b", "bc"]);
    }

    #[test]
    fn a_file_moved_between_folders_is_never_lost() {
        for seed in 0..100 {
            let fs = disk(seed);
            fs.create_dir_all(&path("other")).unwrap();
            fs.create(&path("a")).unwrap();
            fs.sync_dir(Path::new(ROOT)).unwrap();
            fs.rename(&path("a"), &path("other/a")).unwrap();
            let after = fs.crash();
            assert!(after.exists(&path("a")).unwrap() || after.exists(&path("other/a")).unwrap(), "seed {seed}");
        }
    }

    #[test]
    fn an_ignored_sync_loses_bytes_for_some_seed() {
        for (kind, wanted) in [(SyncKind::Data, Some(vec![])), (SyncKind::Folder, None)] {
            let lost = (0..50).any(|seed| {
                let fs = disk(seed);
                fs.ignore_syncs(kind);
                let file = fs.create(&path("a")).unwrap();
                file.write_all_at(b"x", 0).unwrap();
                file.sync_data().unwrap();
                fs.sync_dir(Path::new(ROOT)).unwrap();
                read(&fs.crash(), "a") == wanted
            });
            assert!(lost, "{kind:?}");
        }
    }

    #[test]
    fn the_fuse_counts_changes_and_then_everything_fails() {
        let fs = disk(1);
        fs.crash_after(2);
        let file = fs.create(&path("a")).unwrap();
        file.write_all_at(b"x", 0).unwrap();
        assert_eq!(file.len().unwrap(), 1);
        assert!(file.sync_data().is_err());
        assert!(file.len().is_err() && fs.list(Path::new(ROOT)).is_err());
        assert!(fs.crash().list(Path::new(ROOT)).is_ok());
    }

    #[test]
    fn a_seed_repeats_itself() {
        let run = |seed| {
            let fs = disk(seed);
            let file = fs.create(&path("a")).unwrap();
            fs.sync_dir(Path::new(ROOT)).unwrap();
            file.write_all_at(&[3; 9000], 100).unwrap();
            fs.crash().digest()
        };
        assert!((0..20).all(|seed| run(seed) == run(seed)));
        assert!((0..60).map(run).collect::<BTreeSet<_>>().len() > 5);
    }
}
