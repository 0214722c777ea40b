//! Which bus the containers of a site find each other on.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::BusConfig;
use crate::error::{Error, Result};

/// How the containers of a site find each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BusMode {
    /// The best one found on this host.
    Auto,
    /// In process: this container is the whole site.
    Local,
    /// This server.
    Url(BusUrl),
}

/// To which addresses a container brings objects, where a request names one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// To none.
    None,
    /// To those on its own host.
    Loopback,
    /// To any: whoever may read an object may have it sent anywhere the container reaches.
    Any,
}

impl Receivers {
    /// Its name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Receivers::None => "none",
            Receivers::Loopback => "loopback",
            Receivers::Any => "any",
        }
    }

    /// On a bus that others reach nobody may have this host's own doors asked.
    pub(super) fn usual(mode: &BusMode, url: &Option<BusUrl>) -> Self {
        if is_beyond_loopback(mode, url) { Receivers::None } else { Receivers::Loopback }
    }
}

impl FromStr for Receivers {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let all = [Receivers::None, Receivers::Loopback, Receivers::Any];
        all.into_iter()
            .find(|receivers| receivers.name() == text)
            .ok_or_else(|| Error::invalid("receivers are none, loopback or any").with("value", text.escape_default()))
    }
}

/// The URL of a NATS server. It may hold what opens the server, and so is shown without that.
#[derive(Clone, PartialEq, Eq)]
pub struct BusUrl(String);

impl BusUrl {
    /// The whole of it, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the server is on this host, where nobody else reaches it.
    pub fn is_loopback(&self) -> bool {
        let host = self.host().trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
    }

    /// Whether it speaks TLS from the first byte on.
    pub fn is_tls(&self) -> bool {
        self.0.starts_with("tls://")
    }

    /// Whether it holds what opens the server.
    pub fn has_credentials(&self) -> bool {
        self.authority().contains('@')
    }

    /// The same server, opened by this user, whose name and password need no escapes.
    pub fn opened_by(&self, user: &str, password: &str) -> BusUrl {
        let (scheme, _) = self.0.split_once("://").unwrap_or(("nats", ""));
        BusUrl(format!("{scheme}://{user}:{password}@{}", self.place()))
    }

    /// The server's name or address.
    pub fn host(&self) -> &str {
        self.host_and_port().0
    }

    /// Where it listens, if that is said.
    pub fn port(&self) -> Option<u16> {
        self.host_and_port().1?.parse().ok()
    }

    fn host_and_port(&self) -> (&str, Option<&str>) {
        let place = self.place();
        match place.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => (host, Some(port)),
            _ => (place, None),
        }
    }

    fn place(&self) -> &str {
        self.authority().rsplit_once('@').map_or(self.authority(), |(_, place)| place)
    }

    fn authority(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        rest.split('/').next().unwrap_or_default()
    }
}

impl FromStr for BusUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // The text is not repeated: it may hold a password.
        let bad =
            || Error::invalid("a bus is the URL of one NATS server, such as nats://127.0.0.1:4222 or tls://h:4222");
        let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ',' | '?' | '#' | '\\');
        let known = text.starts_with("nats://") || text.starts_with("tls://");
        if !known || text.contains(odd) {
            return Err(bad());
        }
        let url = BusUrl(text.to_owned());
        let (host, port) = url.host_and_port();
        let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        // A server has no path: what looks like one may be the rest of a password.
        let has_path = text.splitn(4, '/').nth(3).is_some_and(|path| !path.is_empty());
        if host.is_empty() || !is_port || has_path { Err(bad()) } else { Ok(url) }
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusUrl({})", self.host())
    }
}

impl BusConfig {
    /// Whether others than this host's users may reach the bus.
    pub fn is_beyond_loopback(&self) -> bool {
        is_beyond_loopback(&self.mode, &self.url)
    }
}

fn is_beyond_loopback(mode: &BusMode, url: &Option<BusUrl>) -> bool {
    match (mode, url) {
        (BusMode::Url(url), _) | (BusMode::Auto, Some(url)) => !url.is_loopback(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_one_servers_and_keeps_what_opens_it_to_itself() {
        for (text, local) in [
            ("nats://127.0.0.1:4222", true),
            ("nats://localhost", true),
            ("nats://u:planted@[::1]:4222", true),
            ("tls://hub.example:4222", false),
            ("nats://u:planted@10.0.0.1", false),
        ] {
            let url: BusUrl = text.parse().unwrap();
            assert_eq!(url.is_loopback(), local, "{text}");
            assert!(!format!("{url:?}").contains("planted"));
            assert_eq!(url.expose(), text);
            assert_eq!(url.has_credentials(), text.contains('@'));
        }
        let bare: BusUrl = "nats://[::1]:4223".parse().unwrap();
        assert_eq!((bare.host(), bare.port(), bare.is_tls()), ("[::1]", Some(4223), false));
        assert_eq!(bare.opened_by("u", "p").expose(), "nats://u:p@[::1]:4223");
        for bad in [
            "nats://u:pl/planted@h:1",
            "nats://h:99999",
            "nats://h:0",
            "",
            "nats://",
            "nats://:4222",
            "http://h",
            "h:4222",
            "nats://a,nats://b",
            "nats://h x",
            "nats://planted@",
        ] {
            let error = bad.parse::<BusUrl>().unwrap_err();
            assert!(!error.to_string().contains("planted"), "{error}");
        }
    }
}
