//! Bytes of the others, over HTTP: bulk does not go over the bus.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::ask::unreachable;
use super::{Site, locked};
use crate::client::{Client, Pulled, ReadOptions};
use crate::error::{Error, Result};
use crate::limits::TICKET_MS;
use crate::model::{Address, ByteRange, ContainerId, Manifest, Version};
use crate::nfr::{Grant, Keyring};
use crate::tiers::Source;

/// Clients of the others' doors, by URL; each keeps its connections.
pub(super) struct Clients {
    ca: Option<Vec<u8>>,
    known: Mutex<BTreeMap<String, Client>>,
}

/// Containers whose connections are kept.
const CLIENTS_MAX: usize = 256;

impl Clients {
    pub(super) fn new(ca: Option<Vec<u8>>) -> Self {
        Clients { ca, known: Mutex::default() }
    }

    fn get(&self, url: &str) -> Result<Client> {
        let mut known = locked(&self.known);
        if let Some(client) = known.get(url) {
            return Ok(client.clone());
        }
        let client = Client::trusting(url, None, self.ca.as_deref())?;
        if known.len() >= CLIENTS_MAX {
            known.pop_first();
        }
        known.insert(url.to_owned(), client.clone());
        Ok(client)
    }

    /// The sealed bytes of a version, read as they are needed.
    pub(super) fn sealed(
        &self,
        client: Client,
        ring: &Keyring,
        address: &Address,
        manifest: &Manifest,
        now_ms: u64,
    ) -> Result<Arc<dyn Source>> {
        let seal = manifest
            .seal
            .as_ref()
            .ok_or_else(|| Error::internal("what was never sealed has no sealed bytes").with("address", address))?;
        let version = manifest.version;
        let ticket = ring.ticket(address, Grant::Pull(version), now_ms.saturating_add(TICKET_MS))?;
        let wanted = ReadOptions { version: Some(version), ticket: Some(ticket), ..ReadOptions::default() };
        let runtime = tokio::runtime::Handle::current();
        Ok(Arc::new(Frame { client, address: address.clone(), wanted, len: seal.bytes, runtime }))
    }

    /// A range of a version's plain bytes.
    pub(super) async fn plain(
        &self,
        client: Client,
        ring: &Keyring,
        address: &Address,
        version: Version,
        range: Range<u64>,
        now_ms: u64,
    ) -> Result<Pulled> {
        let ticket = ring.ticket(address, Grant::Pull(version), now_ms.saturating_add(TICKET_MS))?;
        let range = ByteRange::Between(range.start, range.end.saturating_sub(1));
        let wanted = ReadOptions { range: Some(range), version: Some(version), ticket: Some(ticket), session: None };
        client.pull_with(address, &wanted).await
    }
}

impl Site {
    /// A client of the container that keeps something.
    pub(super) fn client_of(&self, address: &Address, keeper: ContainerId) -> Result<Client> {
        let now_ms = self.now_ms();
        let member = locked(&self.0.members).get(keeper).cloned();
        let gone = |why: &'static str| Error::unavailable(why).with("address", address);
        let Some(member) = member else {
            let why = "a container that has not been heard of since this one started keeps the object; start it";
            return Err(gone(why).with("keeper", format!("{:016x}", keeper.0)));
        };
        if !member.is_alive(now_ms) {
            return Err(gone("the container that keeps the object is not there; start it").with("keeper", member.name));
        }
        if member.url.is_empty() {
            let why =
                "the container that keeps the object says no address at which others reach it; set its http.public_url";
            return Err(gone(why).with("keeper", member.name));
        }
        self.0.clients.get(&member.url)
    }
}

/// A frame that another container holds.
struct Frame {
    client: Client,
    address: Address,
    wanted: ReadOptions,
    len: u64,
    runtime: tokio::runtime::Handle,
}

impl Source for Frame {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        // Whoever reads sealed bytes is on a thread that may wait.
        let read = self.runtime.block_on(self.client.frame(&self.address, &self.wanted, range));
        read.map_err(|error| unreachable(error, &self.address))
    }
}

/// A frame that another container holds, and a note of what came of each read.
pub(super) struct Noted {
    pub site: Site,
    pub keeper: ContainerId,
    pub frame: Arc<dyn Source>,
}

impl Source for Noted {
    fn len(&self) -> u64 {
        self.frame.len()
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        let read = self.frame.read(range);
        self.site.note(self.keeper, &read);
        read
    }
}
