//! Sealed bytes of another container in one go: one answer of its door that is cut into parts as it arrives. Where the
//! door fails or is late the bus stands in for a part, and the door is asked again for what comes after it.

use std::ops::Range;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use tokio::sync::SemaphorePermit;

use super::Site;
use super::ask::unreachable;
use super::piece::{Gathering, Wanted};
use super::route::{Way, is_of_the_way};
use crate::client::{Client, FrameBytes, ReadOptions};
use crate::error::{Error, Result};
use crate::model::{Buffer, ContainerId};

/// Reads at work that are asked for both ways: where everybody is slow, asking twice makes it worse.
pub(super) const HEDGES_MAX: usize = 8;

/// The sealed bytes of a version, and the ways to them.
pub(super) struct Kept {
    pub site: Site,
    pub way: Arc<Way>,
    pub keeper: ContainerId,
    pub wanted: Wanted,
    pub options: ReadOptions,
    /// Whether somebody else keeps the object.
    pub is_copy: bool,
}

/// A range of them, part by part.
pub(super) struct Parts {
    kept: Arc<Kept>,
    left: Range<u64>,
    from: From,
}

/// Where the rest comes from.
enum From {
    Nowhere,
    Door(Box<FrameBytes>),
    Bus(Gathering),
}

impl Site {
    /// A place for a read that is asked for a second way, if there is one.
    pub(super) fn hedge(&self) -> Option<SemaphorePermit<'_>> {
        let place = self.0.hedges.try_acquire().ok()?;
        self.0.parts.telemetry.metrics.peer_hedges.one(());
        Some(place)
    }

    /// How long so many bytes of a container are expected to take, as far as that was measured.
    pub(super) fn expects(&self, of: ContainerId, bytes: u64) -> Option<Duration> {
        let requests = self.member(of).map_or(0, |(_, member)| member.load.requests);
        let pace = self.0.ways.pace(of).filter(|pace| pace.answers().is_some())?;
        Some(pace.expects(bytes, requests, self.now_ms()))
    }
}

impl Kept {
    /// How long so many bytes of it are expected to take, where it was measured at what rate they come.
    pub(super) fn expects(&self, bytes: u64) -> Option<Duration> {
        let is_rated = self.way.pace().is_rated(self.site.now_ms());
        is_rated.then(|| self.site.expects(self.keeper, bytes)).flatten()
    }

    fn ticks(&self) -> u64 {
        self.site.0.parts.telemetry.ticks_ns()
    }

    fn since(&self, ticks: u64) -> Duration {
        Duration::from_nanos(self.ticks().saturating_sub(ticks))
    }

    fn pieces(&self, range: Range<u64>) -> Gathering {
        Gathering::of(&self.site, &self.way, &self.wanted, range)
    }

    async fn over_bus(&self, part: Range<u64>) -> Result<Buffer> {
        let bytes = length(&part);
        self.pieces(part).gather(bytes).await
    }

    /// The door is late: what comes first is taken, its answer, which may go on, or this part over the bus.
    async fn hedged(
        &self,
        begins: Pin<&mut impl Future<Output = Result<Box<FrameBytes>>>>,
        part: Range<u64>,
        since: u64,
    ) -> Result<(Buffer, Option<Box<FrameBytes>>)> {
        let bytes = length(&part);
        let door = async { filled(begins.await?, bytes).await.map(|(part, answer)| (part, Some(answer))) };
        let bus = async { self.over_bus(part).await.map(|part| (part, None)) };
        let Some(_place) = self.site.hedge() else { return door.await };
        match select(pin!(door), pin!(bus)).await {
            Either::Left((Ok(arrived), _)) => Ok(arrived),
            Either::Left((Err(_), bus)) => bus.await,
            Either::Right((Ok(arrived), _)) => {
                self.way.outrun(self.since(since), self.site.now_ms());
                Ok(arrived)
            }
            Either::Right((Err(_), door)) => door.await,
        }
    }
}

impl Parts {
    pub(super) fn of(kept: Arc<Kept>, left: Range<u64>) -> Self {
        Parts { kept, left, from: From::Nowhere }
    }

    /// Who is read from.
    pub(super) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// What was not read yet.
    pub(super) fn left(&self) -> Range<u64> {
        self.left.clone()
    }

    pub(super) async fn part(&mut self, bytes: usize) -> Result<Buffer> {
        let end = self.left.start.saturating_add(bytes as u64);
        if end > self.left.end {
            return Err(Error::internal("more is read than was asked for").with("address", &self.kept.wanted.address));
        }
        let kept = Arc::clone(&self.kept);
        let since = kept.ticks();
        let arrived = kept.site.while_heard(kept.keeper, self.arrive(bytes)).await;
        let arrived = arrived.map_err(|error| unreachable(error, &self.kept.wanted.address))?;
        kept.way.gave(bytes as u64, kept.since(since), kept.site.now_ms());
        self.left.start = end;
        Ok(arrived)
    }

    fn next_part(&self, bytes: usize) -> Range<u64> {
        self.left.start..self.left.start + bytes as u64
    }

    async fn arrive(&mut self, bytes: usize) -> Result<Buffer> {
        let kept = Arc::clone(&self.kept);
        let Some(client) = kept.way.door(|| kept.site.now_ms()).await else { return self.over_bus(bytes).await };
        match self.through_door(client, bytes).await {
            Err(error) if kept.way.fails(&error, kept.site.now_ms()) => kept
                .over_bus(self.next_part(bytes))
                .await
                .map_err(|other| if is_of_the_way(&other) { error } else { other }),
            outcome => outcome,
        }
    }

    /// This part and all that follows.
    async fn over_bus(&mut self, bytes: usize) -> Result<Buffer> {
        let mut pieces = match std::mem::replace(&mut self.from, From::Nowhere) {
            From::Bus(pieces) => pieces,
            _ => self.kept.pieces(self.left.clone()),
        };
        let part = pieces.gather(bytes).await?;
        self.from = From::Bus(pieces);
        Ok(part)
    }

    async fn through_door(&mut self, client: &Client, bytes: usize) -> Result<Buffer> {
        let kept = Arc::clone(&self.kept);
        let since = kept.ticks();
        let begins = match std::mem::replace(&mut self.from, From::Nowhere) {
            From::Door(mut answer) => async { answer.wait().await.map(|()| answer) }.left_future(),
            _ => {
                let left = self.left.clone();
                let asked = async {
                    let answer = client.frame(&kept.wanted.address, &kept.options, left).await?;
                    kept.way.began(kept.since(since));
                    Ok(Box::new(answer))
                };
                asked.right_future()
            }
        };
        let mut begins = pin!(begins);
        let (part, answer) = match tokio::time::timeout(kept.way.patience(), &mut begins).await {
            Ok(begun) => filled(begun?, bytes).await?,
            Err(_) => match kept.hedged(begins, self.next_part(bytes), since).await? {
                (part, Some(answer)) => (part, answer),
                (part, None) => return Ok(part),
            },
        };
        if self.left.start + (bytes as u64) < self.left.end {
            self.from = From::Door(answer);
        } else {
            answer.end();
        }
        Ok(part)
    }

    /// Nothing is asked for ahead until the next part is.
    pub(super) fn pause(&mut self) {
        // Pieces that are under way hold nothing over there, and end by themselves.
        if matches!(self.from, From::Door(_)) {
            self.from = From::Nowhere;
        }
    }
}

fn length(range: &Range<u64>) -> usize {
    range.end.saturating_sub(range.start) as usize
}

async fn filled(mut answer: Box<FrameBytes>, bytes: usize) -> Result<(Buffer, Box<FrameBytes>)> {
    let mut part = Buffer::of(bytes);
    answer.fill(&mut part).await?;
    Ok((part, answer))
}
