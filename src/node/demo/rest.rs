//! Two looks at what rests on disk: it cannot be read, and it cannot be changed unnoticed.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::Kind;
use crate::error::{Error, Result};
use crate::model::{Level, Rng, SeededRng};
use crate::store::io_error;

use super::stage::Stage;
use super::{expect, say};

const SECRET: &str = "the harbour gauge reads 4.72 m at 06:00";

/// A text is pushed; its words are nowhere on the disk, and it takes less room than before.
pub async fn sealed(stage: &Stage, folder: &Path) -> Result<()> {
    say("3  at rest: encrypted and compressed")?;
    let text: String = (0..40_000).map(|line| format!("{line:06} {SECRET}\n")).collect();
    let pushed = stage.push("demo/text", Bytes::from(text.clone()), None).await?;
    let sealed = pushed.manifest.seal.as_ref().map_or(0, |seal| seal.bytes);
    for file in files(folder)? {
        let bytes = match std::fs::read(&file) {
            Ok(bytes) => bytes,
            // A frame that was replaced is removed in the background.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io_error(error, "cannot read a file of the demo")),
        };
        let found = bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        expect(!found, "the text can be read on the disk")?;
    }
    stage.forget_in_memory("demo/text")?;
    let (back, level) = stage.pull("demo/text").await?;
    expect(back == text.as_bytes() && level == Level::Disk, "the text did not come back from the disk")?;
    say(&format!("   {} bytes of text rest in {sealed}; their words are in no file", text.len()))
}

/// One bit of a frame is flipped: the pull fails, and says so; other objects are not touched.
pub async fn damaged(stage: &Stage, folder: &Path) -> Result<()> {
    say("4  damage: one bit is flipped on the disk")?;
    let mut data = vec![0; 300_000];
    SeededRng::new(4).fill(&mut data);
    let data = Bytes::from(data);
    let pushed = stage.push("demo/victim", data.clone(), None).await?;
    let frame = pushed.manifest.seal.as_ref().map(|seal| seal.frame.to_string()).unwrap_or_default();
    let path = files(folder)?.into_iter().find(|path| path.to_string_lossy().contains(&frame));
    let path = path.ok_or_else(|| Error::internal("the frame has no file"))?;
    flip_a_bit(&path).map_err(|error| io_error(error, "cannot damage the frame"))?;
    let (from_memory, _) = stage.pull("demo/victim").await?;
    expect(from_memory == data, "memory holds a good copy and must serve it")?;
    stage.forget_in_memory("demo/victim")?;
    let error = stage.pull("demo/victim").await.err().ok_or_else(|| Error::internal("damaged bytes were served"))?;
    expect(error.kind() == Kind::Corrupt, "damage was reported as something else")?;
    say(&format!("   the pull says: {error}"))?;
    let (text, _) = stage.pull("demo/text").await?;
    expect(!text.is_empty(), "another object suffered")?;
    stage.push("demo/victim", data.clone(), None).await?;
    stage.forget_in_memory("demo/victim")?;
    expect(stage.pull("demo/victim").await?.0 == data, "pushing it again did not mend it")?;
    say("   pushed again, it is whole again")
}

fn flip_a_bit(path: &Path) -> std::io::Result<()> {
    let mut bytes = std::fs::read(path)?;
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    std::fs::write(path, bytes)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| io_error(error, "cannot list the demo's folder"))?;
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    Ok(found)
}
