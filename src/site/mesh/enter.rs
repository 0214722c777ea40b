//! Entering the mesh by an invitation: the hub learns the keys of the site that comes, and that one all others'.
//!
//! Who comes knows the hub's keys from the invitation, and so can seal what it says before the hub knows it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::super::Site;
use super::super::wire::Said;
use super::call;
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::model::{Name, SiteKeys, SiteRecord};

/// How long the hub may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How long it is waited before it is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The same after a refusal.
const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// Bytes of keys before what is sealed.
const KEYS_BYTES: usize = 64;

#[derive(Serialize, Deserialize)]
struct Enter {
    name: Name,
    word: [u8; 32],
}

#[derive(Serialize, Deserialize)]
enum Entered {
    /// The sites of the mesh, the one that came among them.
    Welcome(Vec<SiteRecord>),
    Refused(String, String),
}

impl Said for Enter {
    const KIND: &'static str = "enter 1";
}

impl Said for Entered {
    const KIND: &'static str = "entered 1";
}

/// Enters by the invitation, if there is one. A hub that is not reached is tried again for as long as it takes.
pub(super) async fn enter(site: Site) {
    let Some(invitation) = &site.0.mesh.invitation else { return };
    let mut told = false;
    while let Err(error) = site.enter_once().await {
        // Once in words for everybody; it may take days until a hub is reached.
        match told {
            false => tracing::warn!(%error, hub = %invitation.site, "the mesh is not entered yet; it is tried again"),
            true => tracing::debug!(%error, hub = %invitation.site, "the mesh is not entered yet"),
        }
        told = true;
        // One that refuses will hardly do otherwise a moment later.
        let is_refused = matches!(error.kind(), Kind::Unauthorised | Kind::AlreadyExists);
        tokio::time::sleep(if is_refused { REFUSED_RETRY } else { RETRY }).await;
    }
    tracing::info!(hub = %invitation.site, sites = site.0.mesh.roster.all().len(), "this site is one of the mesh");
}

/// Lets in who has the word of the invitation.
pub(super) async fn let_in(site: Site, mut entering: Subscription) {
    while let Some(message) = site.next(&mut entering, "entering").await {
        let subject = message.subject.to_string();
        if let Err(error) = site.let_one_in(message).await {
            site.meet_stranger(&subject, &error);
        }
    }
}

impl Site {
    async fn enter_once(&self) -> Result<()> {
        let mesh = &self.0.mesh;
        let Some(hub) = &mesh.invitation else { return Ok(()) };
        let subject = format!("mesh.enter.{}", hub.site);
        let key = mesh.identity.with(&hub.keys)?;
        let enter = Enter { name: self.0.parts.site.clone(), word: *hub.word };
        let sealed = call::seal(&key, &subject, &enter)?;
        let body = [&mesh.identity.keys().to_bytes()[..], &sealed].concat();
        let answer = self.0.parts.bus.request(Message::to(subject.parse()?, body), ANSWER_MAX).await?;
        match call::open(&key, answer.subject.as_str(), &answer.body)? {
            Entered::Welcome(records) => self.adopt_roster(records).await,
            Entered::Refused(kind, why) => Err(Error::new(Kind::from_name(&kind).unwrap_or(Kind::Unavailable), why)),
        }
    }

    async fn let_one_in(&self, message: Message) -> Result<()> {
        let Some(to) = message.reply else { return Ok(()) };
        let foreign = || Error::new(Kind::Unauthorised, "this is no request to enter");
        let (keys, sealed) = message.body.split_first_chunk::<KEYS_BYTES>().ok_or_else(foreign)?;
        let keys = SiteKeys::from_bytes(keys);
        let key = self.0.mesh.identity.with(&keys)?;
        let Enter { name, word } = call::open(&key, message.subject.as_str(), sealed)?;
        let word = Zeroizing::new(word);
        let answer = match self.admit(&name, keys, &word).await {
            Ok(()) => Entered::Welcome(self.0.mesh.roster.all()),
            Err(error) => {
                tracing::warn!(%error, site = %name, "a site was not let into the mesh");
                Entered::Refused(error.kind().to_string(), error.message().to_owned())
            }
        };
        self.publish(to.as_str(), call::seal(&key, to.as_str(), &answer)?).await
    }

    async fn admit(&self, name: &Name, keys: SiteKeys, word: &[u8; 32]) -> Result<()> {
        let mesh = &self.0.mesh;
        if !mesh.identity.is_invited(word) {
            let why = "the invitation is not one of this hub; make the site anew with the file that the hub has now";
            return Err(Error::new(Kind::Unauthorised, why));
        }
        match mesh.roster.get(name) {
            Some(known) if known.keys == keys => Ok(()),
            Some(_) => {
                let why = "another site of the mesh has this name and other keys; take another name, or the keyring that the site had before";
                Err(Error::new(Kind::AlreadyExists, why).with("site", name))
            }
            None => {
                tracing::info!(site = %name, "a site enters the mesh");
                let since_ms = self.keeper().now_ms();
                self.adopt_roster(vec![SiteRecord { name: name.clone(), keys, since_ms }]).await
            }
        }
    }

    /// Takes in what another site knows of the mesh.
    pub(super) async fn adopt_roster(&self, records: Vec<SiteRecord>) -> Result<()> {
        let site = self.clone();
        let before = self.0.mesh.roster.sum();
        let adopted = tokio::task::spawn_blocking(move || site.0.mesh.roster.adopt(records)).await;
        if self.0.mesh.roster.sum() != before {
            self.0.mesh.vain.forget();
        }
        adopted.map_err(|error| Error::internal("the roster could not be kept").because(error))?
    }
}
