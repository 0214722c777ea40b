//! Files that only their owner may read: the keyring, passphrases and the root token.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// Reads such a file; `None` when there is none. One that others can read is refused.
pub fn read(path: &Path, what: &str, bytes_max: u64) -> Result<Option<Zeroizing<String>>> {
    read_as(path, what, bytes_max, true)
}

/// Reads a small file that others may read too.
pub fn read_public(path: &Path, what: &str, bytes_max: u64) -> Result<Option<Zeroizing<String>>> {
    read_as(path, what, bytes_max, false)
}

fn read_as(path: &Path, what: &str, bytes_max: u64, private: bool) -> Result<Option<Zeroizing<String>>> {
    let failed = |error| at(path, format!("{what} cannot be read")).because(error);
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let metadata = file.metadata().map_err(failed)?;
    if private && metadata.permissions().mode() & 0o077 != 0 {
        return Err(at(path, format!("{what} can be read by others; make it private with chmod 600")));
    }
    if !metadata.is_file() || metadata.len() > bytes_max {
        return Err(at(path, format!("{what} is not in this file: it is no small file")));
    }
    // Room for all of it at once: a text that grew would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(metadata.len() as usize + 1));
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Some(text))
}

/// Written beside its place, synced and renamed: a half-written secret must never be found.
pub fn write(path: &Path, what: &str, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let write = || {
        std::fs::create_dir_all(folder)?;
        // What a crash left may have other permissions; the mode counts for a new file alone.
        match std::fs::remove_file(&temporary) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|error| {
        at(path, format!("{what} cannot be written; mend the folder or name another file")).because(error)
    })
}

fn at(path: &Path, message: String) -> Error {
    Error::invalid(message).with("path", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_private_and_read_back_and_what_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/secret");
        assert!(read(&path, "the secret", 99).unwrap().is_none());
        for text in ["one", "two"] {
            write(&path, "the secret", text.as_bytes()).unwrap();
            assert_eq!(*read(&path, "the secret", 99).unwrap().unwrap(), text);
        }
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(read(&path, "the secret", 2).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path, "the secret", 99).unwrap_err().to_string();
        assert!(error.contains("chmod 600") && error.contains("deep/secret"), "{error}");
    }
}
