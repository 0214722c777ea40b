//! The configuration of a site's NATS server, as `nats-server -c` reads it.

use std::path::Path;

use zeroize::Zeroizing;

use super::invitation::{HubAddr, Invitation, Login};
use crate::config::BusUrl;
use crate::error::{Error, Result};
use crate::model::{Name, Rng};

/// The user that containers, and programs on the bus, log in as.
const USER: &str = "meshstore";
/// The port of clients where the bus names none, as NATS has it.
const CLIENT_PORT: u16 = 4222;

/// How a site's server stands to those of other sites.
#[derive(Debug)]
pub(super) enum Link {
    /// It knows none.
    Alone,
    /// The others dial it, by this invitation.
    Hub(Invitation),
    /// It dials the one that this is of.
    Leaf(Invitation),
}

/// A server that is still to be started.
pub(super) struct Server {
    bus: BusUrl,
    login: Login,
}

impl Server {
    /// The server of a bus, with a user of its own; nothing where the bus is one that somebody keeps already, which
    /// shows in that its URL says how it is opened.
    pub(super) fn of(bus: &BusUrl, rng: &dyn Rng) -> Option<Self> {
        let is_new = !bus.has_credentials() && !bus.is_tls();
        is_new.then(|| Server { bus: bus.clone(), login: Login::new(USER, rng) })
    }

    /// The bus as the containers are told of it.
    pub(super) fn url(&self) -> BusUrl {
        self.bus.opened_by(&self.login.user, &self.login.password)
    }

    /// Its configuration; `store` is where its JetStream keeps what it has.
    pub(super) fn text(&self, site: &Name, store: &Path, link: &Link) -> Result<Zeroizing<String>> {
        let host = match self.bus.is_loopback() {
            true if self.bus.host().starts_with('[') => self.bus.host(),
            true => "127.0.0.1",
            false => "0.0.0.0",
        };
        let port = self.bus.port().unwrap_or(CLIENT_PORT);
        let store = store.to_str().filter(|store| !store.contains(['"', '\\', '\n'])).ok_or_else(|| {
            Error::invalid("a NATS server's configuration cannot name this folder; choose another one")
                .with("path", store.display())
        })?;
        let Login { user, password } = &self.login;
        let (guest, link) = match link {
            Link::Alone => Default::default(),
            Link::Hub(invitation) if invitation.addr.port() == port => {
                let why = "leaf links and clients cannot come by one port; name another one with --hub HOST:PORT";
                return Err(Error::invalid(why).with("port", port));
            }
            Link::Hub(invitation) => (guest(site, &invitation.login), listener(&invitation.addr)),
            Link::Leaf(invitation) => (String::new(), remote(site, invitation)),
        };
        Ok(Zeroizing::new(format!(
            "# The NATS server of the site `{site}`, 2.12 or later: nats-server -c FILE
# It holds passwords: keep it readable by its owner alone.
server_name: \"{site}\"
listen: \"{host}:{port}\"

# Who says nothing is asked every 2 s, and cut off when two questions go unanswered: of a cut cable both ends know
# within seconds, and the link comes back as soon as it can.
ping_interval: \"2s\"
ping_max: 2

jetstream {{
  # The site's log is its own, also where servers are linked.
  domain: \"{site}\"
  store_dir: \"{store}\"
}}

authorization {{
  users: [
    {{ user: \"{user}\", password: \"{}\" }}{guest}
  ]
}}
{link}",
            **password
        )))
    }
}

/// Who the servers of other sites log in as. What the containers of the hub say to each other is not theirs to hear, and
/// its log not theirs to write.
fn guest(site: &Name, Login { user, password }: &Login) -> String {
    format!(
        "
    {{ user: \"{user}\", password: \"{}\", permissions: {{
        publish: {{ deny: [\"$JS.>\", \"mesh.log.>\"] }}
        subscribe: {{ deny: [\"$JS.>\", \"mesh.log.>\", \"mesh.{site}.peer.>\", \"mesh.{site}.*.peer.>\"] }} }} }}",
        **password
    )
}

/// The hub's side of leaf links.
fn listener(addr: &HubAddr) -> String {
    format!(
        "
# The servers of other sites dial in here, by the hub's invitation. The link is plain: where it leaves your own
# network lead it through a VPN, or add tls {{ … }} here and to the sites' remotes.
leafnodes {{
  listen: \"0.0.0.0:{}\"
}}
",
        addr.port()
    )
}

/// The side of a site that dials out; nobody needs to reach it.
fn remote(site: &Name, Invitation { site: hub, addr, login, .. }: &Invitation) -> String {
    format!(
        "
# The hub `{hub}`, which this server dials and dials again. What is said on the site's own subjects stays here: others ask
# on them, and hear none of it.
leafnodes {{
  remotes: [ {{
    url: \"nats-leaf://{}:{}@{addr}\"
    deny_exports: [\"$JS.>\", \"mesh.log.>\", \"mesh.{site}.>\"]
    deny_imports: [\"$JS.>\", \"mesh.log.>\", \"mesh.{site}.peer.>\", \"mesh.{site}.*.peer.>\"]
  }} ]
}}
",
        login.user, *login.password
    )
}
