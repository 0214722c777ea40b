//! Folders and file names of level 2, and what is done with whole frame files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::FrameId;
use crate::store::Fs;

const FRAMES: &str = "frames";
const STAGING: &str = "staging";
const QUARANTINE: &str = "quarantine";
const SUFFIX: &str = ".frame";

/// Where frames lie.
pub struct Layout {
    pub fs: Arc<dyn Fs>,
    root: PathBuf,
}

impl Layout {
    /// Makes the folders, durably.
    pub fn create(fs: Arc<dyn Fs>, root: &Path) -> Result<Self> {
        let layout = Layout { fs, root: root.to_owned() };
        let frames = root.join(FRAMES);
        let shelves = (0..=u8::MAX).map(|shelf| frames.join(format!("{shelf:02x}")));
        let folders = [root.join(STAGING), root.join(QUARANTINE), frames.clone()].into_iter().chain(shelves);
        for folder in folders {
            layout.fs.create_dir_all(&folder).map_err(|error| at(error, "cannot make a folder", &folder))?;
        }
        for folder in [&frames, root] {
            layout.fs.sync_dir(folder).map_err(|error| at(error, "cannot sync a folder", folder))?;
        }
        Ok(layout)
    }

    /// Where a committed frame lies.
    pub fn frame(&self, frame: FrameId) -> PathBuf {
        let [first, ..] = frame.0;
        self.root.join(FRAMES).join(format!("{first:02x}")).join(name(frame))
    }

    /// The folder of all committed frames.
    pub fn frames(&self) -> PathBuf {
        self.root.join(FRAMES)
    }

    /// Where a frame is written.
    pub fn staging(&self, frame: FrameId) -> PathBuf {
        self.root.join(STAGING).join(name(frame))
    }

    /// Moves a written and synced frame to its place, durably.
    pub fn settle(&self, frame: FrameId) -> Result<()> {
        let (from, to) = (self.staging(frame), self.frame(frame));
        self.fs.rename(&from, &to).map_err(|error| at(error, "cannot move the frame to its place", &to))?;
        let folder = to.parent().unwrap_or(&self.root);
        self.fs.sync_dir(folder).map_err(|error| at(error, "cannot sync the frame's folder", folder))
    }

    /// Moves a damaged frame aside. One that rests in the store, or is gone, needs no move.
    pub fn quarantine(&self, frame: FrameId) -> Result<()> {
        let to = self.root.join(QUARANTINE).join(name(frame));
        ignore_missing(self.fs.rename(&self.frame(frame), &to))
            .map_err(|error| at(error, "cannot quarantine the frame", &to))
    }

    /// Removes a frame from wherever it lies; that it is gone already is fine.
    pub fn unlink(&self, frame: FrameId) -> Result<()> {
        for path in [self.frame(frame), self.root.join(QUARANTINE).join(name(frame))] {
            ignore_missing(self.fs.remove(&path)).map_err(|error| at(error, "cannot remove the frame", &path))?;
        }
        Ok(())
    }

    /// Removes what was still being written when the last life ended.
    pub fn clear_staging(&self) -> Result<usize> {
        let folder = self.root.join(STAGING);
        let names = self.fs.list(&folder).map_err(|error| at(error, "cannot list a folder", &folder))?;
        for name in &names {
            let path = folder.join(name);
            ignore_missing(self.fs.remove(&path))
                .map_err(|error| at(error, "cannot remove an unfinished frame", &path))?;
        }
        Ok(names.len())
    }

    /// Calls `visit` with every frame that lies in its place. Files with other names are not ours.
    pub fn each_frame(&self, mut visit: impl FnMut(FrameId) -> Result<()>) -> Result<()> {
        for shelf in 0..=u8::MAX {
            let folder = self.root.join(FRAMES).join(format!("{shelf:02x}"));
            let names = self.fs.list(&folder).map_err(|error| at(error, "cannot list a folder", &folder))?;
            for frame in names.iter().filter_map(|name| parse(name.to_str()?)) {
                visit(frame)?;
            }
        }
        Ok(())
    }
}

/// What the file of a frame is called.
pub fn name(frame: FrameId) -> String {
    format!("{frame}{SUFFIX}")
}

/// The frame whose file is called so.
pub fn parse(name: &str) -> Option<FrameId> {
    let hex = name.strip_suffix(SUFFIX)?;
    let plain = hex.len() == 32 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let number = u128::from_str_radix(hex, 16).ok().filter(|_| plain)?;
    Some(FrameId(number.to_be_bytes()))
}

fn ignore_missing(result: std::io::Result<()>) -> std::io::Result<()> {
    match result {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn at(error: std::io::Error, what: &str, path: &Path) -> Error {
    io_error(error, what).with("path", path.display())
}

/// An error of the file system in our terms.
pub fn io_error(error: std::io::Error, what: &str) -> Error {
    crate::store::io_error(error, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_back_and_strangers_are_left_alone() {
        let frame = FrameId([0xab; 16]);
        assert_eq!(parse(&name(frame)), Some(frame));
        for stranger in [
            "",
            ".frame",
            "README",
            &format!("{frame}"),
            &format!("{frame}.frame~"),
            &format!("+{}", &name(frame)[1..]),
        ] {
            assert_eq!(parse(stranger), None, "{stranger}");
        }
    }
}
