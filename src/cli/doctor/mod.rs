//! `doctor`: what keeps a container from running well, and what to do about it.
//!
//! It looks at a container that answers and at the folder and files it works with (those of the
//! configuration where none answers). It changes nothing.

mod finding;
mod local;
mod remote;

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::config::sources;
use super::push::pair;
use super::{REMOTE_URL_DEFAULT, Remote, out};
use crate::config::{Config, Fault};
use crate::error::{Error, Result};
use finding::{Finding, Verdict};
use local::Places;

/// `doctor`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore doctor
  meshstore doctor --data /srv/mesh --keys /etc/meshstore/keys.toml
  meshstore doctor --url http://127.0.0.1:7701 --json")]
pub struct Doctor {
    /// Configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the store.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// File of the keyring.
    #[arg(long, value_name = "FILE")]
    keys: Option<String>,
    /// Any key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) async fn run(&self, remote: &Remote) -> Result<()> {
        let mut findings = Vec::new();
        let config = self.configuration(&mut findings);
        let running = remote::look(remote, remote.url != REMOTE_URL_DEFAULT, &mut findings).await;
        let named = self.config.is_some() || self.data.is_some() || self.keys.is_some() || !self.settings.is_empty();
        // The folder of a container on this host, unless another one was named.
        let places = running.as_ref().and_then(|running| running.places.clone()).filter(|_| !named);
        let places = places.or_else(|| config.as_ref().map(Places::of));
        match &places {
            Some(places) => local::look(places, running.as_ref().and_then(|running| running.pid), &mut findings),
            None => findings.push(Finding::skipped("data folder", "the configuration does not say where it is")),
        }
        self.tell(&findings)
    }

    fn configuration(&self, findings: &mut Vec<Finding>) -> Option<Config> {
        let flags = [("data.dir", &self.data), ("keys.file", &self.keys)];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let flags = self.settings.iter().cloned().chain(flags).collect();
        let loaded = sources(self.config.as_deref(), flags)
            .and_then(|sources| Config::load(&sources).map_err(|faults| Fault::combine(&faults)));
        match loaded {
            Ok(config) => {
                let from = self
                    .config
                    .as_ref()
                    .map_or("defaults, variables and flags".to_owned(), |path| path.display().to_string());
                findings.push(Finding::good("configuration", format!("it is valid ({from})")));
                Some(config)
            }
            Err(error) => {
                findings.push(Finding::bad(
                    "configuration",
                    error.to_string(),
                    "mend what is named; `meshstore config reference` explains every key",
                ));
                None
            }
        }
    }

    fn tell(&self, findings: &[Finding]) -> Result<()> {
        if self.json {
            out::json(&json!({ "findings": findings }))?;
        } else {
            findings.iter().try_for_each(|finding| out::line(&finding.text()))?;
        }
        match findings.iter().filter(|finding| finding.verdict == Verdict::Bad).count() {
            0 => Ok(()),
            bad => {
                Err(Error::unavailable("a container cannot run well like this; do what is said above").with("bad", bad))
            }
        }
    }
}
