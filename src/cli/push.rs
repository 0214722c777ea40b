//! `push`: files, folders and stdin become objects.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use futures_util::TryStreamExt;
use serde::Serialize;

use super::options::{condition, if_match, ttl};
use super::target::Target;
use super::{files, out, progress};
use crate::client::{BatchPush, Client, PushOptions, Pushed, Upload};
use crate::error::{Error, Result};
use crate::model::{Address, Condition, Durability, NfrOverride};

/// Files up to this size go together with others.
const SMALL_BYTES_MAX: u64 = 256 << 10;
/// How many of them go in one request.
const TOGETHER_MAX: usize = 256;
/// And how many of their bytes.
const TOGETHER_BYTES_MAX: usize = 4 << 20;

/// `push SOURCE… ADDRESS`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore push today.csv meteo/2024/today.csv
  meshstore push a.csv b.csv meteo/2024/        below the folder, by their names
  meshstore push -r results meteo/results       the files of a folder
  tar c . | meshstore push - backup/home.tar
  meshstore push --if-none-match --ttl 7d lock jobs/lock    only the first one wins")]
pub struct Push {
    /// What to store: files, `-` for stdin, folders with -r.
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// Where to: collection/key; collection/ or collection/folder/ for several.
    address: String,
    /// Store all files of a folder, below the address.
    #[arg(short, long)]
    recursive: bool,
    /// When to acknowledge: ram or disk.
    #[arg(long, value_name = "CLASS")]
    durability: Option<Durability>,
    /// How to seal, such as `encrypt=none; compress=lz4; digest=sha256`.
    #[arg(long, value_name = "SPEC", value_parser = checked_nfr)]
    nfr: Option<String>,
    /// Content type that is kept with the object.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Metadata that is kept with the object; may be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    meta: Vec<(String, String)>,
    /// How long the object lives, such as 90s, 15m, 12h or 7d; the collection's policy may say less.
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    ttl: Option<u64>,
    /// Only if the object is this version now; * for any.
    #[arg(long, value_name = "VERSION|*", value_parser = if_match, conflicts_with = "if_none_match")]
    if_match: Option<Condition>,
    /// Only if there is no object now.
    #[arg(long)]
    if_none_match: bool,
    /// What you have seen so far, as --json told it; the answer adds to it.
    #[arg(long, value_name = "TOKEN")]
    session: Option<String>,
    /// One line of JSON an object on stdout; the last line's session covers them all.
    #[arg(long)]
    json: bool,
}

fn checked_nfr(text: &str) -> Result<String> {
    text.parse::<NfrOverride>().map(|_| text.to_owned())
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String)> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| Error::invalid("this is NAME=VALUE").with("given", text.escape_default()))?;
    Ok((name.to_owned(), value.to_owned()))
}

#[derive(Serialize)]
struct Line<'a> {
    address: &'a str,
    #[serde(flatten)]
    pushed: &'a Pushed,
}

impl Push {
    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let mut options = PushOptions {
            durability: self.durability,
            nfr: self.nfr.clone(),
            content_type: self.content_type.clone(),
            meta: self.meta.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect(),
            content_digest: None,
            condition: condition(self.if_match.as_ref(), self.if_none_match),
            ttl_s: self.ttl,
            session: self.session.clone(),
            peer: None,
        };
        let mut together = Together::default();
        let plan = self.plan()?;
        let several = plan.len() > 1;
        for (source, address) in plan {
            if several && let Some(bytes) = source.as_deref().map(small).transpose()?.flatten() {
                if together.is_full(bytes.len()) {
                    self.tell_all(client, together.take(), &mut options).await?;
                }
                together.add(BatchPush { address, bytes });
                continue;
            }
            self.tell_all(client, together.take(), &mut options).await?;
            let upload = open(source.as_deref(), &address)?;
            let pushed = client.push(&address, upload, &options).await?;
            self.tell(&address, &pushed)?;
            self.go_on(pushed, &mut options);
        }
        self.tell_all(client, together.take(), &mut options).await
    }

    async fn tell_all(&self, client: &Client, pushes: Vec<BatchPush>, options: &mut PushOptions) -> Result<()> {
        let outcomes = client.push_batch(&pushes, options).await?;
        let mut failed = None;
        for (push, outcome) in pushes.iter().zip(outcomes) {
            match outcome {
                Ok(pushed) => {
                    self.tell(&push.address, &pushed)?;
                    self.go_on(pushed, options);
                }
                // The first one is the reason of the whole; what was stored behind it is told all the same.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// What is told covers all that was told before it.
    fn go_on(&self, pushed: Pushed, options: &mut PushOptions) {
        if self.json {
            options.session = pushed.session;
        }
    }

    fn tell(&self, address: &Address, pushed: &Pushed) -> Result<()> {
        if self.json {
            return out::json(&Line { address: address.as_str(), pushed });
        }
        out::line(&format!("{address}  {}  {}  {}", out::size(pushed.size), pushed.durability, pushed.version))
    }

    /// What goes where (`None` is stdin), all of it checked before the first byte is sent.
    fn plan(&self) -> Result<Vec<(Option<PathBuf>, Address)>> {
        let target: Target = self.address.parse()?;
        let several = self.sources.len() > 1;
        let mut plan = Vec::new();
        for source in &self.sources {
            if source.as_os_str() == "-" {
                if several {
                    return Err(Error::invalid("stdin is pushed alone; leave the other sources out"));
                }
                plan.push((None, target.address_of(None)?));
                continue;
            }
            let there = fs::metadata(source).map_err(|error| files::failed("read this file", source, error))?;
            if !there.is_dir() {
                let name =
                    if several { target.below(name_of(source)?)? } else { target.address_of(name_of(source).ok())? };
                plan.push((Some(source.clone()), name));
            } else if self.recursive {
                // Several folders keep their names, or their files would meet.
                let lead = if several { format!("{}/", name_of(source)?) } else { String::new() };
                for (path, inside) in files::walk(source)? {
                    plan.push((Some(path), target.below(&format!("{lead}{inside}"))?));
                }
            } else {
                return Err(
                    Error::invalid("this is a folder; -r pushes the files in it").with("path", source.display())
                );
            }
        }
        let mut places: HashMap<&Address, &Option<PathBuf>> = HashMap::new();
        for (source, address) in &plan {
            if let Some(other) = places.insert(address, source) {
                let path = |source: &Option<PathBuf>| source.as_deref().unwrap_or(Path::new("-")).display().to_string();
                let why = "two sources would go to one address; push them apart, or below different names";
                let error = Error::invalid(why).with("address", address);
                return Err(error.with("first", path(other)).with("second", path(source)));
            }
        }
        Ok(plan)
    }
}

/// Small files on their way, which go in one request and share commits.
#[derive(Default)]
struct Together {
    pushes: Vec<BatchPush>,
    bytes: usize,
}

impl Together {
    fn is_full(&self, more: usize) -> bool {
        self.pushes.len() == TOGETHER_MAX || self.bytes + more > TOGETHER_BYTES_MAX
    }

    fn add(&mut self, push: BatchPush) {
        self.bytes += push.bytes.len();
        self.pushes.push(push);
    }

    fn take(&mut self) -> Vec<BatchPush> {
        self.bytes = 0;
        std::mem::take(&mut self.pushes)
    }
}

/// All of a small file; `None` when it is large, or is none.
fn small(path: &Path) -> Result<Option<Bytes>> {
    let reading = |error| files::failed("read this file", path, error);
    let there = fs::metadata(path).map_err(reading)?;
    if !there.is_file() || there.len() > SMALL_BYTES_MAX {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(there.len() as usize + 1);
    // It may have grown since it was looked at.
    File::open(path).map_err(reading)?.take(SMALL_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(reading)?;
    Ok((bytes.len() as u64 <= SMALL_BYTES_MAX).then(|| bytes.into()))
}

fn name_of(path: &Path) -> Result<&str> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| Error::invalid("this path has no name that can be a key").with("path", path.display()))
}

fn open(source: Option<&Path>, address: &Address) -> Result<Upload> {
    let Some(path) = source else {
        let bar = progress::bar(None, address.as_str());
        return Ok(Upload::stream(
            files::stream(io::stdin()).inspect_ok(move |piece| bar.inc(piece.len() as u64)),
            None,
        ));
    };
    let opening = |error| files::failed("read this file", path, error);
    let file = File::open(path).map_err(opening)?;
    let there = file.metadata().map_err(opening)?;
    // A pipe or a device has no length to speak of.
    let size = there.is_file().then_some(there.len());
    let bar = progress::bar(size, address.as_str());
    Ok(Upload::stream(files::stream(file).inspect_ok(move |piece| bar.inc(piece.len() as u64)), size))
}
