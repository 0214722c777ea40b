//! Where level 3 is, opened at its first use: a cloud that cannot be reached stops nobody's start.
//!
//! In a folder the store writes beside the place, syncs, renames and syncs the folder. What it does
//! not do is done here: syncing the folders above, which another container may have made an instant
//! ago and not synced yet, and removing what an upload that died left behind.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::path::Path;

use super::calls::Trouble;
use crate::model::CloudUrl;
use crate::store::{Fs, RealFs};
use crate::tiers::locked;

/// Leftovers of one frame that are looked for; each died attempt leaves one.
const LEFTOVERS_MAX: u32 = 16;

/// The store of level 3.
pub struct Place {
    folder: Option<Folder>,
    opened: Mutex<Option<Arc<dyn ObjectStore>>>,
}

/// What is beneath the store where it is a folder.
pub struct Folder {
    pub fs: Arc<dyn Fs>,
    pub root: PathBuf,
}

impl Place {
    pub fn at(url: &CloudUrl) -> Self {
        match url {
            CloudUrl::Folder(root) => {
                let folder = Folder { fs: Arc::new(RealFs), root: root.clone() };
                Place { folder: Some(folder), opened: Mutex::new(None) }
            }
        }
    }

    /// A store that is open already.
    #[cfg(test)]
    pub fn over(store: Arc<dyn ObjectStore>, folder: Option<Folder>) -> Self {
        Place { folder, opened: Mutex::new(Some(store)) }
    }

    /// The store, opened by the first who needs it.
    pub fn store(&self) -> Result<Arc<dyn ObjectStore>, Trouble> {
        let mut opened = locked(&self.opened);
        match (&*opened, &self.folder) {
            (Some(store), _) => Ok(Arc::clone(store)),
            (None, Some(folder)) => Ok(Arc::clone(opened.insert(folder.open()?))),
            (None, None) => Err(Trouble::Lasting(crate::Error::internal("level 3 has no place"))),
        }
    }

    /// Makes the folders above this name durable, after the store has written or removed it.
    pub fn settle(&self, path: &Path) -> Result<(), Trouble> {
        let Some(Folder { fs, root }) = &self.folder else { return Ok(()) };
        let full = root.join(path.as_ref());
        for folder in full.ancestors().skip(1).take_while(|folder| folder.starts_with(root)) {
            match fs.sync_dir(folder) {
                // The last name in it was removed, and the folder with it.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Trouble::of_io(error.kind(), "cannot sync a cloud folder", error)),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Removes what uploads of this name that died have left; nobody sees it, but it takes room. An
    /// upload of it that is going on elsewhere fails and is made again.
    pub fn clear(&self, path: &Path) {
        let Some(Folder { fs, root }) = &self.folder else { return };
        for attempt in 1..=LEFTOVERS_MAX {
            // Best effort: what cannot be removed is only in the way of the room it takes.
            if fs.remove(&root.join(format!("{path}#{attempt}"))).is_err() {
                return;
            }
        }
    }
}

impl Folder {
    fn open(&self) -> Result<Arc<dyn ObjectStore>, Trouble> {
        let what = "cannot open the cloud folder";
        self.fs.create_dir_all(&self.root).map_err(|error| Trouble::of_io(error.kind(), what, error))?;
        let store = LocalFileSystem::new_with_prefix(&self.root).map_err(|error| Trouble::of_store(error, what))?;
        // Folders of keys and shelves go with the last name in them.
        Ok(Arc::new(store.with_fsync(true).with_automatic_cleanup(true)))
    }
}
