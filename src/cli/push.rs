//! `push`: files, folders and stdin become objects.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use futures_util::TryStreamExt;
use serde::Serialize;

use super::options::{condition, if_match, ttl};
use super::target::Target;
use super::{files, out, progress};
use crate::client::{Client, PushOptions, Pushed, Upload};
use crate::error::{Error, Result};
use crate::model::{Address, Condition, Durability, NfrOverride};

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
        };
        for (source, address) in self.plan()? {
            let upload = open(source.as_deref(), &address)?;
            let pushed = client.push(&address, upload, &options).await?;
            if self.json {
                out::json(&Line { address: address.as_str(), pushed: &pushed })?;
                options.session = pushed.session;
            } else {
                out::line(&format!(
                    "{address}  {}  {}  {}",
                    out::size(pushed.size),
                    pushed.durability,
                    pushed.version
                ))?;
            }
        }
        Ok(())
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
        Ok(plan)
    }
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
