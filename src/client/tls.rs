//! Whom the client trusts: one authority's file, or what the host trusts.

use reqwest::{Certificate, ClientBuilder};
use rustls::crypto::aws_lc_rs as engine;

use crate::error::{Error, Result};

/// Sets up what the scheme needs. With `ca`, certificates in PEM, no other authority is trusted.
pub(super) fn prepare(builder: ClientBuilder, https: bool, ca: Option<&[u8]>) -> Result<ClientBuilder> {
    // One engine for all of the process; it is the same one whoever comes first.
    let _ = engine::default_provider().install_default();
    Ok(match (ca, https) {
        (Some(pem), _) => {
            let bad = || Error::invalid("the authority's file holds no certificate in PEM; name the file with --ca");
            let certificates = Certificate::from_pem_bundle(pem).map_err(|_| bad())?;
            if certificates.is_empty() {
                return Err(bad());
            }
            builder.tls_certs_only(certificates)
        }
        (None, true) => builder,
        // What the host trusts takes a while to read, and is not needed.
        (None, false) => builder.tls_certs_only([]),
    })
}

/// Whether TLS failed, and not the connection beneath.
pub(super) fn is_distrust(error: &reqwest::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let certificate = |error: &rustls::Error| matches!(error, rustls::Error::InvalidCertificate(_));
        if inner.and_then(|inner| inner.downcast_ref()).is_some_and(certificate)
            || error.downcast_ref().is_some_and(certificate)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
