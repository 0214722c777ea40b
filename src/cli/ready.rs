//! `ready`: whether a container, or the NATS server of a site, takes requests.
//!
//! It is the health check of images that hold no shell and no other program to ask with.

use std::time::Duration;

use clap::Args;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Remote, out};
use crate::config::BusUrl;
use crate::error::{Error, Result};

/// How long an answer may take.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// What a NATS server begins to speak with, once its clients may come.
const GREETING: &[u8] = b"INFO ";
/// The port of NATS servers where a URL names none.
const NATS_PORT: u16 = 4222;

/// `ready [--nats URL]`.
#[derive(Debug, Args)]
#[command(after_help = "It needs no token. Whoever is not ready shows in the exit code, which is then not 0.

Examples:
  meshstore ready
  meshstore ready --nats nats://127.0.0.1:4222")]
pub struct Ready {
    /// Ask this NATS server in place of a container; it greets whoever connects.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
}

impl Ready {
    pub(super) async fn run(&self, remote: &Remote) -> Result<()> {
        let asked = async {
            match &self.nats {
                Some(url) => greeted(&url.parse()?).await,
                None => remote.client()?.ready().await,
            }
        };
        let late = |_| Error::deadline("no answer came in time").with("seconds", ANSWER_MAX.as_secs());
        timeout(ANSWER_MAX, asked).await.map_err(late)??;
        out::line("ready")
    }
}

async fn greeted(server: &BusUrl) -> Result<()> {
    let place = format!("{}:{}", server.host(), server.port().unwrap_or(NATS_PORT));
    let away = |error| Error::unavailable("no NATS server answers").with("at", &place).because(error);
    let mut stream = TcpStream::connect(&place).await.map_err(away)?;
    let mut said = [0; GREETING.len()];
    stream.read_exact(&mut said).await.map_err(away)?;
    match said == GREETING {
        true => Ok(()),
        false => Err(Error::unavailable("what answers is no NATS server").with("at", &place)),
    }
}
