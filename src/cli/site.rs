//! `site`: the containers of a site, and the file that the first one of a new site starts from.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};

use clap::{Args, Subcommand};

use super::config::{quoted, sources};
use super::table::{self, Cell, Column};
use super::{Remote, admin, files, out};
use crate::config::{Config, Fault, Sources};
use crate::control::KeyFile;
use crate::error::{Error, Kind, Result};
use crate::model::Name;
use crate::nfr::SystemRng;

/// `site …`.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Write the configuration of the first container of a site, and make the site's keyring.
    Init(Init),
    /// List the containers of the site.
    Ls(List),
}

/// `site init NAME`.
#[derive(Debug, Args)]
#[command(
    after_help = "Nothing that is there is changed: a configuration is not written over, a keyring is used as it is.

Examples:
  meshstore site init edge
  meshstore site init edge --config /etc/mesh/site.toml --keys /etc/mesh/keys.toml --bus nats://hub:4222"
)]
pub struct Init {
    /// The site: lower-case letters, digits and hyphens.
    site: Name,
    /// The container's name in it.
    #[arg(long, value_name = "CONTAINER", default_value = "c1")]
    name: Name,
    /// The file to write.
    #[arg(long, value_name = "FILE", default_value = "site.toml")]
    config: PathBuf,
    /// Folder of the store; `data` beside the file if nothing is said.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The site's keyring, made if it is missing; `keys.toml` beside the file if nothing is said.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The NATS server of the site.
    #[arg(long, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    bus: String,
}

/// `site ls`.
#[derive(Debug, Args)]
pub struct List {
    /// One line of JSON a container.
    #[arg(long)]
    json: bool,
}

const CONTAINERS: [Column; 7] = [
    ("CONTAINER", "name", Cell::Text),
    ("HERE", "here", Cell::Text),
    ("ALIVE", "alive", Cell::Text),
    ("TAKES CHANGES", "takes_changes", Cell::Text),
    ("FILL", "load.utilisation", Cell::Percent),
    ("VERSION", "version", Cell::Text),
    ("URL", "url", Cell::Text),
];

impl SiteCommand {
    pub(super) async fn run(&self, remote: &Remote) -> Result<()> {
        match self {
            SiteCommand::Init(init) => init.run(),
            SiteCommand::Ls(list) => {
                let told = remote.client()?.admin("containers").await?;
                let containers = admin::items(&told, "containers")?;
                match list.json {
                    true => containers.iter().try_for_each(out::json),
                    false => table::print(&CONTAINERS, containers),
                }
            }
        }
    }
}

impl Init {
    fn run(&self) -> Result<()> {
        let whole = |path: &Path| absolute(path).map_err(|error| files::failed("find this place", path, error));
        let file = whole(&self.config)?;
        let beside = |name: &str| file.with_file_name(name);
        let data = whole(&self.data.clone().unwrap_or_else(|| beside("data")))?;
        let keys = whole(&self.keys.clone().unwrap_or_else(|| beside("keys.toml")))?;
        let text = self.text(&data, &keys)?;
        // Looked at before anything is made; the file itself is made only where there is none.
        if file.exists() {
            return Err(taken(&file));
        }
        let given = Sources { file: Some((file.clone(), text.clone())), env: Vec::new(), ..sources(None, Vec::new())? };
        Config::load(&given).map_err(|faults| Fault::combine(&faults))?;
        let found = keys.exists();
        KeyFile::at(&keys).load_or_make(&SystemRng, false)?;
        write(&file, &text)?;
        out::line(&format!("wrote {}", file.display()))?;
        out::line(&match found {
            true => format!("it names the keyring that is there: {}", keys.display()),
            false => format!(
                "made the keyring {}: every container of the site needs it, and without it nothing sealed can be read",
                keys.display()
            ),
        })?;
        out::line(&format!("next: meshstore serve --config {}", file.display()))
    }

    fn text(&self, data: &Path, keys: &Path) -> Result<String> {
        let path = |path: &Path| {
            let text = path.to_str().ok_or_else(|| {
                Error::invalid("a configuration holds UTF-8 alone; choose another path").with("path", path.display())
            });
            text.map(quoted)
        };
        let (site, name, bus) = (quoted(self.site.as_str()), quoted(self.name.as_str()), quoted(&self.bus));
        let (data, keys) = (path(data)?, path(keys)?);
        Ok(format!(
            "# A container of a site. `meshstore config reference` explains every key, `meshstore config check` this file.

[site]
# Containers of one name here, on one bus and with one keyring are one pool.
name = {site}

[container]
# Unique in the site. Another container on this host takes this file too, with a name, a folder and a door of its own:
# meshstore serve --config FILE --name c2 --data DIR --http 127.0.0.1:7702
name = {name}

[data]
# The store of this container alone.
dir = {data}

[keys]
# The keyring of the site: copy it to each host as it is, readable by its owner alone. Without it nothing that was
# sealed can be read again.
file = {keys}

[http]
# Beyond loopback the door wants tls.cert and tls.key, or plaintext = true, and each request a token.
addr = \"127.0.0.1:7700\"
# Where the containers of other hosts reach this door, where that is not the address above.
# public_url = \"https://this-host:7700\"

[bus]
# The NATS server of the site, 2.12 or later and with JetStream: nats-server -js -a 127.0.0.1
mode = {bus}
"
        ))
    }
}

fn taken(file: &Path) -> Error {
    let why = "there is a file of this name already; remove it or name another one with --config";
    Error::new(Kind::AlreadyExists, why).with("path", file.display())
}

/// Readable by its owner alone: the URL of a bus may hold a password.
fn write(file: &Path, text: &str) -> Result<()> {
    let failed = |error| files::failed("write the configuration", file, error);
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => taken(file),
        _ => failed(error),
    })?;
    made.write_all(text.as_bytes()).and_then(|()| made.sync_all()).map_err(failed)
}
