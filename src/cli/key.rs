//! `key`: the keys that wrap the data keys of objects.
//!
//! `ls`, `create` and `rotate` are asked of a container; `export` and `import` work on the keyring's file of
//! this host, because a key itself never goes through a door.

use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::here::Here;
use super::table::{self, Cell, Column};
use super::{Remote, files, out};
use crate::client::Client;
use crate::control::{Imported, KeyFile};
use crate::error::{Error, Result};
use crate::limits::KEYS_FILE_BYTES_MAX;
use crate::model::KeyId;
use crate::nfr::{self, SystemRng};
use crate::private;

/// Variable of the passphrase; never a flag, which every user of the host could read.
const PASSPHRASE_VARIABLE: &str = "MESHSTORE_PASSPHRASE";
const PASSPHRASE_BYTES_MAX: u64 = 4096;
/// How often a rewrap is looked at that is waited for.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// `key …`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List the keys by id, and how far a rotation is.
    Ls(List),
    /// Make a key, to be shared out before it is used.
    Create(Create),
    /// Let another key wrap the data keys; no sealed byte is touched.
    Rotate(Rotate),
    /// Save the keyring under a passphrase.
    Export(Export),
    /// Bring the keys of an export back into the keyring.
    Import(Import),
}

/// `key ls`.
#[derive(Debug, Args)]
pub struct List {
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `key create`.
#[derive(Debug, Args)]
pub struct Create {
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `key rotate`.
#[derive(Debug, Args)]
#[command(after_help = "Old keys stay in the keyring: copies elsewhere may still need them.

Examples:
  meshstore key rotate --wait
  meshstore key create && meshstore key rotate --to 8f3a90c2d17be604")]
pub struct Rotate {
    /// The key that is to wrap, as `key ls` shows it; without it a new one is made.
    // Read here and not by the parser, which would repeat a secret that was given in its place.
    #[arg(long, value_name = "ID")]
    to: Option<String>,
    /// Wait until every data key is wrapped anew.
    #[arg(long)]
    wait: bool,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

/// `key export FILE`.
#[derive(Debug, Args)]
#[command(after_help = "The passphrase is asked for, or MESHSTORE_PASSPHRASE holds it.

Examples:
  meshstore key export /media/safe/meshstore.keys
  meshstore key export --keys /etc/meshstore/keys.toml --passphrase-file /run/secrets/pass backup.keys")]
pub struct Export {
    /// Where to write it, or - for stdout; a file that is there is not overwritten.
    file: PathBuf,
    /// File that holds the passphrase.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    here: Here,
}

/// `key import FILE`.
#[derive(Debug, Args)]
#[command(after_help = "The passphrase is asked for, or MESHSTORE_PASSPHRASE holds it. A running container
reads its keyring again by itself. The key that wraps stays the same, unless there was no keyring.

Example:
  meshstore key import --keys /etc/meshstore/keys.toml backup.keys")]
pub struct Import {
    /// The export.
    file: PathBuf,
    /// File that holds the passphrase.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    #[command(flatten)]
    here: Here,
}

const COLUMNS: [Column; 2] = [("ID", "id", Cell::Text), ("STATE", "state", Cell::Text)];

impl KeyCommand {
    pub(super) async fn run(&self, remote: &Remote) -> Result<()> {
        match self {
            KeyCommand::Ls(list) => show(&remote.client()?.admin("keys").await?, list.json),
            KeyCommand::Create(create) => {
                let told = remote.client()?.admin_do("keys", &json!({})).await?;
                if create.json {
                    return out::json(&told);
                }
                let made = told.get("keys").and_then(Value::as_array).and_then(|keys| keys.last()?.get("id")?.as_str());
                out::line(made.ok_or_else(|| Error::internal("the container made a key and did not tell its id"))?)?;
                tell_of_exports();
                Ok(())
            }
            KeyCommand::Rotate(rotate) => rotate.run(&remote.client()?).await,
            KeyCommand::Export(export) => export.run(),
            KeyCommand::Import(import) => import.run(),
        }
    }
}

/// Not on stdout, where a script looks for the id.
fn tell_of_exports() {
    eprintln!("an export made before does not hold the new key; make another one with `meshstore key export`");
}

fn show(told: &Value, json: bool) -> Result<()> {
    if json {
        return out::json(told);
    }
    table::print(&COLUMNS, told.get("keys").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default())?;
    // That of a key before is history: the one of the active key has not begun yet.
    let current = |rewrap: &&Value| rewrap.get("key").and_then(Value::as_str) == active(told).as_deref();
    let Some(rewrap) = told.get("rewrap").filter(|rewrap| !rewrap.is_null()).filter(current) else { return Ok(()) };
    let text = |name: &str| rewrap.get(name).and_then(Value::as_str).unwrap_or("?");
    let number = |name: &str| rewrap.get(name).and_then(Value::as_u64).unwrap_or_default();
    let (done, failed, key) = (number("rewrapped"), number("failed"), text("key"));
    out::line(&if is_running(told) {
        format!("data keys are being wrapped anew by {key}: {done} so far")
    } else {
        let done = out::count(done, "data key was", "data keys were");
        format!("{done} wrapped anew by {key}, until {}", text("ended"))
    })?;
    if failed > 0 {
        out::line(&format!("{failed} could not be, the last one: {}", text("last_error")))?;
    }
    Ok(())
}

fn active(told: &Value) -> Option<String> {
    let keys = told.get("keys").and_then(Value::as_array)?;
    let active = keys.iter().find(|key| key.get("state").and_then(Value::as_str) == Some("active"))?;
    Some(active.get("id")?.as_str()?.to_owned())
}

fn is_running(told: &Value) -> bool {
    told.pointer("/rewrap/running").and_then(Value::as_bool).unwrap_or_default()
}

impl Rotate {
    async fn run(&self, client: &Client) -> Result<()> {
        let to = self.to.as_deref().map(str::parse::<KeyId>).transpose()?;
        let asked = to.map_or_else(|| json!({}), |to| json!({ "to": to.to_string() }));
        let before = client.admin("keys").await?;
        let already = to.map(|to| to.to_string()).filter(|to| active(&before).as_ref() == Some(to));
        let mut told = match &already {
            Some(key) => {
                eprintln!("{key} is the active key already; nothing was changed");
                before
            }
            None => client.admin_do("keys/rotate", &asked).await?,
        };
        // A lone key that was active already wraps everything, and there never was a rewrap to wait for.
        let begun = already.is_none() || told.get("rewrap").is_some_and(|rewrap| !rewrap.is_null());
        if self.wait && begun {
            let wanted = active(&told);
            // The rewrap of this key may not have begun yet, and somebody may rotate again meanwhile.
            while active(&told) == wanted
                && (is_running(&told) || told.pointer("/rewrap/key").and_then(Value::as_str) != wanted.as_deref())
            {
                tokio::time::sleep(LOOK_PERIOD).await;
                told = client.admin("keys").await?;
            }
        }
        show(&told, self.json)?;
        if to.is_none() && !self.json {
            tell_of_exports();
        }
        Ok(())
    }
}

impl Export {
    fn run(&self) -> Result<()> {
        let file = KeyFile::at(self.here.config()?.keys.file);
        let ring = file.read()?.ok_or_else(|| {
            Error::not_found("there is no keyring here; name its file with --keys").with("path", file.path().display())
        })?;
        let passphrase = passphrase(self.passphrase_file.as_deref(), true)?;
        let text = nfr::export(&ring, &passphrase, &SystemRng)?;
        if self.file == Path::new("-") {
            return out::text(&text);
        }
        write_new(&self.file, &text).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Error::new(crate::error::Kind::AlreadyExists, "this file is there already; name another one")
                    .with("path", self.file.display())
            }
            _ => files::failed("write the export", &self.file, error),
        })?;
        let keys = out::count(ring.ids().len() as u64, "key", "keys");
        out::line(&format!("{keys}; keep the passphrase apart from the file"))
    }
}

impl Import {
    fn run(&self) -> Result<()> {
        let text = private::read_public(&self.file, "the export", 4 * KEYS_FILE_BYTES_MAX)?;
        let text = text.ok_or_else(|| Error::not_found("there is no such file").with("path", self.file.display()))?;
        let passphrase = passphrase(self.passphrase_file.as_deref(), false)?;
        let ring = nfr::import(&text, &passphrase).map_err(|error| error.with("path", self.file.display()))?;
        let (all, file) = (ring.ids().len(), KeyFile::at(self.here.config()?.keys.file));
        let Imported { new, active, exported } = file.import(ring)?;
        out::line(&format!("{new} of {all} keys are new in {}; the active key is {active}", file.path().display()))?;
        if exported == active {
            return Ok(());
        }
        out::line(&format!(
            "the export's active key is {exported}; `meshstore key rotate --to {exported}` takes it up again"
        ))
    }
}

fn write_new(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// From its file, from the environment, or typed unseen; twice where a slip would make it useless.
fn passphrase(file: Option<&Path>, twice: bool) -> Result<Zeroizing<String>> {
    let line = |text: &str| Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned());
    if let Some(path) = file {
        let found = private::read_public(path, "the passphrase", PASSPHRASE_BYTES_MAX)?;
        let found = found.ok_or_else(|| Error::not_found("there is no such file").with("path", path.display()))?;
        return Ok(line(&found));
    }
    match std::env::var(PASSPHRASE_VARIABLE).map(Zeroizing::new) {
        Ok(found) if !found.is_empty() => return Ok(found),
        Err(std::env::VarError::NotUnicode(_)) => return Err(Error::invalid("MESHSTORE_PASSPHRASE is not text")),
        _ => {}
    }
    if !std::io::stdin().is_terminal() {
        let why = "a passphrase is needed; name its file with --passphrase-file or set MESHSTORE_PASSPHRASE";
        return Err(Error::invalid(why));
    }
    let ask = |prompt: &str| {
        let typed = rpassword::prompt_password(prompt).map(Zeroizing::new);
        typed.map_err(|error| Error::invalid("the passphrase cannot be read").because(error))
    };
    let typed = ask("Passphrase: ")?;
    if twice && *ask("Once more: ")? != *typed {
        return Err(Error::invalid("the two passphrases are not the same"));
    }
    Ok(typed)
}
