//! Bytes of the others, over HTTP: bulk does not go over the bus unless there is no other way, or the door is late.
//!
//! Pushes that are handed over and deletes go through the door alone: unlike a read they could be done twice.

use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{Either, select};
use futures_util::stream::StreamExt;

use super::ask::unreachable;
use super::piece::{Form, Wanted};
use super::route::Way;
use super::{Site, locked};
use crate::client::{Client, FrameBytes, ReadOptions};
use crate::error::{Error, Kind, Result};
use crate::limits::TICKET_MS;
use crate::model::{Address, ByteRange, ContainerId, Manifest, Version};
use crate::nfr::Grant;
use crate::tiers::{Arriving, Source};

/// A frame up to this size is fetched whole with the first read: header, footer and chunks would each take a journey.
const WHOLE_BYTES: u64 = 64 << 10;

/// Reads at work that are asked for both ways: where everybody is slow, asking twice makes it worse.
pub(super) const HEDGES_MAX: usize = 8;

impl Site {
    /// A client of the container that keeps something.
    pub(super) fn client_of(&self, address: &Address, keeper: ContainerId) -> Result<Client> {
        let way = self.way_to(address, keeper)?;
        way.client.clone().ok_or_else(|| {
            let why =
                "the container that keeps the object says no address at which others reach it; set its http.public_url";
            Error::unavailable(why).with("address", address).with("keeper", &way.name)
        })
    }

    fn way_to(&self, address: &Address, keeper: ContainerId) -> Result<Arc<Way>> {
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
        self.0.ways.to(&member)
    }

    /// What opens one version to this container.
    fn options(&self, address: &Address, version: Version) -> Result<ReadOptions> {
        let until_ms = self.keeper().now_ms().saturating_add(TICKET_MS);
        let ticket = self.ring().ticket(address, Grant::Pull(version), until_ms)?;
        Ok(ReadOptions { version: Some(version), ticket: Some(ticket), ..ReadOptions::default() })
    }

    /// The sealed bytes of a version, read as they are needed.
    pub(super) fn sealed_at(
        &self,
        address: &Address,
        keeper: ContainerId,
        manifest: &Manifest,
    ) -> Result<Arc<dyn Source>> {
        let way = self.way_to(address, keeper)?;
        let seal = manifest
            .seal
            .as_ref()
            .ok_or_else(|| Error::internal("what was never sealed has no sealed bytes").with("address", address))?;
        let form = if seal.key.is_some() { Form::Encrypted } else { Form::Sealed };
        let wanted = Wanted { address: address.clone(), version: manifest.version, form };
        let (options, runtime) = (self.options(address, manifest.version)?, tokio::runtime::Handle::current());
        let whole = OnceLock::new();
        Ok(Arc::new(Frame { site: self.clone(), way, wanted, options, len: seal.bytes, runtime, whole }))
    }

    /// A range of a version's plain bytes.
    pub(super) async fn plain_at(
        &self,
        address: &Address,
        keeper: ContainerId,
        version: Version,
        range: Range<u64>,
    ) -> Result<Arriving> {
        let way = self.way_to(address, keeper)?;
        let wanted = Wanted { address: address.clone(), version, form: Form::Plain };
        if let Some(client) = way.door(|| self.now_ms()).await {
            let between = ByteRange::Between(range.start, range.end.saturating_sub(1));
            let options = ReadOptions { range: Some(between), ..self.options(address, version)? };
            match client.pull_with(address, &options).await {
                Ok(pulled) => return Ok(pulled.into_stream().boxed()),
                Err(error) if !is_of_the_way(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, container = %way.name, "its door fails; the bus is taken");
                    way.doubt();
                }
            }
        }
        Ok(self.pieces(&way, &wanted, range).boxed())
    }
}

/// A frame that another container holds.
struct Frame {
    site: Site,
    way: Arc<Way>,
    wanted: Wanted,
    options: ReadOptions,
    len: u64,
    runtime: tokio::runtime::Handle,
    /// All of a small one.
    whole: OnceLock<Bytes>,
}

impl Source for Frame {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if self.len > WHOLE_BYTES {
            return self.fetch(range);
        }
        match self.whole.get() {
            Some(whole) => whole.read(range),
            None => {
                let whole = self.fetch(0..self.len)?;
                self.whole.get_or_init(|| whole).read(range)
            }
        }
    }
}

impl Frame {
    fn fetch(&self, range: Range<u64>) -> Result<Bytes> {
        let _place = self.way.reader().map_err(|error| error.with("address", &self.wanted.address))?;
        // Whoever reads sealed bytes is on a thread that may wait.
        self.runtime.block_on(self.part(range)).map_err(|error| unreachable(error, &self.wanted.address))
    }

    async fn part(&self, range: Range<u64>) -> Result<Bytes> {
        let Some(client) = self.way.door(|| self.site.now_ms()).await else { return self.over_bus(range).await };
        match self.through_door(client, range.clone()).await {
            Err(error) if is_of_the_way(&error) => {
                self.way.doubt();
                self.over_bus(range).await.map_err(|other| if is_of_the_way(&other) { error } else { other })
            }
            outcome => outcome,
        }
    }

    async fn over_bus(&self, range: Range<u64>) -> Result<Bytes> {
        self.site.gathered(&self.way, &self.wanted, range).await
    }

    async fn through_door(&self, client: &Client, range: Range<u64>) -> Result<Bytes> {
        let since = self.ticks();
        let mut begins = pin!(client.frame(&self.wanted.address, &self.options, range.clone()));
        let Ok(begun) = tokio::time::timeout(self.way.patience(), &mut begins).await else {
            return self.hedged(begins, range, since).await;
        };
        let begun = begun?;
        self.way.began(self.since(since));
        begun.bytes((range.end - range.start) as usize).await
    }

    /// The door is late: what comes first is taken, its answer or that over the bus.
    async fn hedged(
        &self,
        begins: Pin<&mut impl Future<Output = Result<FrameBytes>>>,
        range: Range<u64>,
        since: u64,
    ) -> Result<Bytes> {
        let door = async {
            let begun = begins.await?;
            self.way.began(self.since(since));
            begun.bytes((range.end - range.start) as usize).await
        };
        let Ok(_place) = self.site.0.hedges.try_acquire() else { return door.await };
        self.site.0.parts.telemetry.metrics.peer_hedges.one(());
        match select(pin!(door), pin!(self.over_bus(range.clone()))).await {
            Either::Left((Ok(bytes), _)) => Ok(bytes),
            Either::Left((Err(_), bus)) => bus.await,
            Either::Right((Ok(bytes), _)) => {
                self.way.outrun(self.since(since), self.site.now_ms());
                Ok(bytes)
            }
            Either::Right((Err(_), door)) => door.await,
        }
    }

    fn ticks(&self) -> u64 {
        self.site.0.parts.telemetry.ticks_ns()
    }

    fn since(&self, ticks: u64) -> Duration {
        Duration::from_nanos(self.ticks().saturating_sub(ticks))
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

/// Whether another way may do better: nothing was said of what was asked for.
fn is_of_the_way(error: &Error) -> bool {
    matches!(error.kind(), Kind::Unavailable | Kind::Deadline)
}
