//! Who may ask: a page in a browser must never reach a container, least of all one on loopback.
//!
//! A name that an attacker's DNS points at 127.0.0.1 shows in `Host`; a page of another site shows
//! in `Origin` or `Sec-Fetch-Site`, which pages cannot forge. Programs send neither.

use std::net::{IpAddr, SocketAddr};

use actix_web::dev::RequestHead;
use actix_web::http::header::{HOST, HeaderName, ORIGIN};

use super::headers::single;
use crate::error::{Error, Kind, Result};

static SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The check of every request, whatever its path.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    /// The address bound, when it is a loopback one: then only loopback's names are served.
    loopback: Option<IpAddr>,
}

impl Guard {
    /// The guard of a door bound to `addr`.
    pub(super) fn of(addr: SocketAddr) -> Self {
        Guard { loopback: addr.ip().is_loopback().then_some(addr.ip()) }
    }

    /// Refuses what a foreign page may have sent.
    pub(super) fn check(&self, head: &RequestHead) -> Result<()> {
        let host = single(&head.headers, &HOST)?
            .ok_or_else(|| Error::invalid("the request has no Host header; send the host it was sent to"))?;
        self.check_host(host)?;
        // A request line with an authority of its own overrides Host, so it must not say otherwise.
        if let Some(authority) = head.uri.authority()
            && !authority.as_str().eq_ignore_ascii_case(host)
        {
            return Err(forbidden("the request line and the Host header name different hosts")
                .with("host", host.escape_default()));
        }
        if let Some(origin) = single(&head.headers, &ORIGIN)? {
            let own = origin.split_once("://").is_some_and(|(scheme, authority)| {
                matches!(scheme, "http" | "https") && authority.eq_ignore_ascii_case(host)
            });
            if !own {
                return Err(forbidden("pages of other origins may not use this container")
                    .with("origin", origin.escape_default()));
            }
        }
        match single(&head.headers, &SEC_FETCH_SITE)? {
            // Two ports of localhost are one site to a browser, yet not one origin.
            None | Some("same-origin" | "none") => Ok(()),
            Some(site) => {
                Err(forbidden("pages of other sites may not use this container").with("site", site.escape_default()))
            }
        }
    }

    fn check_host(&self, host: &str) -> Result<()> {
        let Some(bound) = self.loopback else { return Ok(()) };
        let name = without_port(host).unwrap_or_default();
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        let known = name.eq_ignore_ascii_case("localhost")
            || matches!(name, "127.0.0.1" | "[::1]")
            || address.parse::<IpAddr>().is_ok_and(|ip| ip == bound);
        if known {
            return Ok(());
        }
        Err(forbidden("a container on loopback is asked as localhost, 127.0.0.1 or [::1]")
            .with("host", host.escape_default()))
    }
}

/// The host of `host:port`, with the brackets of IPv6; `None` when it is neither.
fn without_port(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at_checked(end)?;
    let digits = |port: &str| port.bytes().all(|b| b.is_ascii_digit());
    (port.is_empty() || port.strip_prefix(':').is_some_and(digits)).then_some(name)
}

fn forbidden(why: &'static str) -> Error {
    Error::new(Kind::Forbidden, why)
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn check(bound: &str, headers: &[(&'static str, &'static str)]) -> bool {
        let request =
            headers.iter().fold(TestRequest::get().uri("/healthz"), |request, header| request.append_header(*header));
        Guard::of(bound.parse().unwrap()).check(request.to_http_request().head()).is_ok()
    }

    #[test]
    fn loopback_is_asked_by_its_own_names() {
        let bound = "127.0.0.1:7700";
        for host in ["localhost", "localhost:1", "LocalHost:7700", "127.0.0.1:7700", "[::1]:7700", "[::1]"] {
            assert!(check(bound, &[("host", host)]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:7700",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:x",
            "localhost:1:2",
            "[::1",
            "[::1]x",
            "127.0.0.2",
            "localhost@evil",
            "0.0.0.0",
        ] {
            assert!(!check(bound, &[("host", host)]), "{host}");
        }
        assert!(!check(bound, &[]));
        assert!(check("127.0.0.2:1", &[("host", "127.0.0.2:1")]));
        assert!(check("0.0.0.0:1", &[("host", "mesh.example:1")]));
    }

    #[test]
    fn foreign_pages_are_refused() {
        let with = |name, value| check("127.0.0.1:7700", &[("host", "localhost:7700"), (name, value)]);
        assert!(with("origin", "http://localhost:7700"));
        for origin in [
            "null",
            "http://localhost:3000",
            "http://evil.example",
            "localhost:7700",
            "file://localhost:7700",
            "http://localhost:7700/",
        ] {
            assert!(!with("origin", origin), "{origin}");
        }
        assert!(with("sec-fetch-site", "same-origin") && with("sec-fetch-site", "none"));
        assert!(!with("sec-fetch-site", "cross-site") && !with("sec-fetch-site", "same-site"));
        assert!(!check("0.0.0.0:1", &[("host", "mesh.example"), ("origin", "http://evil.example")]));
    }
}
