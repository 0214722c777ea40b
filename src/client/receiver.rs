//! Bringing an object to whoever asked for it, at the URL where they said that they take it.

use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use reqwest::header::CONTENT_LENGTH;
use reqwest::redirect::Policy;
use reqwest::{Body, Url};

use super::tls;
use super::transport::root_cause;
use crate::error::{Error, Result};

/// How long it may take to connect.
const CONNECT_MAX: Duration = Duration::from_millis(300);

/// The longest that a URL may be.
const URL_BYTES_MAX: usize = 4096;

/// Where somebody takes an object.
#[derive(Clone, Debug)]
pub struct Receiver(Url);

impl Receiver {
    /// The receiver at this URL.
    pub fn at(text: &str) -> Result<Self> {
        let bad = |why: &'static str| Error::invalid(why).with("url", text.escape_default());
        if text.len() > URL_BYTES_MAX {
            return Err(Error::invalid("a URL that takes an object has 4096 bytes at most"));
        }
        let url = Url::parse(text).map_err(|_| bad("where an object is taken is a URL: http://HOST:PORT/PATH"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(bad("where an object is taken is a URL: http://HOST:PORT/PATH"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // It is not repeated: it is a secret.
            return Err(Error::invalid("a URL that takes an object holds no name and no password"));
        }
        Ok(Receiver(url))
    }

    /// Whether it is on this host.
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Puts an object there, whose bytes come as they are taken. How long that may take is for the caller to say.
    pub async fn put<S>(&self, headers: &[(String, String)], bytes: u64, body: S) -> Result<()>
    where
        S: Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    {
        let builder = tls::prepare(reqwest::Client::builder(), self.0.scheme() == "https", None)?;
        let http = builder
            .no_proxy()
            // Whoever may name one address may not name another by way of it.
            .redirect(Policy::none())
            .connect_timeout(CONNECT_MAX)
            .user_agent(concat!("meshstore/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Error::internal("cannot set up the HTTP client").because(error))?;
        let put = http.put(self.0.clone()).header(CONTENT_LENGTH, bytes);
        let put = headers.iter().fold(put, |put, (name, value)| put.header(name, value));
        let failed = |error: reqwest::Error| {
            Error::unavailable("the object could not be brought to where it is taken").because(root_cause(&error))
        };
        let status = put.body(Body::wrap_stream(body)).send().await.map_err(failed)?.status();
        if status.is_success() {
            return Ok(());
        }
        Err(Error::unavailable("where the object was to be taken it was refused").with("status", status.as_u16()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_a_plain_url_and_what_opens_it_is_not_told() {
        let long = format!("http://h/{}", "a".repeat(URL_BYTES_MAX));
        for bad in ["", "nonsense", "ftp://h/x", "file:///etc/passwd", "http://u:planted@h/", &long] {
            let error = Receiver::at(bad).unwrap_err();
            assert!(!format!("{error:?}").contains("planted"), "{error:?}");
        }
        for (url, local) in [
            ("http://127.0.0.1:80/x", true),
            ("https://localhost/x", true),
            ("http://[::1]:8080/x?y", true),
            ("http://10.0.0.1/x", false),
            ("http://localhost.example/x", false),
        ] {
            assert_eq!(Receiver::at(url).unwrap().is_loopback(), local, "{url}");
        }
    }
}
