//! `site init` and `site join`: what a new site's first container and its NATS server start from.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf, absolute};

use clap::Args;
use zeroize::Zeroizing;

use super::invitation::{HubAddr, Invitation};
use super::server::{Link, Server};
use crate::cli::config::{quoted, sources};
use crate::cli::{files, out};
use crate::config::{BusUrl, Config, Fault, MeshInvitation, Sources};
use crate::control::KeyFile;
use crate::error::{Error, Kind, Result};
use crate::model::Name;
use crate::nfr::SystemRng;

/// `site init NAME`.
#[derive(Debug, Args)]
#[command(after_help = "Nothing that is there is changed: no file is written over, a keyring is used as it is.

Examples:
  meshstore site init edge
  meshstore site init edge --config /etc/mesh/site.toml --keys /etc/mesh/keys.toml --bus nats://hub:4222
  meshstore site init cloud --hub cloud.example:7422")]
pub struct Init {
    /// The site: lower-case letters, digits and hyphens.
    site: Name,
    #[command(flatten)]
    first: First,
    /// The site is a hub, whose NATS server those of other sites dial at this address; an invitation is written.
    #[arg(long, value_name = "HOST[:PORT]")]
    hub: Option<HubAddr>,
}

/// `site join NAME --invite FILE`.
#[derive(Debug, Args)]
#[command(
    after_help = "The site has a keyring, tokens and users of its own; its NATS server dials the hub's, and carries subjects there and back.

Example:
  meshstore site join edge --invite invite.toml"
)]
pub struct Join {
    /// The site: lower-case letters, digits and hyphens; no other site of the mesh has this name.
    site: Name,
    #[command(flatten)]
    first: First,
    /// The hub's invitation, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    invite: PathBuf,
}

/// The first container of a site, and where its files go.
#[derive(Debug, Args)]
struct First {
    /// The container's name in it.
    #[arg(long, value_name = "CONTAINER", default_value = "c1")]
    name: Name,
    /// The file to write; `nats.conf` and a hub's `invite.toml` go beside it.
    #[arg(long, value_name = "FILE", default_value = "site.toml")]
    config: PathBuf,
    /// Folder of the store; `data` beside the file if nothing is said.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The site's keyring, made if it is missing; `keys.toml` beside the file if nothing is said.
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
    /// The NATS server of the site, which gets a configuration and a user; one whose URL says how it is opened
    /// (nats://USER:PASSWORD@HOST:PORT, or tls://) is somebody's already, and gets none.
    #[arg(long, value_name = "URL", default_value = "nats://127.0.0.1:4222")]
    bus: String,
    /// Folder in which that server keeps the site's log; `jetstream` beside the file if nothing is said.
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

impl Init {
    pub(super) fn run(&self) -> Result<()> {
        let link = match &self.hub {
            Some(addr) => Link::Hub(Invitation::to(&self.site, addr, &SystemRng)),
            None => Link::Alone,
        };
        self.first.begin(&self.site, &link)
    }
}

impl Join {
    pub(super) fn run(&self) -> Result<()> {
        let invitation = Invitation::read(&self.invite)?;
        if invitation.site == self.site {
            let why = "this is the name of the hub; two sites of one name would take each other's requests";
            return Err(Error::new(Kind::AlreadyExists, why).with("site", &self.site));
        }
        self.first.begin(&self.site, &Link::Leaf(invitation))
    }
}

/// A file that holds a secret, and what it is.
type Made = (PathBuf, &'static str, Zeroizing<String>);

impl First {
    fn begin(&self, site: &Name, link: &Link) -> Result<()> {
        let whole = |path: &Path| absolute(path).map_err(|error| files::failed("find this place", path, error));
        let file = whole(&self.config)?;
        let beside = |name: &str| file.with_file_name(name);
        let data = whole(&self.data.clone().unwrap_or_else(|| beside("data")))?;
        let keys = whole(&self.keys.clone().unwrap_or_else(|| beside("keys.toml")))?;
        let store = whole(&self.store.clone().unwrap_or_else(|| beside("jetstream")))?;
        let bus: BusUrl = self.bus.parse()?;
        let server = Server::of(&bus, &SystemRng);
        let mut made: Vec<Made> = Vec::new();
        match &server {
            Some(server) => {
                let text = server.text(site, &store, link)?;
                made.push((beside("nats.conf"), "the configuration of the site's NATS server", text));
            }
            None if matches!(link, Link::Alone) => {}
            None => {
                let why = "to link sites the NATS server's own configuration is written; name a server that has none yet, as nats://HOST:PORT";
                return Err(Error::invalid(why).with("bus", bus.host()));
            }
        }
        let bus = server.map_or(bus, |server| server.url());
        let mesh = match link {
            Link::Leaf(invitation) => invitation.mesh.as_ref(),
            Link::Hub(_) | Link::Alone => None,
        };
        let text = self.text(site, &bus, (&data, &keys), mesh)?;
        let given =
            Sources { file: Some((file.clone(), text.to_string())), env: Vec::new(), ..sources(None, Vec::new())? };
        Config::load(&given).map_err(|faults| Fault::combine(&faults))?;
        let invite = matches!(link, Link::Hub(_)).then(|| beside("invite.toml"));
        // Looked at before anything is made; each file itself is made only where there is none.
        let paths = made.iter().map(|(path, ..)| path).chain(&invite).chain([&file]);
        if let Some(there) = paths.into_iter().find(|path| path.exists()) {
            return Err(taken(there));
        }
        let found = keys.exists();
        let ring = KeyFile::at(&keys).load_or_make(&SystemRng, false)?;
        if let (Link::Hub(invitation), Some(path)) = (link, invite) {
            let identity = ring.identity()?;
            let mesh = MeshInvitation { site: site.clone(), keys: identity.keys(), word: identity.invitation() };
            made.push((path, "the invitation for the sites that join", invitation.text(&mesh)));
        }
        made.push((file.clone(), "the configuration of a container", text));
        for (path, what, text) in &made {
            write(path, text)?;
            out::line(&format!("wrote {}: {what}", path.display()))?;
        }
        out::line(&match found {
            true => format!("it names the keyring that is there: {}", keys.display()),
            false => format!(
                "made the keyring {}: every container of the site needs it, and without it nothing sealed can be read",
                keys.display()
            ),
        })?;
        if made.len() > 1 {
            out::line(&format!("first: nats-server -c {}", beside("nats.conf").display()))?;
        }
        out::line(&format!("next: meshstore serve --config {}", file.display()))
    }

    fn text(
        &self,
        site: &Name,
        bus: &BusUrl,
        (data, keys): (&Path, &Path),
        mesh: Option<&MeshInvitation>,
    ) -> Result<Zeroizing<String>> {
        let path = |path: &Path| {
            let text = path.to_str().ok_or_else(|| {
                Error::invalid("a configuration holds UTF-8 alone; choose another path").with("path", path.display())
            });
            text.map(quoted)
        };
        let (site, name, bus) = (quoted(site.as_str()), quoted(self.name.as_str()), quoted(bus.expose()));
        let (data, keys) = (path(data)?, path(keys)?);
        let mesh = Zeroizing::new(mesh.map_or(String::new(), mesh_text));
        Ok(Zeroizing::new(format!(
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
# The NATS server of the site, 2.12 or later and with JetStream, and what opens it.
mode = {bus}
{}",
            *mesh
        )))
    }
}

/// How the site enters the mesh.
fn mesh_text(mesh: &MeshInvitation) -> String {
    format!(
        "
[mesh]
# What the hub `{}` lets this site in by.
invitation_secret = {}
",
        mesh.site,
        quoted(&mesh.expose())
    )
}

fn taken(file: &Path) -> Error {
    let why = "there is a file of this name already; remove it, or name another file or folder with --config";
    Error::new(Kind::AlreadyExists, why).with("path", file.display())
}

/// Readable by its owner alone: each holds a password.
fn write(file: &Path, text: &str) -> Result<()> {
    let failed = |error| files::failed("write this file", file, error);
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
