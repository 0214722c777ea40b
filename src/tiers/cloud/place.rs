//! Where level 3 is.
//!
//! In a folder the store writes beside the place, syncs, renames and syncs the folder. What it does
//! not do is done here: syncing the folders above, which another container may have made an instant
//! ago and not synced yet, and removing what an upload that died left behind.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::calls::Calls;
use super::trouble::Trouble;
use crate::error::{Error, Result as Done};
use crate::limits::CLOUD_ATTEMPTS_MAX;
use crate::model::{CloudUrl, Rng};
use crate::store::{Fs, RealFs};

/// Leftovers of one frame that are looked for; each died attempt leaves one.
const LEFTOVERS_MAX: u32 = 16;

/// The store of level 3.
pub struct Place {
    pub store: Arc<dyn ObjectStore>,
    pub folder: Option<Folder>,
}

/// What is beneath the store where it is a folder.
#[derive(Clone)]
pub struct Folder {
    pub fs: Arc<dyn Fs>,
    pub root: PathBuf,
}

impl Place {
    /// Opens a place. A folder is made if need be, and must be writable now; later it may come and go.
    pub fn open(url: &CloudUrl, rng: &dyn Rng) -> Done<Self> {
        match url {
            CloudUrl::Folder(root) => {
                let folder = Folder { fs: Arc::new(RealFs), root: root.clone() };
                let store = folder.open(rng).map_err(|error| error.with("cloud.url", root.display()))?;
                Ok(Place { store, folder: Some(folder) })
            }
        }
    }

    /// Makes the folders above this name durable, after the store has written or removed it.
    pub fn settle(&self, calls: &Calls, path: &Path) -> Result<(), Trouble> {
        let Some(Folder { fs, root }) = self.folder.clone() else { return Ok(()) };
        let full = root.join(path.as_ref());
        calls.on_disk("cannot sync a cloud folder", move || {
            for folder in full.ancestors().skip(1).take_while(|folder| folder.starts_with(&root)) {
                match fs.sync_dir(folder) {
                    // The last name in it was removed, and the folder with it.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    done => done?,
                }
            }
            Ok(())
        })
    }

    /// Removes what uploads of this name that died have left; nobody sees it, but it takes room. Only
    /// once the name is settled: an attempt that was given up may still be at work on its leftover, and
    /// must not find that of the next one in its place.
    pub fn clear(&self, calls: &Calls, path: &Path) {
        let Some(Folder { fs, root }) = self.folder.clone() else { return };
        let name = root.join(path.as_ref()).into_os_string();
        // Best effort: what cannot be removed is only in the way of the room it takes.
        let _ = calls.on_disk("cannot tidy up a cloud folder", move || {
            for attempt in 1..=LEFTOVERS_MAX {
                let mut leftover = name.clone();
                leftover.push(format!("#{attempt}"));
                if fs.remove(leftover.as_ref()).is_err() && attempt >= CLOUD_ATTEMPTS_MAX {
                    break;
                }
            }
            Ok(())
        });
    }
}

impl Folder {
    pub fn open(&self, rng: &dyn Rng) -> Done<Arc<dyn ObjectStore>> {
        let Folder { fs, root } = self;
        let at = |error: io::Error, what| {
            let why = format!("{what}; cloud.url must be a folder that can be made and written to, or none");
            Error::unavailable(why).because(error)
        };
        fs.create_dir_all(root).map_err(|error| at(error, "cannot make the cloud folder"))?;
        let probe = root.join(format!(".probe-{:016x}", rng.u64()));
        let probed = fs.create(&probe).and_then(|_| fs.remove(&probe)).and_then(|()| fs.sync_dir(root));
        probed.map_err(|error| at(error, "cannot write to the cloud folder"))?;
        let store = LocalFileSystem::new_with_prefix(root)
            .map_err(|error| Error::unavailable("cannot open the cloud folder").because(error))?;
        // Folders of keys and shelves go with the last name in them.
        Ok(Arc::new(store.with_fsync(true).with_automatic_cleanup(true)))
    }
}
