//! `serve`, `demo` and `simulate` as they are typed, and the configuration that the flags of `serve` give.

use std::path::PathBuf;

use clap::Args;

use super::config::sources;
use super::push::pair;
use crate::config::{Config, Fault, Origins};
use crate::error::{Error, Result};

/// `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Keep the folder of the demo and say where it is.
    #[arg(long)]
    pub keep: bool,
}

/// `simulate`.
#[derive(Clone, Copy, Debug, Args)]
#[command(after_help = "A hundred sites take some 3 GiB of memory and 2 GiB of the temporary folder.

Example:
  meshstore simulate --sites 20")]
pub struct Simulate {
    /// Sites, the hub's among them: 2 to 1000.
    #[arg(long, default_value_t = 10)]
    pub sites: usize,
    /// Objects that each site pushes.
    #[arg(long, default_value_t = 10)]
    pub objects: usize,
    /// Seconds in which nothing happens.
    #[arg(long, default_value_t = 10)]
    pub seconds: u64,
    /// JSON.
    #[arg(long)]
    pub json: bool,
}

/// `serve`.
#[derive(Debug, Args)]
#[command(
    after_help = "Once ready it prints one line with its addresses. `meshstore config reference` tells every key.

Examples:
  meshstore serve
  meshstore serve --data /srv/mesh --http 127.0.0.1:0 --json
  meshstore serve --config site.toml --set memory.budget_bytes=2GiB"
)]
pub struct Serve {
    /// Configuration file; flags and MESHSTORE__SECTION__KEY variables win over it.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Name of the site.
    #[arg(long)]
    pub site: Option<String>,
    /// Name of the container.
    #[arg(long, value_name = "CONTAINER")]
    pub name: Option<String>,
    /// Folder of the store.
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// File of the keyring.
    #[arg(long, value_name = "FILE")]
    pub keys: Option<String>,
    /// Address of the HTTP door; port 0 takes a free one.
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// The bus: auto, local (in process), or the URL of a NATS server.
    #[arg(long, value_name = "auto|local|URL")]
    pub bus: Option<String>,
    /// Where level 3 is: a folder, as a path or as file:///path; none switches it off.
    #[arg(long, value_name = "URL")]
    pub cloud: Option<String>,
    /// What this process does.
    #[arg(long, value_name = "ROLE", value_delimiter = ',', default_value = "container")]
    pub role: Vec<String>,
    /// Any key of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    pub settings: Vec<(String, String)>,
    /// The ready line as JSON.
    #[arg(long)]
    pub json: bool,
}

impl Serve {
    /// The configuration from file, environment and these flags and where its values were said, or all
    /// that is wrong with it.
    pub fn config(&self) -> Result<(Config, Origins)> {
        for role in &self.role {
            match role.as_str() {
                "container" => {}
                "endpoint" => {
                    return Err(Error::unimplemented("the endpoint role is not built yet; use --role container")
                        .with("role", role));
                }
                _ => return Err(Error::invalid("a role is container").with("role", role.escape_default())),
            }
        }
        let sources = sources(self.config.as_deref(), self.flags())?;
        let config = Config::load(&sources).map_err(|faults| Fault::combine(&faults))?;
        Ok((config, Config::origins(&sources)))
    }

    /// The flags as keys and values; a flag of its own wins over `--set`.
    fn flags(&self) -> Vec<(String, String)> {
        let named = [
            ("site.name", &self.site),
            ("container.name", &self.name),
            ("data.dir", &self.data),
            ("keys.file", &self.keys),
            ("http.addr", &self.http),
            ("bus.mode", &self.bus),
            ("cloud.url", &self.cloud),
        ];
        let named = named.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
        self.settings.iter().cloned().chain(named).collect()
    }
}
