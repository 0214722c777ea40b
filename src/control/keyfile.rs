//! The keyring's file: made at the first start, refused when others can read it, changed by one at a time.
//!
//! The file is the truth. The containers of a host may share it, and commands change it beside a running
//! container: each change reads it anew, and whoever holds its keys looks now and then whether it changed.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::limits::KEYS_FILE_BYTES_MAX;
use crate::model::{KeyId, Rng};
use crate::nfr::Keyring;
use crate::private;
use crate::store::{LockGuard, RealFs, io_error};

const WHAT: &str = "the keyring";

/// Where a keyring rests.
pub struct KeyFile {
    path: PathBuf,
    /// What the file was when it was last read.
    seen: Mutex<Option<Stamp>>,
}

/// What became of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Keys that were not here before.
    pub new: usize,
    /// The key that wraps.
    pub active: KeyId,
    /// The one that wrapped where the export was made.
    pub exported: KeyId,
}

/// What differs once a file was written anew, or may be read by others.
type Stamp = (u64, u64, i64, i64, u32);

impl KeyFile {
    /// The keyring at this place, whether or not it is there yet.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        KeyFile { path: path.into(), seen: Mutex::default() }
    }

    /// Where it rests.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The keyring, if there is one.
    pub fn read(&self) -> Result<Option<Keyring>> {
        // Before the reading, so that a change in between is seen later.
        let stamp = self.stamp();
        let Some(text) = private::read(&self.path, WHAT, KEYS_FILE_BYTES_MAX)? else { return Ok(None) };
        let ring = Keyring::parse(&text).map_err(|error| self.named(error))?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = stamp;
        Ok(Some(ring))
    }

    /// Reads the keyring, or makes one if there is no file.
    ///
    /// `sealed` says whether objects are there already: then a missing file is an error, because a fresh
    /// keyring could open none of them.
    pub fn load_or_make(&self, rng: &dyn Rng, sealed: bool) -> Result<Keyring> {
        if let Some(ring) = self.read()? {
            return Ok(ring);
        }
        if sealed {
            let why = "the keyring is missing, but objects sealed with it are here; put the file back, or `meshstore key import` an exported copy";
            return Err(self.named(Error::invalid(why)));
        }
        // Containers that share it may start at the same time: one makes it, and the others take that one.
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|error| self.named(io_error(error, "the folder of the keyring cannot be made")))?;
        }
        let _lock = self.lock_by(RealFs::lock_in_turn)?;
        if let Some(ring) = self.read()? {
            return Ok(ring);
        }
        let ring = Keyring::generate(rng);
        self.write(&ring)?;
        tracing::info!(path = %self.path.display(), "made a keyring; without it nothing sealed here can be opened");
        Ok(ring)
    }

    /// Changes the keyring, which must be there. Nobody else changes it meanwhile.
    pub fn change<T>(&self, change: impl FnOnce(&mut Keyring) -> Result<T>) -> Result<(Keyring, T)> {
        let _lock = self.lock()?;
        let ring = self.read()?;
        let mut ring = ring.ok_or_else(|| self.gone())?;
        let done = change(&mut ring)?;
        self.write(&ring)?;
        Ok((ring, done))
    }

    /// Takes in the keys of another ring, or the ring itself where there is none yet. The active key stays.
    pub fn import(&self, other: Keyring) -> Result<Imported> {
        let _lock = self.lock()?;
        let exported = other.active();
        let Some(mut ring) = self.read()? else {
            self.write(&other)?;
            return Ok(Imported { new: other.ids().len(), active: exported, exported });
        };
        let new = ring.merge(other).map_err(|error| self.named(error))?;
        if new > 0 {
            self.write(&ring)?;
        }
        Ok(Imported { new, active: ring.active(), exported })
    }

    /// The keyring, if its file changed since it was last read. That it is gone, or cannot be used, is said once.
    pub fn changed(&self) -> Result<Option<Keyring>> {
        let stamp = self.stamp();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == stamp {
            return Ok(None);
        }
        // Taken as seen whatever is in it, so that a file that cannot be used is complained of once.
        *seen = stamp;
        drop(seen);
        if stamp.is_none() {
            return Err(self.gone());
        }
        self.read()
    }

    /// A process that holds the keys goes on with them, but no later one can.
    fn gone(&self) -> Error {
        let why = "the keyring's file is gone; put it back from a copy before the container is stopped, or nothing sealed here can be opened again";
        self.named(Error::not_found(why))
    }

    fn write(&self, ring: &Keyring) -> Result<()> {
        private::write(&self.path, WHAT, ring.render().as_bytes())?;
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = self.stamp();
        Ok(())
    }

    fn stamp(&self) -> Option<Stamp> {
        let found = std::fs::metadata(&self.path).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec(), found.mode()))
    }

    fn lock(&self) -> Result<LockGuard> {
        self.lock_by(RealFs::lock)
    }

    fn lock_by(&self, lock: impl FnOnce(&Path) -> std::io::Result<LockGuard>) -> Result<LockGuard> {
        let mut path = self.path.clone().into_os_string();
        path.push(".lock");
        lock(Path::new(&path)).map_err(|error| {
            self.named(match error.kind() {
                std::io::ErrorKind::WouldBlock => {
                    Error::unavailable("the keyring is being changed by somebody else; try again")
                }
                _ => io_error(error, "the folder of the keyring cannot be written"),
            })
        })
    }

    fn named(&self, error: Error) -> Error {
        error.with("path", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::error::Kind;
    use crate::model::SeededRng;

    #[test]
    fn the_file_is_private_and_found_again() {
        let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(1));
        let file = KeyFile::at(folder.path().join("deep/keys.toml"));
        let made = file.load_or_make(&rng, false).unwrap();
        assert_eq!(std::fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*file.load_or_make(&rng, true).unwrap().render(), *made.render());
    }

    #[test]
    fn who_makes_it_at_the_same_time_has_the_same_one() {
        let folder = tempfile::tempdir().unwrap();
        let made: Vec<_> = std::thread::scope(|scope| {
            let path = folder.path().join("keys.toml");
            let make = |seed| {
                let file = KeyFile::at(&path);
                scope.spawn(move || file.load_or_make(&SeededRng::new(seed), false).unwrap().render())
            };
            let makers: Vec<_> = (0..8).map(make).collect();
            makers.into_iter().map(|maker| maker.join().unwrap()).collect()
        });
        assert!(made.iter().all(|ring| **ring == *made[0]));
    }

    #[test]
    fn a_readable_broken_or_missing_file_is_refused_by_name() {
        let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(2));
        let file = KeyFile::at(folder.path().join("keys.toml"));
        let refused = |sealed| file.load_or_make(&rng, sealed).unwrap_err().to_string();
        assert!(refused(true).contains("missing"));
        file.load_or_make(&rng, false).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refused(false).contains("chmod 600") && refused(false).contains("keys.toml"));
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(file.path(), "nonsense").unwrap();
        assert!(refused(false).contains("not readable") && refused(false).contains("keys.toml"));
    }

    #[test]
    fn changes_of_one_are_seen_by_the_other_and_none_is_lost() {
        let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(3));
        let [one, other] = [(); 2].map(|()| KeyFile::at(folder.path().join("keys.toml")));
        assert_eq!(other.change(|_| Ok(())).unwrap_err().kind(), Kind::NotFound);
        one.load_or_make(&rng, false).unwrap();
        assert_eq!(other.changed().unwrap().unwrap().ids().len(), 1);
        let (_, first) = one.change(|ring| ring.add(&rng)).unwrap();
        let (ring, second) = other.change(|ring| ring.add(&rng)).unwrap();
        assert!(ring.holds(first) && ring.holds(second), "each change builds on the one before");
        assert!(other.changed().unwrap().is_none(), "its own change is no news");
        assert!(one.changed().unwrap().unwrap().holds(second));
        assert!(one.changed().unwrap().is_none());
        assert!(one.change(|_| Err::<(), _>(Error::invalid("no"))).is_err());
        assert!(other.changed().unwrap().is_none(), "a change that failed is none");
        let _held = one.lock().unwrap();
        assert_eq!(other.change(|ring| ring.add(&rng)).unwrap_err().kind(), Kind::Unavailable);
    }

    #[test]
    fn a_file_that_vanishes_or_is_laid_open_is_complained_of_once() {
        let (folder, rng) = (tempfile::tempdir().unwrap(), SeededRng::new(4));
        let file = KeyFile::at(folder.path().join("keys.toml"));
        file.load_or_make(&rng, false).unwrap();
        let mode = |mode| std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o644);
        assert!(file.changed().unwrap_err().to_string().contains("chmod 600"));
        assert!(file.changed().unwrap().is_none());
        mode(0o600);
        assert!(file.changed().unwrap().is_some());
        let aside = folder.path().join("aside");
        std::fs::rename(file.path(), &aside).unwrap();
        assert!(file.changed().unwrap_err().to_string().contains("before the container is stopped"));
        assert!(file.changed().unwrap().is_none());
        assert!(file.change(|ring| ring.add(&rng)).unwrap_err().to_string().contains("put it back"));
        std::fs::rename(&aside, file.path()).unwrap();
        assert!(file.changed().unwrap().is_some());
    }
}
