//! Answering what the others ask.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Site;
use super::horizon::Horizon;
use super::wire::{self, Page, Place, Question, Reply, Told};
use crate::bus::{Message, Subscription};
use crate::error::{Error, Result};
use crate::model::{Address, Entry, Head};
use crate::tiers::Keeper;

/// Questions at work at the same time; the rest waits on the bus.
const QUESTIONS_MAX: usize = 64;

/// Entries of a page, before it is measured: as many as fit into a message as a rule, for those of one that is too long are
/// looked for once more.
const PAGE_ENTRIES: usize = 2048;

/// How long it is looked for the entries of a page.
const LOOK_MAX_NS: u64 = 250_000_000;

/// Answers until the bus is gone.
pub(super) async fn answer(site: Site, mut questions: Subscription) {
    let places = Arc::new(Semaphore::new(QUESTIONS_MAX));
    while let Some(message) = site.next(&mut questions, "questions").await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let site = site.clone();
        tokio::spawn(async move {
            if let Err(error) = site.answer_one(message).await {
                tracing::debug!(%error, "a question of another container is not answered");
            }
            drop(place);
        });
    }
}

impl Site {
    async fn answer_one(&self, message: Message) -> Result<()> {
        let question: Question = self.believe(message.subject.as_str(), &message.body)?;
        let Some(to) = message.reply else { return Ok(()) };
        let room = self.0.parts.bus.payload_max().saturating_sub(wire::SLACK_BYTES);
        let reply = match question {
            Question::Shared { after, only } => {
                let (page, next) = self.shared_page(after.as_deref(), only.as_deref(), room);
                Ok(Reply::Shared(page, next))
            }
            Question::Decide(address, number) => self.say_decided(address, number).await,
            Question::TakeOver(address, from, manifest) => self.say_taken(address, from, *manifest).await,
            question => {
                let me = self.clone();
                self.blocking(move |keeper| reply(&me, keeper, question, room)).await
            }
        };
        let reply = reply.unwrap_or_else(|error| Reply::Refused(error.to_string()));
        let body = wire::write(&self.ring(), to.as_str(), &reply)?;
        self.publish(to.as_str(), body).await
    }
}

impl Site {
    async fn say_decided(&self, address: String, number: u64) -> Result<Reply> {
        let address: Address = address.parse()?;
        let number = self.decided(&address, number).await?;
        let known = self.blocking(move |keeper| keeper.newest_entry(&address)).await?;
        Ok(Reply::Decide(number, known.map(Box::new)))
    }
}

fn reply(site: &Site, keeper: &Keeper, question: Question, room: usize) -> Result<Reply> {
    match question {
        Question::Decide(..) | Question::Shared { .. } | Question::TakeOver(..) => {
            Err(Error::internal("this question is not one for the store"))
        }
        Question::Latest(address, version) => {
            let address: Address = address.parse()?;
            let known = match version {
                None => keeper.newest_entry(&address)?,
                Some(version) => keeper.own_version(&address, version)?,
            };
            Ok(Reply::Latest(known.map(Box::new)))
        }
        Question::Holds(address) => Ok(Reply::Holds(keeper.holds(&address.parse()?)?)),
        Question::Lacking { seen, place } => {
            walk(site, keeper, None, &Horizon::of(seen), &place, room).map(Reply::Lacking)
        }
    }
}

/// A page of what this site keeps, of one collection where one is named, for who has seen this much. What other sites
/// keep they tell themselves.
pub(super) fn walk(
    site: &Site,
    keeper: &Keeper,
    within: Option<&str>,
    seen: &Horizon,
    place: &Place,
    room: usize,
) -> Result<Page> {
    // Taken before anything is looked at: whatever it covers is there to be seen.
    let vector = keeper.vector();
    let lacks_nothing = *place == Place::first() && seen.covers(&vector);
    let began_ns = site.0.parts.telemetry.ticks_ns();
    let mut limit = PAGE_ENTRIES;
    loop {
        let next = (!lacks_nothing).then(|| place.clone());
        let mut page = Page { entries: Vec::new(), vector: vector.clone(), next };
        while let Some(place) = page.next.take() {
            let (found, next) = stretch(keeper, within, seen, place, limit - page.entries.len())?;
            page.entries.extend(found.into_iter().filter(|Told(_, entry)| !site.is_far(entry.keeper)));
            page.next = next;
            // Who lacks little of much does not ask anew for each stretch that has nothing of it.
            if page.entries.len() >= limit || site.0.parts.telemetry.since_ns(began_ns) > LOOK_MAX_NS {
                break;
            }
        }
        let bytes = wire::plain(&page)?.len();
        if limit == 1 || bytes <= room {
            return Ok(page);
        }
        limit = (page.entries.len() * room / bytes * 9 / 10).max(1);
    }
}

/// The next of it, and where to go on.
fn stretch(
    keeper: &Keeper,
    within: Option<&str>,
    seen: &Horizon,
    place: Place,
    limit: usize,
) -> Result<(Vec<Told>, Option<Place>)> {
    let told = |(address, keeper, head): (Address, _, Head)| Told::new(&address, Entry { keeper, head });
    match place {
        Place::Memory(after) => {
            let after = after.map(|after| after.parse::<Address>()).transpose()?;
            let found = keeper.lacking_in_memory(after.as_ref(), limit, |dot| seen.has(dot));
            // Memory comes first: what is written to disk meanwhile is met there.
            let next = match found.last().filter(|_| found.len() >= limit) {
                Some((address, _)) => Place::Memory(Some(address.as_str().to_owned())),
                None => Place::Store(Default::default()),
            };
            let me = keeper.me();
            let found = found.into_iter().filter(|(address, _)| within.is_none_or(|one| address.collection() == one));
            Ok((found.map(|(address, head)| told((address, me, head))).collect(), Some(next)))
        }
        Place::Store(place) => {
            let stretch = keeper.lacking(within, place, limit, |dot| seen.has(dot))?;
            let me = keeper.me();
            let found = stretch.found.into_iter();
            let entries = found.map(|(address, keeper, head)| told((address, keeper.unwrap_or(me), head))).collect();
            Ok((entries, stretch.next.map(Place::Store)))
        }
    }
}

impl Site {
    /// Asks one container something.
    pub(super) async fn ask_one(
        &self,
        name: &crate::model::Name,
        question: &Question,
        deadline: std::time::Duration,
    ) -> Result<Reply> {
        let subject = self.ask_subject(name);
        let body = wire::write(&self.ring(), &subject, question)?;
        let began = self.0.parts.telemetry.ticks_ns();
        let asked = self.0.parts.bus.request(Message::to(subject.parse()?, body), deadline).await;
        self.0.books.note(name, &asked, Some(self.0.parts.telemetry.since_ns(began)));
        let answer = asked.map_err(|error| {
            Error::unavailable("a container of the site does not answer").with("container", name).because(error)
        })?;
        // It is signed for the subject that was given for the answer.
        self.believe(answer.subject.as_str(), &answer.body)
    }
}
