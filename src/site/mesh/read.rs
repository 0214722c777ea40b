//! Asking the other sites what they know and have, and reading it from there.

use bytes::Bytes;
use futures_util::future::join_all;

use super::super::members::Member;
use super::super::piece::{Ask, Form};
use super::super::{Site, locked};
use super::answer::SEALED;
use super::call::{Answer, Call, Known};
use crate::bus::Message;
use crate::error::{Error, Result};
use crate::limits::ASK_MAX;
use crate::model::{Address, ContainerId, Entry, Name, Version};
use crate::tiers::{Asked, Elsewhere, Everywhere};

impl Site {
    /// Asks the sites that may have something of an address what they keep of it.
    pub(in crate::site) async fn ask_sites(&self, address: &Address, version: Option<Version>) -> Asked {
        if !self.has_sites() {
            return Asked::default();
        }
        self.use_collection(address.collection());
        let now_ms = self.now_ms();
        let (alive, silent): (Vec<Name>, Vec<Name>) = self
            .sites_with(address.collection())
            .into_iter()
            .partition(|site| !locked(&self.0.mesh.far).alive(site, now_ms).is_empty());
        let mut silent: Vec<String> = silent.iter().map(Name::to_string).collect();
        let (me, call) = (self, &Call::Latest(address.as_str().to_owned(), version));
        let ask = |site: Name| async move {
            let answer = me.call(&site, None, call, ASK_MAX).await;
            (site, answer)
        };
        let mut found: Option<Entry> = None;
        for (site, answer) in join_all(alive.into_iter().map(ask)).await {
            match answer {
                Ok(Answer::Latest(known, others)) => {
                    silent.extend(others.iter().map(|other| format!("{site}/{other}")));
                    let Some(known) = known else { continue };
                    match self.take_known(&site, *known).await {
                        Ok(entry) => found = found.into_iter().chain([entry]).max_by_key(Entry::version),
                        Err(error) => tracing::debug!(%error, %site, "what another site knows is not taken in"),
                    }
                }
                answer => {
                    tracing::debug!(?answer, %site, "another site was asked in vain");
                    silent.push(site.to_string());
                }
            }
        }
        // It may be of a collection that nobody was known to have a moment ago.
        if found.is_some() && !self.0.mesh.uses.has(address.collection()) {
            self.want(|wanted| wanted.used.extend([address.collection().to_owned()]));
        }
        Asked { found, silent }
    }

    async fn take_known(&self, site: &Name, known: Known) -> Result<Entry> {
        let Known { entry, keeper } = known;
        let keepers = [(entry.keeper, keeper.parse()?)].into();
        self.claim_all(site, &keepers).await?;
        Ok(entry)
    }

    /// Asks each container of the sites that may have something of an address what it has.
    pub(in crate::site) async fn locate_at_sites(&self, address: &Address) -> Everywhere {
        let now_ms = self.now_ms();
        let mut everywhere = Everywhere::default();
        let mut todo = Vec::new();
        for site in self.sites_with(address.collection()) {
            let alive = locked(&self.0.mesh.far).alive(&site, now_ms);
            if alive.is_empty() {
                everywhere.silent.push(site.to_string());
            }
            todo.extend(alive.into_iter().map(|(container, name)| (site.clone(), container, name)));
        }
        let (me, call) = (self, &Call::Holds(address.as_str().to_owned()));
        let ask = |(site, container, name): (Name, ContainerId, Name)| async move {
            let began = me.0.parts.telemetry.ticks_ns();
            let answer = me.call(&site, Some(&name), call, ASK_MAX).await;
            (site, container, name, me.0.parts.telemetry.since_ns(began), answer)
        };
        for (site, container, name, took_ns, answer) in join_all(todo.into_iter().map(ask)).await {
            match answer {
                Ok(Answer::Holds(holds)) => everywhere.answers.push(Elsewhere {
                    container,
                    site: Some(site.to_string()),
                    name: name.to_string(),
                    took_ns,
                    holds,
                }),
                answer => {
                    tracing::debug!(?answer, %site, container = %name, "asked in vain where an object is");
                    everywhere.silent.push(format!("{site}/{name}"));
                }
            }
        }
        everywhere
    }

    /// How a piece is asked for of another site's container: on which subject, in which words.
    pub(in crate::site) fn far_piece(&self, site: &Name, of: &Name, ask: Ask) -> Result<(String, Vec<u8>)> {
        let subject = format!("mesh.piece.{site}.{of}");
        let question = self.question(site, &subject, &Call::Piece(ask))?;
        Ok((subject, question))
    }

    /// The bytes that another site gave.
    pub(in crate::site) fn far_bytes(&self, site: &Name, form: Form, answer: &Message) -> Result<Bytes> {
        // Only what is proven by its data key may come as it is.
        if form == Form::Encrypted && answer.header(SEALED).is_some() {
            return Ok(answer.body.clone());
        }
        match self.answer_of(site, answer.subject.as_str(), &answer.body)? {
            Answer::Piece(bytes) => Ok(bytes.into()),
            _ => Err(Error::internal("another site answers something else").with("site", site)),
        }
    }

    /// A container of this site or of another one, which is named then.
    pub(in crate::site) fn member(&self, container: ContainerId) -> Option<(Option<Name>, Member)> {
        let own = locked(&self.0.members).get(container).cloned();
        let far = || locked(&self.0.mesh.far).member(container).map(|(site, member)| (Some(site), member));
        own.map(|member| (None, member)).or_else(far)
    }
}
