//! `site`: the files that the first container of a new site starts from, and the containers of a site.
//!
//! `begin.rs` makes the files, `server.rs` says what is in the NATS server's, `invitation.rs` what a hub hands to the
//! sites that join it.

mod begin;
mod invitation;
mod server;

use clap::{Args, Subcommand};

use super::table::{self, Cell, Column};
use super::{Remote, admin, out};
use crate::error::Result;
use begin::{Init, Join};

/// `site …`.
#[derive(Debug, Subcommand)]
pub enum SiteCommand {
    /// Write the configuration of a new site's first container and of its NATS server, and make the site's keyring.
    Init(Init),
    /// The same for a site whose NATS server dials a hub's, by the invitation that the hub made.
    Join(Join),
    /// List the containers of the site.
    Ls(List),
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
            SiteCommand::Join(join) => join.run(),
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
