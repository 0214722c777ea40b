//! Answering what other sites ask. What is not visible to a site is answered like what is not there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::answer::walk;
use super::super::horizon::Horizon;
use super::super::piece::Form;
use super::super::window::PIECES_MAX;
use super::super::wire::{Page, Place, Told};
use super::super::{Part, Site, locked};
use super::call::{self, Answer, Call, FarPage, Known, Opening};
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::limits::TICKET_MS;
use crate::model::{Address, ContainerId, Dot, Entry, Holds, Name, Version};
use crate::nfr::{Grant, SharedKey, binding};
use crate::telemetry::metrics::labels::Point;
use crate::tiers::Asked;

/// Questions at work at the same time; the rest waits on the bus.
const QUESTIONS_MAX: usize = 64;

/// Within so long after a start the voices of all who live were heard.
const VOICES_MAX_MS: u64 = 30_000;

/// A frame up to this size comes with what opens it.
const FRAME_BYTES_MAX: u64 = 64 << 10;

/// How long the bytes that come with a key may take to be read.
const READ_MAX: Duration = Duration::from_millis(200);

/// Says that the body is bytes which prove themselves.
pub(in crate::site) const SEALED: &str = "Mesh-Sealed";

/// Answers until the bus is gone.
pub(super) async fn answer(site: Site, questions: Subscription) {
    at_most(site, questions, QUESTIONS_MAX, "questions of other sites").await;
}

/// Gives pieces until the bus is gone: they have places of their own, so that questions never wait for them.
pub(super) async fn give(site: Site, questions: Subscription) {
    at_most(site, questions, PIECES_MAX, "pieces for other sites").await;
}

pub(super) async fn at_most(site: Site, mut questions: Subscription, places: usize, what: &str) {
    let places = Arc::new(Semaphore::new(places));
    while let Some(message) = site.next(&mut questions, what).await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let site = site.clone();
        tokio::spawn(async move {
            if let Err(error) = site.answer_site(message).await {
                tracing::debug!(%error, "a question of another site is not answered");
            }
            drop(place);
        });
    }
}

impl Site {
    async fn answer_site(&self, message: Message) -> Result<()> {
        let Some(to) = message.reply else { return Ok(()) };
        let subject = message.subject.as_str();
        let opened = call::split(&message.body).and_then(|(from, sealed)| {
            let key = self.pair(&from).ok()?;
            let call: Call = call::open(&key, subject, sealed).ok()?;
            Some((from, key, call))
        });
        let Some((from, key, call)) = opened else {
            let error = Error::new(Kind::Unauthorised, "a question that no site of the mesh has asked");
            self.meet_stranger(subject, &error);
            return self.publish(to.as_str(), call::to_stranger()).await;
        };
        let is_encrypted = matches!(&call, Call::Piece(ask) if ask.form == Form::Encrypted);
        let answer = match self.answer_call(&from, call).await {
            // Nobody without its data key makes bytes that open: they travel as they are.
            Ok(Answer::Piece(bytes)) if is_encrypted => {
                let headers = vec![(SEALED.to_owned(), "1".to_owned())];
                return self.0.parts.bus.publish(Message { headers, ..Message::to(to, bytes) }).await;
            }
            Ok(answer) => answer,
            Err(error) => Answer::Refused(error.into()),
        };
        self.answer_with(&key, to.as_str(), &answer).await
    }

    async fn answer_with(&self, key: &SharedKey, to: &str, answer: &Answer) -> Result<()> {
        self.publish(to, call::answered(key, to, answer)?).await
    }

    async fn answer_call(&self, from: &Name, call: Call) -> Result<Answer> {
        match call {
            Call::Roster => Ok(Answer::Roster(self.0.mesh.roster.all())),
            Call::Directory(after) => Ok(self.directory_page(from, after.as_deref())),
            Call::Policy(collection) => Ok(Answer::Policy(self.shown_policy(&collection, from).map(Box::new))),
            Call::Policies(after) => self.policies_page(after.as_ref()),
            Call::Latest(address, version) => {
                let address: Address = address.parse()?;
                let Asked { found, silent } = match self.is_visible(address.collection(), from) {
                    true => self.latest_here(&address, version).await?,
                    false => Asked::default(),
                };
                Ok(Answer::Latest(found.and_then(|entry| self.known(entry)).map(Box::new), silent))
            }
            Call::Holds(address) => {
                let address: Address = address.parse()?;
                let holds = match self.is_visible(address.collection(), from) {
                    true => self.blocking(move |keeper| keeper.holds(&address)).await?,
                    false => Holds::default(),
                };
                Ok(Answer::Holds(holds))
            }
            Call::Lacking { collection, seen, place } => {
                if !self.is_visible(&collection, from) {
                    return Err(Error::not_found("there is no such collection"));
                }
                self.far_page(collection, seen, place).await.map(Answer::Lacking)
            }
            Call::Open(address, version) => {
                let address: Address = address.parse()?;
                self.must_show(&address, from)?;
                self.opening(address, version).await.map(Answer::Open)
            }
            Call::Piece(ask) => {
                self.must_show(&ask.address.parse()?, from)?;
                Ok(Answer::Piece(self.look_up(ask).await?.into()))
            }
            Call::Change(number, change) => self.make_change(from, number, change).await.map(Answer::Changed),
        }
    }

    fn must_show(&self, address: &Address, to: &Name) -> Result<()> {
        if !self.is_visible(address.collection(), to) {
            return Err(Error::not_found("there is no such object"));
        }
        let Some(verdict) = self.0.parts.policies.on(address.collection()) else { return Ok(()) };
        verdict.may_leave(to).inspect_err(|_| self.0.parts.telemetry.metrics.policy_refusals.one(Point::Leave))
    }

    /// What this site itself keeps of an address, as far as any of its containers knows.
    async fn latest_here(&self, address: &Address, version: Option<Version>) -> Result<Asked> {
        let asked = address.clone();
        let own = self.blocking(move |keeper| match version {
            None => keeper.newest_entry(&asked),
            Some(version) => keeper.own_version(&asked, version),
        });
        match own.await? {
            Some(entry) => Ok(Asked { found: Some(entry), silent: Vec::new() }),
            None => Ok(self.ask_own_site(address, version).await),
        }
    }

    /// An entry for another site; nothing of what a third one keeps.
    fn known(&self, entry: Entry) -> Option<Known> {
        let keeper = self.own_name_of(entry.keeper)?;
        Some(Known { entry: entry.for_others(), keeper })
    }

    /// The name of a container of this site, as far as it was ever heard.
    fn own_name_of(&self, container: ContainerId) -> Option<String> {
        self.known_as(container).or_else(|| Some(locked(&self.0.mesh.own).get(&container)?.to_string()))
    }

    async fn far_page(&self, collection: String, seen: Vec<Dot>, place: Place) -> Result<FarPage> {
        let (me, room) = (self.clone(), self.message_room());
        self.blocking(move |keeper| {
            let Page { entries, vector, next } =
                walk(&me, keeper, Some(&collection), &Horizon::of(seen), &place, room / 2)?;
            let mut keepers: BTreeMap<ContainerId, String> = BTreeMap::new();
            let mut told = Vec::with_capacity(entries.len());
            for Told(address, entry) in entries {
                let name = match me.own_name_of(entry.keeper) {
                    Some(name) => name,
                    // It may be another site's, whose voice is still to be heard; one that stays silent is of this one.
                    None if me.now_ms().saturating_sub(me.0.joined_ms) < VOICES_MAX_MS => {
                        return Err(Error::unavailable("who keeps an object is not known yet; ask again"));
                    }
                    None => format!("{:016x}", entry.keeper.0),
                };
                keepers.insert(entry.keeper, name);
                told.push(Told(address, entry.for_others()));
            }
            Ok(FarPage { entries: told, keepers: keepers.into_iter().collect(), vector, next })
        })
        .await
    }

    /// What opens a version that this site keeps, or that this container has a copy of.
    async fn opening(&self, address: Address, version: Version) -> Result<Opening> {
        let asked = address.clone();
        let known = self.blocking(move |keeper| {
            if let Some(own) = keeper.own_version(&asked, version)? {
                return Ok((Some(own), true));
            }
            if let Some((entry, _)) = keeper.copy_of(&asked, version)? {
                return Ok((Some(entry), true));
            }
            Ok((keeper.newest_entry(&asked)?.filter(|entry| entry.version() == version), false))
        });
        let absent = || Error::not_found("this version is not here").with("address", &address);
        let (entry, is_here) = known.await?;
        let entry = entry.filter(|entry| is_here || !self.is_far(entry.keeper)).ok_or_else(absent)?;
        let manifest = entry.object().ok_or_else(absent)?;
        let until_ms = self.keeper().now_ms().saturating_add(TICKET_MS);
        let ticket = self.ring().ticket(&address, Grant::Pull(version), until_ms)?;
        let Some(seal) = &manifest.seal else { return Ok(Opening { key: None, ticket, frame: Vec::new() }) };
        let binding = binding(&address, version, manifest.size, seal);
        let key = seal.key.as_ref().map(|key| self.ring().unwrap(key, &binding)).transpose()?;
        let is_small = is_here && seal.bytes <= FRAME_BYTES_MAX;
        let frame = match is_small {
            true => {
                let part = Part { address, version, range: 0..seal.bytes, deadline: READ_MAX };
                // Without it the frame is read like a large one.
                let read = timeout(READ_MAX, self.0.parts.pieces.sealed(part)).await;
                read.ok().and_then(Result::ok).map(Vec::from).unwrap_or_default()
            }
            false => Vec::new(),
        };
        Ok(Opening { key: key.map(|key| *key.expose()), ticket, frame })
    }
}

impl Site {
    /// Whether a container is another site's.
    pub(in crate::site) fn is_far(&self, container: ContainerId) -> bool {
        locked(&self.0.mesh.far).home(container).is_some() && !self.is_own(container)
    }
}
