//! The files of the door's certificate: read at the start, and again when they change or on SIGHUP.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use super::authority::apart;
use crate::config::TlsConfig;
use crate::error::{Error, Result};
use crate::gateway::Tls;
use crate::limits::TLS_LOOK_PERIOD;
use crate::private;

/// A chain of a dozen certificates is far smaller.
const PEM_BYTES_MAX: u64 = 256 << 10;

/// Where the certificate and its key are, and what they were when they were last read.
#[derive(Clone)]
pub(super) struct CertificateFiles {
    cert: PathBuf,
    key: PathBuf,
    seen: Option<Stamp>,
}

/// What changes of a file that is written anew, or of a link to it that is turned elsewhere.
type Stamp = [(u64, u64, i64, i64); 2];

/// The certificates of the authority by which other containers are trusted.
pub(super) fn authority(path: &Path) -> Result<Vec<u8>> {
    let pem = private::read_public(path, "the authority's certificate", PEM_BYTES_MAX)?.ok_or_else(|| {
        Error::invalid("there is no file of an authority's certificate").with("tls.ca", path.display())
    })?;
    // Told at the start, and not when the first object is read from elsewhere.
    crate::client::Client::trusting("https://localhost", None, Some(pem.as_bytes()))
        .map_err(|error| error.with("tls.ca", path.display()))?;
    Ok(pem.as_bytes().to_vec())
}

/// The certificate that the configuration names, if it names one.
pub(super) fn open(config: &TlsConfig) -> Result<Option<(Arc<Tls>, CertificateFiles)>> {
    let (Some(cert), Some(key)) = (&config.cert, &config.key) else { return Ok(None) };
    let mut files = CertificateFiles { cert: cert.clone(), key: key.clone(), seen: None };
    // Before the reading, so that a change in between is seen later.
    files.seen = files.stamp();
    let tls = files.read(Tls::new)?;
    Ok(Some((tls, files)))
}

/// Reads the files again whenever they change or SIGHUP asks for it. What cannot be used is said and
/// left: the certificate before it goes on.
pub(super) fn watch(tls: Arc<Tls>, mut files: CertificateFiles) -> Result<JoinHandle<()>> {
    let hangup = signal(SignalKind::hangup());
    let mut hangup = hangup.map_err(|error| Error::internal("cannot listen for signals").because(error))?;
    Ok(tokio::spawn(async move {
        loop {
            let told = tokio::select! {
                _ = hangup.recv() => true,
                () = tokio::time::sleep(TLS_LOOK_PERIOD) => false,
            };
            let (tls, mut now) = (Arc::clone(&tls), files.clone());
            let looked = apart(move || {
                now.seen = now.stamp();
                let outcome = (told || now.seen != files.seen).then(|| now.read(|chain, key| tls.replace(chain, key)));
                Ok((now, outcome))
            });
            let Ok((now, outcome)) = looked.await else { return };
            files = now;
            match outcome {
                None => {}
                Some(Ok(())) => tracing::info!(cert = %files.cert.display(), "read the certificate again"),
                Some(Err(error)) => tracing::error!(%error, "the certificate was not replaced; kept the one before"),
            }
        }
    }))
}

impl CertificateFiles {
    fn stamp(&self) -> Option<Stamp> {
        let of = |path: &Path| {
            let found = std::fs::metadata(path).ok()?;
            Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
        };
        Some([of(&self.cert)?, of(&self.key)?])
    }

    fn read<T>(&self, take: impl FnOnce(&[u8], &[u8]) -> Result<T>) -> Result<T> {
        let missing = |path: &Path, what: &str| {
            Error::invalid(format!("{what} is missing; name a file that is there")).with("path", path.display())
        };
        let chain = private::read_public(&self.cert, "the certificate", PEM_BYTES_MAX)?
            .ok_or_else(|| missing(&self.cert, "the certificate"))?;
        let key = private::read(&self.key, "the certificate's key", PEM_BYTES_MAX)?
            .ok_or_else(|| missing(&self.key, "the certificate's key"))?;
        take(chain.as_bytes(), key.as_bytes())
            .map_err(|error| error.with("cert", self.cert.display()).with("key", self.key.display()))
    }
}
