//! The invitation that a hub hands to the sites that join it: where its NATS server takes leaf links, and what opens it.
//!
//! It is a file like a password: it names what the hub proves itself by, and the word that lets a site into the mesh.
//! No secret key is in it: every site has a keyring of its own.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::MeshInvitation;
use crate::error::{Error, Result};
use crate::model::{Name, Rng, push_hex};
use crate::private;

/// The port of leaf links where none is named, as NATS has it.
const LEAF_PORT: u16 = 7422;
/// An invitation is a few lines.
const BYTES_MAX: u64 = 4096;
/// Random bytes of a password: nobody guesses them, so a server may compare it as it is.
const PASSWORD_BYTES: usize = 24;
/// The user that leaf links log in as.
const LEAF_USER: &str = "leaf";

/// Who may log in to a NATS server. Both words are letters and digits alone, so they need no escapes in a URL or a
/// server's configuration.
#[derive(Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Login {
    pub(super) user: String,
    pub(super) password: Zeroizing<String>,
}

impl Login {
    /// A user with a new password.
    pub(super) fn new(user: &str, rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; PASSWORD_BYTES]);
        rng.fill(&mut *bytes);
        let mut digits = Vec::with_capacity(2 * PASSWORD_BYTES);
        push_hex(&mut digits, &*bytes);
        Login { user: user.to_owned(), password: Zeroizing::new(String::from_utf8_lossy(&digits).into_owned()) }
    }

    fn is_plain(&self) -> bool {
        let plain = |word: &str| (1..=128).contains(&word.len()) && word.bytes().all(|b| b.is_ascii_alphanumeric());
        plain(&self.user) && plain(&self.password)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// Where the hub's server takes leaf links: `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubAddr {
    host: String,
    port: u16,
}

impl HubAddr {
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HubAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = || {
            Error::invalid("a hub is HOST or HOST:PORT, such as cloud.example:7422, as the other sites reach it")
                .with("hub", text.escape_default())
        };
        // The colons of an address in brackets are its own.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| bad())?),
            _ => (text, LEAF_PORT),
        };
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_address = inner.is_some_and(|inner| inner.parse::<std::net::Ipv6Addr>().is_ok());
        let is_name = (1..=253).contains(&host.len())
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-'))
            && !host.starts_with(['.', '-']);
        let port = Some(port).filter(|port| *port != 0).ok_or_else(bad)?;
        Some(HubAddr { host: host.to_owned(), port }).filter(|_| is_address || is_name).ok_or_else(bad)
    }
}

impl fmt::Display for HubAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// What a site needs to know of the hub that it joins.
#[derive(Clone, Debug)]
pub(super) struct Invitation {
    /// The hub's own name, which no other site may have.
    pub(super) site: Name,
    pub(super) addr: HubAddr,
    pub(super) login: Login,
    /// What lets a site into the mesh; where the hub makes the invitation it is drawn from its keyring, later.
    pub(super) mesh: Option<MeshInvitation>,
}

/// The file as it is written.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Text {
    hub: Hub,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Hub {
    site: String,
    addr: String,
    #[serde(flatten)]
    login: Login,
    mesh: Zeroizing<String>,
}

impl Invitation {
    /// A new one to the hub `site`.
    pub(super) fn to(site: &Name, addr: &HubAddr, rng: &dyn Rng) -> Self {
        Invitation { site: site.clone(), addr: addr.clone(), login: Login::new(LEAF_USER, rng), mesh: None }
    }

    /// Reads one, which others must not be able to.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let at = |error: Error| error.with("path", path.display());
        let text = private::read(path, "the invitation", BYTES_MAX)?.ok_or_else(|| {
            at(Error::not_found("there is no invitation here; the hub's `meshstore site init --hub` writes one"))
        })?;
        Self::parse(&text).map_err(at)
    }

    fn parse(text: &str) -> Result<Self> {
        // What the parser says repeats the line, which may hold the password.
        let bad = || Error::invalid("this is no invitation of a hub; copy the hub's file as it is");
        let Text { hub } = toml::from_str(text).map_err(|_| bad())?;
        if !hub.login.is_plain() {
            return Err(bad());
        }
        let site: Name = hub.site.parse().map_err(|_| bad())?;
        let mesh: MeshInvitation = hub.mesh.parse().map_err(|_| bad())?;
        if mesh.site != site {
            return Err(bad());
        }
        Ok(Invitation { site, addr: hub.addr.parse().map_err(|_| bad())?, login: hub.login, mesh: Some(mesh) })
    }

    /// The file of an invitation into the hub's mesh.
    pub(super) fn text(&self, mesh: &MeshInvitation) -> Zeroizing<String> {
        let Invitation { site, addr, login, .. } = self;
        Zeroizing::new(format!(
            "# An invitation to join the hub `{site}`: meshstore site join NAME --invite FILE
# Whoever has it can connect a NATS server to the hub's, and enter its mesh: hand it over as you would a password.
[hub]
site = \"{site}\"
addr = \"{addr}\"
user = \"{}\"
password = \"{}\"
mesh = \"{}\"
",
            login.user,
            *login.password,
            *mesh.expose()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nfr::SystemRng;

    #[test]
    fn an_invitation_is_read_as_it_was_written_and_shows_no_password() {
        let addr: HubAddr = "cloud.example".parse().unwrap();
        let made = Invitation::to(&"cloud".parse().unwrap(), &addr, &SystemRng);
        let mesh = mesh();
        let read = Invitation::parse(&made.text(&mesh)).unwrap();
        assert!(read.mesh == Some(mesh));
        assert_eq!((read.site.as_str(), read.addr.to_string()), ("cloud", "cloud.example:7422".to_owned()));
        assert_eq!((read.login.user.as_str(), read.login.password.len()), ("leaf", 48));
        assert!(*read.login.password == *made.login.password);
        assert!(!format!("{made:?}").contains(made.login.password.as_str()));
        assert!(*Invitation::to(&made.site, &addr, &SystemRng).login.password != *made.login.password);
    }

    fn mesh() -> MeshInvitation {
        format!("cloud:{}:{}", "ab".repeat(64), "cd".repeat(32)).parse().unwrap()
    }

    #[test]
    fn what_is_no_invitation_is_refused_and_not_repeated() {
        let word = mesh().expose().replace("cloud", "a");
        let good = &format!("[hub]\nsite='a'\naddr='h:1'\nuser='u'\npassword='planted'\nmesh='{word}'\n");
        assert!(Invitation::parse(good).is_ok());
        for (from, to) in [
            ("'a'", "'A'"),
            ("'h:1'", "'h:0'"),
            ("'h:1'", "'h/x:1'"),
            ("'planted'", "'planted\"'"),
            ("'planted'", "planted"),
            ("'u'", "''"),
            ("user", "extra='x'\nuser"),
            ("site", "place"),
            ("[hub]", ""),
            ("mesh='a:", "mesh='b:"),
            ("mesh='a:", "mesh='a:planted"),
        ] {
            let error = Invitation::parse(&good.replace(from, to)).expect_err(to);
            assert!(!error.to_string().contains("planted"), "{error}");
        }
    }

    #[test]
    fn a_hub_is_a_host_and_a_port() {
        for (text, shown) in
            [("h", "h:7422"), ("10.0.0.1:1", "10.0.0.1:1"), ("[::1]", "[::1]:7422"), ("[::1]:9", "[::1]:9")]
        {
            assert_eq!(text.parse::<HubAddr>().unwrap().to_string(), shown);
        }
        for bad in ["", ":1", "h:", "h:x", "h:65536", "::1", "[x]:1", "nats://h:1", "u@h", "h h", "-h", "h\"x"] {
            assert!(bad.parse::<HubAddr>().is_err(), "{bad}");
        }
    }
}
