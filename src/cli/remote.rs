//! Where the container is and with which token it is asked: what every command that talks to one needs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;

use super::files;
use crate::client::Client;
use crate::error::{Error, Result};

/// Variable of the token; never a flag, which every user of the host could read.
const TOKEN_VARIABLE: &str = "MESHSTORE_TOKEN";

/// Variable of the path of a file that holds the token.
const TOKEN_FILE_VARIABLE: &str = "MESHSTORE_TOKEN_FILE";

/// Where the container is.
#[derive(Clone, Debug, Args)]
pub struct Remote {
    /// URL of the container.
    #[arg(long, global = true, env = "MESHSTORE_URL", default_value = "http://127.0.0.1:7700", value_name = "URL")]
    pub url: String,
    /// File that holds the token; else MESHSTORE_TOKEN holds it or MESHSTORE_TOKEN_FILE names its file.
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates in PEM of the authority to trust for https; else what the host trusts.
    #[arg(long, global = true, env = "MESHSTORE_CA", value_name = "FILE")]
    pub ca: Option<PathBuf>,
}

impl Remote {
    pub(super) fn client(&self) -> Result<Client> {
        let ca = self.ca.as_deref().map(|path| {
            std::fs::read(path).map_err(|error| files::failed("read the authority's certificate", path, error))
        });
        Client::trusting(&self.url, self.token()?, ca.transpose()?.as_deref())
    }

    fn token(&self) -> Result<Option<String>> {
        if let Some(path) = &self.token_file {
            return read(path).map(Some);
        }
        match std::env::var(TOKEN_VARIABLE) {
            Ok(token) if !token.is_empty() => return Ok(Some(token)),
            Ok(_) | Err(std::env::VarError::NotPresent) => {}
            Err(std::env::VarError::NotUnicode(_)) => return Err(Error::invalid("MESHSTORE_TOKEN is not text")),
        }
        let path = std::env::var_os(TOKEN_FILE_VARIABLE).filter(|path| !path.is_empty());
        path.map(|path: OsString| read(Path::new(&path))).transpose()
    }
}

fn read(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| files::failed("read the token", path, error))?;
    match text.trim() {
        "" => Err(Error::invalid("the token's file is empty").with("path", path.display())),
        token => Ok(token.to_owned()),
    }
}
