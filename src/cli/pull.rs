//! `pull`: objects become files, or go to stdout.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::files::{self, Landing};
use super::target::Target;
use super::{out, progress};
use crate::client::{Client, Object, ReadOptions};
use crate::error::{Error, Result};
use crate::model::{Address, ByteRange, Session, Version};

/// `pull ADDRESS [DEST]`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore pull meteo/2024/today.csv           into ./today.csv
  meshstore pull meteo/2024/today.csv - | head
  meshstore pull -r meteo/2024 results          all keys below meteo/2024/ into the folder results
  meshstore pull --range 0-99 meteo/big.bin head.bin
  meshstore pull --version 0193…-… meteo/today.csv old.csv    a version that has been replaced")]
pub struct Pull {
    /// What to fetch: collection/key; with -r a collection or collection/folder.
    address: String,
    /// Where to: a file, `-` for stdout, with -r a folder. Default: the key's last part here.
    dest: Option<PathBuf>,
    /// Fetch all keys below the address into a folder.
    #[arg(short, long, conflicts_with_all = ["range", "version"])]
    recursive: bool,
    /// Only these bytes: first-last (both included), first-, or -count.
    #[arg(long, value_name = "RANGE", value_parser = range, allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// This version, also after it was replaced or deleted, for as long as the collection keeps it.
    #[arg(long, value_name = "VERSION")]
    version: Option<Version>,
    /// What you have seen so far, as --json told it; what comes is not older.
    #[arg(long, value_name = "TOKEN")]
    session: Option<String>,
    /// One line of JSON an object on stdout.
    #[arg(long)]
    json: bool,
}

/// A range as in the `Range` header, whose `bytes=` may be left out.
fn range(text: &str) -> Result<ByteRange> {
    format!("bytes={}", text.strip_prefix("bytes=").unwrap_or(text)).parse()
}

#[derive(Serialize)]
struct Line<'a> {
    address: &'a str,
    path: &'a Path,
    #[serde(flatten)]
    object: &'a Object,
}

impl Pull {
    /// What to ask for. A program that reads JSON gets a session token even where it had none yet.
    fn options(&self) -> ReadOptions {
        let fresh = || self.json.then(|| Session::default().to_string());
        ReadOptions {
            range: self.range,
            version: self.version,
            session: self.session.clone().or_else(fresh),
            ticket: None,
        }
    }

    pub(super) async fn run(&self, client: &Client) -> Result<()> {
        let to_stdout = self.dest.as_deref().is_some_and(|dest| dest.as_os_str() == "-");
        if to_stdout && (self.json || self.recursive) {
            return Err(Error::invalid(
                "stdout takes the bytes of one object; leave out --json and -r, or name a file",
            ));
        }
        if self.recursive {
            return self.folder(client).await;
        }
        let address: Address = self.address.parse()?;
        if to_stdout {
            return self.to_stdout(client, &address).await;
        }
        let mut options = self.options();
        match &self.dest {
            Some(dest) => self.to_file(client, &address, &mut options, dest).await,
            // The key's last part is checked as any name from elsewhere is.
            None => {
                let name = address.key().rsplit('/').next().unwrap_or_default();
                self.to_file(client, &address, &mut options, &files::inside(Path::new("."), name)?).await
            }
        }
    }

    async fn folder(&self, client: &Client) -> Result<()> {
        let target: Target = self.address.parse()?;
        let dest = self.dest.as_deref().unwrap_or(Path::new("."));
        let folder = target.folder();
        let mut options = self.options();
        let mut lister = client.list_all(&target.collection, &folder).in_session(options.session.clone());
        let (mut found, mut left_out) = (0u64, 0u64);
        while let Some(item) = lister.next().await? {
            let inside = item.key.strip_prefix(&folder).unwrap_or(&item.key);
            found += 1;
            match files::inside(dest, inside).and_then(|place| Landing::at(&place).map(|landing| (place, landing))) {
                Ok(place) => {
                    let address = Address::new(&target.collection, &item.key)?;
                    self.land(client, &address, &mut options, place).await?;
                }
                // A file cannot be a folder as well; the rest of the keys still come.
                Err(error) => {
                    left_out += 1;
                    eprintln!("left out {}: {}", out::plain(&item.key), out::plain(&error.to_string()));
                }
            }
        }
        let about = |error: Error| error.with("address", &self.address);
        match (found, left_out) {
            (0, _) => Err(about(Error::not_found("there is no key below this address"))),
            (_, 0) => Ok(()),
            (found, left_out) => {
                let why = "some keys have no place in a folder; pull each by itself and name its file";
                Err(about(Error::invalid(why).with("left_out", left_out).with("of", found)))
            }
        }
    }

    async fn to_stdout(&self, client: &Client, address: &Address) -> Result<()> {
        let mut pulled = client.pull_with(address, &self.options()).await?;
        while let Some(piece) = pulled.next().await {
            out::bytes(&piece?)?;
        }
        out::flush()
    }

    async fn to_file(&self, client: &Client, address: &Address, options: &mut ReadOptions, place: &Path) -> Result<()> {
        let landing = Landing::at(place)?;
        self.land(client, address, options, (place.to_owned(), landing)).await
    }

    async fn land(
        &self,
        client: &Client,
        address: &Address,
        options: &mut ReadOptions,
        (place, mut landing): (PathBuf, Landing),
    ) -> Result<()> {
        let mut pulled = client.pull_with(address, options).await?;
        let bar = progress::bar(Some(pulled.range.end - pulled.range.start), address.as_str());
        while let Some(piece) = pulled.next().await {
            let piece = piece?;
            landing.write(&piece)?;
            bar.inc(piece.len() as u64);
        }
        landing.finish()?;
        bar.finish_and_clear();
        if self.json {
            out::json(&Line { address: address.as_str(), path: &place, object: &pulled.object })?;
        }
        options.session = pulled.object.session.take().or_else(|| options.session.take());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_need_no_unit() {
        assert_eq!(range("0-99").unwrap(), range("bytes=0-99").unwrap());
        assert_eq!(range("-5").unwrap(), ByteRange::Last(5));
        assert!(range("9-1").is_err());
    }
}
