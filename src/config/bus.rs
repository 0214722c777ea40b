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

    fn host(&self) -> &str {
        let rest = self.0.split_once("://").map_or("", |(_, rest)| rest);
        let place = rest.split('/').next().unwrap_or_default();
        let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
        match place.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => place,
        }
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
        Some(BusUrl(text.to_owned())).filter(|url| !url.host().is_empty()).ok_or_else(bad)
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
        }
        for bad in
            ["", "nats://", "nats://:4222", "http://h", "h:4222", "nats://a,nats://b", "nats://h x", "nats://planted@"]
        {
            let error = bad.parse::<BusUrl>().unwrap_err();
            assert!(!error.to_string().contains("planted"), "{error}");
        }
    }
}
