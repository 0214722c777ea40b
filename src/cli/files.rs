//! Files of the user: read as streams, found in folders, written beside their place and then renamed.
//!
//! The files of a container are the store's business; nothing here touches them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures_util::Stream;

use crate::error::{Error, Result};
use crate::limits::CHUNK_BYTES;

/// Deepest folder that is walked; deeper ones are not made by people.
const FOLDER_DEPTH_MAX: usize = 128;

pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let text = format!("cannot {what}");
    let error = match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(text).because(error),
        io::ErrorKind::PermissionDenied => Error::new(crate::Kind::Forbidden, text).because(error),
        _ => Error::invalid(text).because(error),
    };
    error.with("path", path.display())
}

/// A reader as a stream of chunks. Reading blocks, so it happens away from the runtime's own threads.
pub(super) fn stream(reader: impl Read + Send + 'static) -> impl Stream<Item = io::Result<Bytes>> + Send {
    futures_util::stream::try_unfold(reader, |mut reader| async move {
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = Vec::with_capacity(CHUNK_BYTES);
            (&mut reader).take(CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            Ok::<_, io::Error>((!chunk.is_empty()).then(|| (Bytes::from(chunk), reader)))
        });
        read.await.map_err(io::Error::other)?
    })
}

/// Every file below a folder with its path inside it, in order. Links to files are followed, links to
/// folders are not: they may lead in circles.
pub(super) fn walk(folder: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    walk_into(folder, "", 0, &mut found)?;
    Ok(found)
}

fn walk_into(folder: &Path, inside: &str, depth: usize, found: &mut Vec<(PathBuf, String)>) -> Result<()> {
    if depth > FOLDER_DEPTH_MAX {
        return Err(Error::invalid("folders are nested too deep").with("path", folder.display()));
    }
    let reading = |error| failed("read this folder", folder, error);
    let mut entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(reading)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let name = entry.file_name();
        let name = name
            .to_str()
            .ok_or_else(|| Error::invalid("a file name is not UTF-8; rename it").with("path", path.display()))?;
        let inside = if inside.is_empty() { name.to_owned() } else { format!("{inside}/{name}") };
        let is_folder = entry.file_type().map_err(|error| failed("read this file", &path, error))?.is_dir();
        if is_folder {
            walk_into(&path, &inside, depth + 1, found)?;
        } else if fs::metadata(&path).map_err(|error| failed("read this file", &path, error))?.is_file() {
            found.push((path, inside));
        } else {
            eprintln!("skipped {}: neither a file nor a folder", path.display());
        }
    }
    Ok(())
}

/// Where a key's file goes inside a folder, whose missing parents are made. Whatever the key says and
/// whatever links lie in the folder, the result is inside it.
pub(super) fn inside(folder: &Path, key: &str) -> Result<PathBuf> {
    let unsafe_key = |why: &str| Error::invalid(why).with("key", key.escape_default()).with("folder", folder.display());
    let segments: Vec<&str> = key.split('/').collect();
    let plain = |segment: &&str| matches!(Path::new(segment).components().collect::<Vec<_>>()[..], [Component::Normal(name)] if name == *segment);
    if !segments.iter().all(plain) || key.contains(['\0', '\\']) {
        return Err(unsafe_key("this key has no place in a folder; pull it by itself and name its file"));
    }
    let mut path = folder.to_owned();
    fs::create_dir_all(&path).map_err(|error| failed("make this folder", &path, error))?;
    let last = segments.len().saturating_sub(1);
    for (index, segment) in segments.into_iter().enumerate() {
        path.push(segment);
        match fs::symlink_metadata(&path) {
            Ok(there) if there.is_symlink() => {
                return Err(unsafe_key("a link lies in the way and may lead out of the folder"));
            }
            Ok(_) => {}
            Err(_) if index == last => {}
            Err(_) => fs::create_dir(&path).map_err(|error| failed("make this folder", &path, error))?,
        }
    }
    Ok(path)
}

/// A file that appears at its place whole or not at all.
pub(super) struct Landing {
    file: File,
    /// What is renamed and where to; `None` when the place is a device or a pipe, written directly.
    rename: Option<(PathBuf, PathBuf)>,
}

impl Landing {
    /// Prepares to write to `place`.
    pub(super) fn at(place: &Path) -> Result<Landing> {
        let opening = |error| failed("write this file", place, error);
        let mut target = place.to_owned();
        if let Ok(there) = fs::metadata(place) {
            if there.is_dir() {
                return Err(Error::invalid("this is a folder; name a file in it").with("path", place.display()));
            }
            if !there.is_file() {
                let file = OpenOptions::new().write(true).open(place).map_err(opening)?;
                return Ok(Landing { file, rename: None });
            }
            // A link stays a link: what it points to is replaced.
            target = fs::canonicalize(place).map_err(opening)?;
        }
        let folder = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = folder.join(format!(".meshstore-{}-{serial}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&temporary).map_err(opening)?;
        Ok(Landing { file, rename: Some((temporary, target)) })
    }

    /// Writes the next piece. A pull has nothing else to do meanwhile, so the thread may wait.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<()> {
        self.file.write_all(piece).map_err(|error| Error::unavailable("cannot write the file").because(error))
    }

    /// Puts the file in its place.
    pub(super) fn finish(mut self) -> Result<()> {
        if let Some((temporary, target)) = &self.rename {
            fs::rename(temporary, target).map_err(|error| failed("put the file in its place", target, error))?;
        }
        self.rename = None;
        Ok(())
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some((temporary, _)) = &self.rename {
            // Best effort: the pull has failed already, and that error is the one to tell.
            let _ = fs::remove_file(temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    #[test]
    fn keys_stay_inside_the_folder() {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("f");
        assert_eq!(inside(&folder, "a/b").unwrap(), folder.join("a/b"));
        assert!(folder.join("a").is_dir() && !folder.join("a/b").exists());
        for bad in ["", "..", "../x", "a/../../x", "/etc/x", "a//b", "a/./b", ".", "a\\b", "a\0", "a/"] {
            assert!(inside(&folder, bad).is_err(), "{bad}");
        }
        std::os::unix::fs::symlink(outer.path(), folder.join("link")).unwrap();
        std::os::unix::fs::symlink(outer.path().join("x"), folder.join("file")).unwrap();
        assert!(inside(&folder, "link/x").is_err());
        assert!(inside(&folder, "file").is_err());
    }

    #[test]
    fn a_file_lands_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("f");
        fs::write(&place, "old").unwrap();
        let mut landing = Landing::at(&place).unwrap();
        landing.write(b"ne").unwrap();
        drop(landing);
        assert_eq!(fs::read_to_string(&place).unwrap(), "old");
        let mut landing = Landing::at(&place).unwrap();
        landing.write(b"new").unwrap();
        landing.finish().unwrap();
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(Landing::at(folder.path()).is_err());
    }

    #[test]
    fn a_link_is_written_through_and_a_device_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (place, link) = (folder.path().join("f"), folder.path().join("l"));
        fs::write(&place, "old").unwrap();
        std::os::unix::fs::symlink(&place, &link).unwrap();
        let mut landing = Landing::at(&link).unwrap();
        landing.write(b"new").unwrap();
        landing.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&place).unwrap(), "new");
        let mut null = Landing::at(Path::new("/dev/null")).unwrap();
        null.write(b"x").unwrap();
        null.finish().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_walk_finds_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("b/c")).unwrap();
        for name in ["z", "b/c/x", "a"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        let names: Vec<String> = walk(folder.path()).unwrap().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "b/c/x", "z"]);
        assert!(walk(&folder.path().join("none")).is_err());
    }

    #[tokio::test]
    async fn a_reader_streams_all_its_bytes() {
        let bytes: Vec<u8> = (0..2 * CHUNK_BYTES + 5).map(|n| n as u8).collect();
        let pieces: Vec<Bytes> = stream(io::Cursor::new(bytes.clone())).try_collect().await.unwrap();
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces.concat(), bytes);
    }
}
