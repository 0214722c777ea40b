//! TLS for the door: a certificate that can be replaced while connections are open.
//!
//! It is asked for at each handshake: a new one counts for new connections, and those that are open go
//! on undisturbed. Where its files are and when they are read again is `node/`'s business.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs as engine;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::error::{Error, Result};

/// The certificate that the door shows.
pub struct Tls(RwLock<Arc<CertifiedKey>>);

impl Tls {
    /// With this chain, the door's own certificate first, and its private key; both in PEM.
    pub fn new(chain: &[u8], key: &[u8]) -> Result<Arc<Self>> {
        Ok(Arc::new(Tls(RwLock::new(certified(chain, key)?))))
    }

    /// From now on shows another one; after an error still the one before.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<()> {
        let next = certified(chain, key)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// How the door's connections speak: TLS 1.3 and 1.2.
    pub(super) fn config(self: &Arc<Self>) -> Result<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(Arc::new(engine::default_provider()));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| Error::internal("cannot set up TLS").because(error))?;
        Ok(builder.with_no_client_auth().with_cert_resolver(Arc::clone(self) as _))
    }
}

impl ResolvesServerCert for Tls {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls(…)")
    }
}

/// No error says anything of what a key's file holds.
fn certified(chain: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>> {
    let none = || Error::invalid("the certificate's file holds no certificate in PEM; name the chain's file");
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_slice_iter(chain).collect::<Result<_, _>>().map_err(|_| none())?;
    if chain.is_empty() {
        return Err(none());
    }
    let key = PrivateKeyDer::from_pem_slice(key)
        .map_err(|_| Error::invalid("the key's file holds no private key in PEM; name the key's file"))?;
    let certified = CertifiedKey::from_der(chain, key, &engine::default_provider());
    let certified = certified.map_err(|error| {
        Error::invalid("the certificate and the key cannot be used together; name files of one pair").because(error)
    })?;
    if certified.cert.first().is_some_and(|own| is_authority(own)) {
        tracing::warn!(
            "the door's own certificate is that of an authority (CA:TRUE), which clients refuse; make one with `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE`"
        );
    }
    Ok(Arc::new(certified))
}

/// Whether a certificate says of itself that it is an authority's: its basic constraints begin with TRUE.
fn is_authority(certificate: &[u8]) -> bool {
    const BASIC_CONSTRAINTS: [u8; 5] = [0x06, 0x03, 0x55, 0x1d, 0x13];
    const CRITICAL: [u8; 3] = [0x01, 0x01, 0xff];
    let at = certificate.windows(BASIC_CONSTRAINTS.len()).position(|window| window == BASIC_CONSTRAINTS);
    let rest = at.and_then(|at| certificate.get(at + BASIC_CONSTRAINTS.len()..)).unwrap_or_default();
    matches!(rest.strip_prefix(&CRITICAL).unwrap_or(rest), [0x04, _, 0x30, _, 0x01, 0x01, 0xff, ..])
}
