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
            let certificates = Certificate::from_pem_bundle(pem).map_err(|_| no_certificate())?;
            if certificates.is_empty() {
                return Err(no_certificate());
            }
            builder.tls_certs_only(certificates)
        }
        (None, true) => builder,
        // What the host trusts takes a while to read, and is not needed.
        (None, false) => builder.tls_certs_only([]),
    })
}

/// Whether the certificate was refused, and not the connection beneath it.
pub(super) fn is_distrust(error: &reqwest::Error) -> bool {
    matches!(cause(error), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether what answered speaks something else than TLS.
pub(super) fn is_no_tls(error: &reqwest::Error) -> bool {
    matches!(cause(error), Some(rustls::Error::InvalidMessage(_)))
}

/// What TLS itself complained of, if it did.
fn cause<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(found) = error.downcast_ref() {
        return Some(found);
    }
    // What an I/O error wraps is not its source, but takes its place.
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.and_then(|wrapped| cause(wrapped)).or_else(|| error.source().and_then(cause))
}

/// What it means when the client cannot be set up: a bad authority's file shows here at the latest.
pub(super) fn not_set_up(error: reqwest::Error, ca: Option<&[u8]>) -> Error {
    if ca.is_some() { no_certificate() } else { Error::internal("cannot set up the HTTP client").because(error) }
}

fn no_certificate() -> Error {
    Error::invalid("the authority's file holds no certificate in PEM; name the file with --ca")
}
