//! `doctor`: what keeps a container from running well, and what to do about it.
//!
//! It looks at a container that answers and at the folder and files it works with (those of the
//! configuration where none answers). It changes nothing.

mod finding;
mod local;
mod remote;

use clap::Args;
use serde_json::json;

use super::here::Here;
use super::{REMOTE_URL_DEFAULT, Remote, out};
use crate::config::Config;
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
    #[command(flatten)]
    here: Here,
    /// One JSON document.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) async fn run(&self, remote: &Remote) -> Result<()> {
        let mut findings = Vec::new();
        let config = self.configuration(&mut findings);
        let running = remote::look(remote, remote.url != REMOTE_URL_DEFAULT, &mut findings).await;
        // The folder of a container on this host, unless another one was named.
        let places = running.as_ref().and_then(|running| running.places.clone()).filter(|_| !self.here.is_named());
        let places = places.or_else(|| config.as_ref().map(Places::of));
        match &places {
            Some(places) => local::look(places, running.as_ref().and_then(|running| running.pid), &mut findings),
            None => findings.push(Finding::skipped("data folder", "the configuration does not say where it is")),
        }
        self.tell(&findings)
    }

    fn configuration(&self, findings: &mut Vec<Finding>) -> Option<Config> {
        match self.here.config() {
            Ok(config) => {
                let from = self.here.source();
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
