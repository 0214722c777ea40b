//! What is on this host: options that name a configuration, or places in its stead.

use std::path::PathBuf;

use clap::Args;

use super::config::sources;
use super::push::pair;
use crate::config::{Config, Fault};
use crate::error::Result;

/// Where this host's container keeps its things.
#[derive(Clone, Debug, Args)]
pub(super) struct Here {
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
}

impl Here {
    /// Whether anything was said.
    pub(super) fn is_named(&self) -> bool {
        self.config.is_some() || self.data.is_some() || self.keys.is_some() || !self.settings.is_empty()
    }

    /// What it comes to with the environment and the defaults, or all that is wrong with it.
    pub(super) fn config(&self) -> Result<Config> {
        let flags = [("data.dir", &self.data), ("keys.file", &self.keys)];
        let flags = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        let flags = self.settings.iter().cloned().chain(flags).collect();
        let sources = sources(self.config.as_deref(), flags)?;
        Config::load(&sources).map_err(|faults| Fault::combine(&faults))
    }

    /// Where it was said, in a word.
    pub(super) fn source(&self) -> String {
        let file = self.config.as_ref().map(|path| path.display().to_string());
        file.unwrap_or_else(|| "defaults, variables and flags".to_owned())
    }
}
