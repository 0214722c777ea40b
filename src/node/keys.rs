//! The keyring's file: made at the first start, refused when others can read it.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};
use crate::model::Rng;
use crate::nfr::Keyring;

/// A keyring is a few hundred bytes; anything much longer is another file.
const KEYS_FILE_BYTES_MAX: u64 = 1 << 20;

/// Reads the keyring, or makes one if there is no file.
///
/// `sealed` says whether objects are there already: then a missing file is an error, because a fresh
/// keyring could open none of them.
pub fn load_or_make(path: &Path, rng: &dyn Rng, sealed: bool) -> Result<Keyring> {
    match File::open(path) {
        Ok(file) => read(file, path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !sealed => make(path, rng),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(at(path, "the keyring is missing, but objects sealed with it are here; put the file back"))
        }
        Err(error) => Err(at(path, "the keyring cannot be opened").because(error)),
    }
}

fn read(mut file: File, path: &Path) -> Result<Keyring> {
    let metadata = file.metadata().map_err(|error| at(path, "the keyring cannot be read").because(error))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(at(path, "the keyring can be read by others; make it private with chmod 600"));
    }
    if !metadata.is_file() || metadata.len() > KEYS_FILE_BYTES_MAX {
        return Err(at(path, "this is not a keyring file"));
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(|error| at(path, "the keyring cannot be read").because(error))?;
    Keyring::parse(&text).map_err(|error| error.with("path", path.display()))
}

/// Written beside its place, synced and renamed: a half-written keyring must never be found.
fn make(path: &Path, rng: &dyn Rng) -> Result<Keyring> {
    let keyring = Keyring::generate(rng);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let temporary = path.with_extension("new");
    let write = || {
        std::fs::create_dir_all(folder)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(keyring.render().as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        at(path, "the keyring cannot be written; mend the folder or name another file with --keys").because(error)
    })?;
    tracing::info!(path = %path.display(), "made a keyring; without it nothing sealed here can be opened");
    Ok(keyring)
}

fn at(path: &Path, message: &str) -> Error {
    Error::invalid(message).with("path", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfr::SystemRng;

    #[test]
    fn the_file_is_private_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/keys.toml");
        let made = load_or_make(&path, &SystemRng, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*load_or_make(&path, &SystemRng, true).unwrap().render(), *made.render());
    }

    #[test]
    fn a_readable_broken_or_missing_file_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        let refused = |sealed| load_or_make(&path, &SystemRng, sealed).unwrap_err().to_string();
        assert!(refused(true).contains("missing"));
        load_or_make(&path, &SystemRng, false).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refused(false).contains("chmod 600") && refused(false).contains("keys.toml"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "nonsense").unwrap();
        assert!(refused(false).contains("not readable"));
    }
}
