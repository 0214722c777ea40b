//! A wrapper around any file system that counts how long making things durable takes.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::fs::{File, Fs};
use crate::telemetry::Telemetry;
use crate::telemetry::metrics::labels::Synced;

/// A file system whose syncs are timed.
#[derive(Clone)]
pub struct TimedFs {
    inner: Arc<dyn Fs>,
    telemetry: Arc<Telemetry>,
}

struct TimedFile {
    inner: Arc<dyn File>,
    telemetry: Arc<Telemetry>,
}

impl TimedFs {
    /// A wrapper that passes everything on.
    pub fn new(inner: Arc<dyn Fs>, telemetry: Arc<Telemetry>) -> Self {
        TimedFs { inner, telemetry }
    }

    fn wrap(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TimedFile { inner, telemetry: Arc::clone(&self.telemetry) })
    }
}

fn timed(telemetry: &Telemetry, what: Synced, sync: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let started = telemetry.ticks_ns();
    let result = sync();
    telemetry.metrics.sync_duration.observe(what, telemetry.since_ns(started));
    result
}

impl Fs for TimedFs {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.inner.create(path)?))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(self.inner.open(path)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir_all(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        timed(&self.telemetry, Synced::Folder, || self.inner.sync_dir(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn free_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.inner.free_bytes(dir)
    }
}

impl File for TimedFile {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.inner.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_all_at(bytes, offset)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.inner.set_len(bytes)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.inner.allocate(bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        timed(&self.telemetry, Synced::File, || self.inner.sync_data())
    }
}

#[cfg(test)]
mod tests {
    use super::super::RealFs;
    use super::*;
    use crate::model::{ManualClock, SeededRng};

    #[test]
    fn it_is_a_file_system_and_counts_its_syncs() {
        let telemetry = Telemetry::new(Arc::new(ManualClock::default()), &SeededRng::new(1));
        let dir = tempfile::tempdir().unwrap();
        let fs = TimedFs::new(Arc::new(RealFs), Arc::clone(&telemetry));
        super::super::fs::conformance::holds(&fs, dir.path());
        let (files, folders) = (|| telemetry.metrics.sync_duration.count(Synced::File), Synced::Folder);
        let before = files();
        assert!(before > 0 && telemetry.metrics.sync_duration.count(folders) > 0);
        fs.create(&dir.path().join("one")).unwrap().sync_data().unwrap();
        assert_eq!(files(), before + 1);
    }
}
