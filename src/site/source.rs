//! Bytes of the others, over HTTP: bulk does not go over the bus unless there is no other way, or the door is late.
//!
//! Pushes that are handed over and deletes go through the door alone: unlike a read they could be done twice.

use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select, try_join};
use futures_util::stream::StreamExt;

use super::Site;
use super::choice::Choice;
use super::members::Member;
use super::piece::{Form, Wanted};
use super::route::Way;
use super::run::Kept;
use crate::client::{Client, ReadOptions};
use crate::error::{Error, Result};
use crate::limits::TICKET_MS;
use crate::model::{Address, Buffer, ByteRange, ContainerId, Manifest, Version};
use crate::nfr::Grant;
use crate::tiers::{Arriving, Run, Source};

/// A frame up to this size is fetched whole with the first read: header, footer and chunks would each take a journey.
const WHOLE_BYTES: u64 = 64 << 10;

/// How long a read may take without a look whether the container that it asks is heard: who has lost the bus alone
/// still answers at its door.
const UNHEARD_MAX: Duration = Duration::from_secs(5);

/// How often that is looked at from then on.
const HEARD_POLL: Duration = Duration::from_millis(250);

impl Site {
    /// Reads from another container, until that is slow and the container silent as well.
    pub(super) async fn while_heard<T>(&self, keeper: ContainerId, read: impl Future<Output = Result<T>>) -> Result<T> {
        let silent = async {
            tokio::time::sleep(UNHEARD_MAX).await;
            // Who leaves in order gives what it was asked for before.
            let is_heard = |(_, member): (_, Member)| member.left || member.is_alive(self.now_ms());
            while self.member(keeper).is_some_and(is_heard) {
                tokio::time::sleep(HEARD_POLL).await;
            }
        };
        match select(pin!(read), pin!(silent)).await {
            Either::Left((read, _)) => read,
            Either::Right(_) => Err(Error::unavailable("it has stopped to answer, and is not heard any more")),
        }
    }

    /// A client of the container that keeps something.
    pub(super) fn client_of(&self, address: &Address, keeper: ContainerId) -> Result<Client> {
        let way = self.way_to(address, keeper)?;
        way.client.clone().ok_or_else(|| {
            let why =
                "the container that keeps the object says no address at which others reach it; set its http.public_url";
            Error::unavailable(why).with("address", address).with("keeper", &way.name)
        })
    }

    pub(super) fn way_to(&self, address: &Address, keeper: ContainerId) -> Result<Arc<Way>> {
        let now_ms = self.now_ms();
        let gone = |why: &'static str| Error::unavailable(why).with("address", address);
        let Some((site, member)) = self.member(keeper) else {
            let why = "a container that has not been heard of since this one started keeps the object; start it";
            return Err(gone(why).with("keeper", format!("{:016x}", keeper.0)));
        };
        if !member.is_alive(now_ms) {
            return Err(gone("the container that keeps the object is not there; start it").with("keeper", member.name));
        }
        self.0.ways.to(site, &member)
    }

    /// What lets this container read one version: a ticket of its own site's, where it has no other one.
    fn options(&self, address: &Address, version: Version, ticket: Option<String>) -> Result<ReadOptions> {
        let until_ms = self.keeper().now_ms().saturating_add(TICKET_MS);
        let own = || self.ring().ticket(address, Grant::Pull(version), until_ms);
        let ticket = ticket.map_or_else(own, Ok)?;
        Ok(ReadOptions { version: Some(version), ticket: Some(ticket), ..ReadOptions::default() })
    }

    /// The sealed bytes of a version, read as they are needed, of the first of these who has them.
    pub(super) fn sealed_at(&self, address: &Address, manifest: &Manifest, holders: Vec<Holder>) -> Result<Arc<Frame>> {
        let seal = manifest
            .seal
            .as_ref()
            .ok_or_else(|| Error::internal("what was never sealed has no sealed bytes").with("address", address))?;
        let form = if seal.key.is_some() { Form::Encrypted } else { Form::Sealed };
        let wanted = Wanted { address: address.clone(), version: manifest.version, form };
        let (kept, gone): (Vec<_>, Vec<_>) =
            holders.into_iter().map(|holder| self.kept_by(&wanted, holder)).partition(Result::is_ok);
        let kept: Vec<Arc<Kept>> = kept.into_iter().flatten().collect();
        if let (true, Some(Err(error))) = (kept.is_empty(), gone.into_iter().next()) {
            return Err(error);
        }
        let (site, choice, runtime) = (self.clone(), Arc::new(Choice::of(kept)), tokio::runtime::Handle::current());
        Ok(Arc::new(Frame { site, wanted, choice, len: seal.bytes, runtime, whole: OnceLock::new() }))
    }

    fn kept_by(&self, wanted: &Wanted, Holder { container, ticket, is_copy }: Holder) -> Result<Arc<Kept>> {
        let way = self.way_to(&wanted.address, container)?;
        let options = self.options(&wanted.address, wanted.version, ticket)?;
        Ok(Arc::new(Kept { site: self.clone(), way, keeper: container, wanted: wanted.clone(), options, is_copy }))
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
        let ticket = match way.site {
            Some(_) => Some(self.ask_opening(address, keeper, version).await?.ticket),
            None => None,
        };
        if let Some(client) = way.door(|| self.now_ms()).await {
            let between = ByteRange::Between(range.start, range.end.saturating_sub(1));
            let options = ReadOptions { range: Some(between), ..self.options(address, version, ticket)? };
            match self.while_heard(keeper, client.pull_with(address, &options)).await {
                Ok(pulled) => return Ok(pulled.into_stream().boxed()),
                Err(error) if way.fails(&error, self.now_ms()) => {
                    tracing::debug!(%error, container = %way.name, "its door fails; the bus is taken");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(self.pieces(&way, &wanted, range).boxed())
    }
}

/// Who has the sealed bytes of a version.
pub(super) struct Holder {
    pub container: ContainerId,
    /// What lets this container read them there, unless its own site's word does.
    pub ticket: Option<String>,
    /// Whether somebody else keeps the object.
    pub is_copy: bool,
}

/// A frame that other containers hold.
pub(super) struct Frame {
    site: Site,
    wanted: Wanted,
    choice: Arc<Choice>,
    len: u64,
    runtime: tokio::runtime::Handle,
    /// All of a small one.
    whole: OnceLock<Bytes>,
}

/// All of a small frame that somebody gave who only has a copy.
pub(super) struct CopyOf(pub Bytes);

impl Source for CopyOf {
    fn len(&self) -> u64 {
        Source::len(&self.0)
    }

    fn read(&self, range: Range<u64>) -> Result<Bytes> {
        Source::read(&self.0, range)
    }

    fn is_second_hand(&self) -> bool {
        true
    }
}

impl Frame {
    /// Somebody else was found to have it.
    pub(super) fn add(&self, holder: Holder) {
        match self.site.kept_by(&self.wanted, holder) {
            Ok(kept) => self.choice.add(kept),
            Err(error) => tracing::debug!(%error, "a copy is not read from"),
        }
    }

    /// Whoever reads sealed bytes so is on a thread that may wait, one of few for each container.
    fn wait<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let kept = self.choice.current()?;
        let _place = kept.way.reader().map_err(|error| error.with("address", &self.wanted.address))?;
        self.runtime.block_on(work)
    }

    /// One part alone.
    async fn part(&self, range: Range<u64>) -> Result<Buffer> {
        let bytes = range.end.saturating_sub(range.start) as usize;
        self.choice.parts(range)?.part(bytes).await
    }
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
            return Ok(self.load(range)?.freeze());
        }
        match self.whole.get() {
            Some(whole) => whole.read(range),
            None => {
                let whole = self.load(0..self.len)?.freeze();
                self.whole.get_or_init(|| whole).read(range)
            }
        }
    }

    fn load(&self, range: Range<u64>) -> Result<Buffer> {
        self.wait(self.part(range))
    }

    fn ends(&self, head: Range<u64>, tail: Range<u64>) -> Result<(Bytes, Bytes)> {
        if self.len <= WHOLE_BYTES {
            return Ok((self.read(head)?, self.read(tail)?));
        }
        // Two journeys at once.
        let both = async { try_join(self.part(head), self.part(tail)).await };
        self.wait(both).map(|(head, tail)| (head.freeze(), tail.freeze()))
    }

    fn is_second_hand(&self) -> bool {
        self.choice.is_second_hand()
    }

    fn run(self: Arc<Self>, range: Range<u64>) -> Option<Box<dyn Run>> {
        let parts = self.choice.parts(range).ok().filter(|_| self.len > WHOLE_BYTES)?;
        Some(Box::new(parts))
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
        self.noted(self.frame.read(range))
    }

    fn load(&self, range: Range<u64>) -> Result<Buffer> {
        self.noted(self.frame.load(range))
    }

    fn ends(&self, head: Range<u64>, tail: Range<u64>) -> Result<(Bytes, Bytes)> {
        self.noted(self.frame.ends(head, tail))
    }

    fn run(self: Arc<Self>, range: Range<u64>) -> Option<Box<dyn Run>> {
        let run = Arc::clone(&self.frame).run(range)?;
        Some(Box::new(NotedRun { of: self, run }))
    }
}

impl Noted {
    fn noted<T>(&self, outcome: Result<T>) -> Result<T> {
        self.site.note(self.keeper, &outcome);
        outcome
    }
}

struct NotedRun {
    of: Arc<Noted>,
    run: Box<dyn Run>,
}

impl Run for NotedRun {
    fn next(&mut self, bytes: usize) -> BoxFuture<'_, Result<Buffer>> {
        async move { self.of.noted(self.run.next(bytes).await) }.boxed()
    }

    fn pause(&mut self) {
        self.run.pause();
    }
}
