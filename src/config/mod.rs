//! The configuration of a container: file < environment < flag, checked in one pass that reports
//! every fault with its key and where it was said.
//!
//! Keys are declared in `keys.rs` and nowhere else; structs, loader and reference come from there.
//! Nothing here reads files or the process environment: the caller hands over a [`Sources`].

mod budget;
mod bus;
mod check;
mod declare;
mod fault;
mod gather;
mod keys;
mod mesh;
mod reference;
mod secret;
mod shape;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use budget::in_flight_bytes;
pub use bus::{BusMode, BusUrl, Receivers};
pub use declare::Key;
pub use fault::{Fault, Origin};
pub use keys::{
    AuthConfig, BusConfig, CloudConfig, Config, ContainerConfig, DataConfig, HttpConfig, KEYS, KeysConfig,
    LimitsConfig, LogConfig, MemoryConfig, MeshConfig, NfrConfig, SECTIONS, ScrubConfig, SiteConfig, StoreConfig,
    TelemetryConfig, TlsConfig,
};
pub use mesh::MeshInvitation;
pub use reference::{reference, reference_markdown};

/// What the name of every configuration variable begins with.
pub const VARIABLE_PREFIX: &str = "MESHSTORE__";

/// Names a NATS server to whatever speaks NATS; counts where nothing of ours names one.
pub const AGREED_BUS_VARIABLE: &str = "NATS_URL";

/// Everything a configuration is made from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file's path (for messages) and text, if there is one.
    pub file: Option<(PathBuf, String)>,
    /// The process environment; only variables with [`VARIABLE_PREFIX`], and [`AGREED_BUS_VARIABLE`], are looked at.
    pub env: Vec<(String, String)>,
    /// Key paths and values from the command line; a later one wins.
    pub flags: Vec<(String, String)>,
    /// What defaults are computed from.
    pub host: Host,
}

/// What is known of the machine and its user.
#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The user's home folder.
    pub home: Option<PathBuf>,
    /// `XDG_DATA_HOME`.
    pub data_home: Option<PathBuf>,
    /// Cores that this process may use.
    pub cores: usize,
}

impl Host {
    /// The default data folder; empty when there is no home to put it in.
    fn data_dir(&self) -> PathBuf {
        // A relative XDG_DATA_HOME is to be ignored, says its specification.
        let data_home = self.data_home.clone().filter(|path| path.is_absolute());
        let data_home = data_home.or_else(|| Some(self.home.clone()?.join(".local/share")));
        data_home.map(|path| path.join("meshstore")).unwrap_or_default()
    }
}

/// Where each key that was given got its value; the others have their defaults.
pub type Origins = BTreeMap<&'static str, Origin>;

impl Config {
    /// Where the keys that the sources give were said, as far as they can be understood.
    pub fn origins(sources: &Sources) -> Origins {
        let given = gather::gather(sources, &mut Vec::new());
        KEYS.iter().filter_map(|key| Some((key.path, given.get(key.path)?.1.clone()))).collect()
    }

    /// The configuration that the sources describe, or everything that is wrong with them.
    pub fn load(sources: &Sources) -> Result<Config, Vec<Fault>> {
        let mut faults = Vec::new();
        let given = gather::gather(sources, &mut faults);
        let config = Config::read(&sources.host, &mut declare::Reader { given: &given, faults: &mut faults });
        if let Some(config) = &config {
            check::check(config, &given, &mut faults);
        }
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests;
