//! The other sites of the mesh: which there are, who is of them, what each has, and what is asked of them.
//!
//! | subject | what is said | by whom |
//! |---|---|---|
//! | `mesh.enter.{site}` | a site that was invited wants in | who is not on the roster yet |
//! | `mesh.voice.{site}` | that a container lives, where it is reached, sums of what its site has and knows | each, every second |
//! | `mesh.news.{site}.{collection}` | changes, in order; in between, how far they have come | each, soon after the change |
//! | `mesh.ask.{site}` | what the site knows, what somebody lacks | any container answers |
//! | `mesh.ask.{site}.{container}` | the same, and what that container has | each |
//! | `mesh.change.{site}.{container}` | a change whose condition that site decides | each |
//! | `mesh.part.{site}.{container}` | more of the body of such a push | each |
//! | `mesh.piece.{site}.{container}` | bytes of a version, for who does not reach its HTTP door | each |
//!
//! A site is believed for its keys (`nfr/identity.rs`), which the roster names. What is said to all is signed, what two
//! say to each other is sealed, and the news of a collection are sealed for those who may see it.
//!
//! Entries of other sites lie in the table where those of the own site's other containers are, for the collections that
//! are used here. The dots of a collection are no dense row abroad, so a batch says behind which one it goes on.

mod answer;
mod call;
mod decree;
mod directory;
mod enter;
mod far;
mod fetch;
mod hear;
mod home;
mod listen;
mod making;
mod open;
mod read;
mod roster;
mod standing;
mod tell;
mod uses;
mod voice;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, Semaphore, mpsc};

use super::{Site, locked};
use crate::config::MeshInvitation;
use crate::error::Result;
use crate::model::{ContainerId, Incarnation, Name, SiteKeys};
use crate::nfr::{Identity, SharedKey};
use crate::store::{Batch, FarContainer};

use decree::Vain;
use directory::Directory;
use far::Far;
use hear::{FarNews, Wanted};
pub use making::Changes;
use making::Changing;
use open::Spares;
pub use roster::Roster;
pub use standing::SiteStanding;
use tell::Chains;
use uses::Uses;

/// What was heard of other sites and waits to be taken in.
const HEARD_MAX: usize = 256;

/// Collections of other sites that are fetched at the same time.
const WALKS_MAX: usize = 4;

/// Sites that are asked for their policies at the same time.
const DECREES_MAX: usize = 4;

/// What a site is for the other ones.
pub(super) struct Mesh {
    identity: Identity,
    pub(super) roster: Arc<Roster>,
    /// By whom this site was invited.
    invitation: Option<MeshInvitation>,
    /// Keys that were agreed on with others.
    pairs: Mutex<HashMap<Name, (SiteKeys, SharedKey)>>,
    pub(super) far: Mutex<Far>,
    /// What this site shows to others.
    shown: Mutex<Arc<Directory>>,
    chains: Mutex<Chains>,
    uses: Uses,
    heard: mpsc::Sender<FarNews>,
    wanted: Mutex<Wanted>,
    /// Containers of this site that were heard at some time: no other site may claim them.
    own: Mutex<HashMap<ContainerId, Name>>,
    /// Rung when somebody is heard who does not know this container yet.
    pub(super) heard_of: Notify,
    /// Held by who asks another site which sites there are.
    asking: Arc<Semaphore>,
    /// Held by who asks another site which policies there are.
    decreeing: Arc<Semaphore>,
    vain: Vain,
    pub(super) spares: Spares,
    /// What other sites have this one change.
    changing: Changing,
    /// Held by who fetches a collection.
    walks: Arc<Semaphore>,
}

/// What a mesh is entered with.
pub struct MeshParts {
    /// What this site proves itself by.
    pub identity: Identity,
    /// The sites that are known.
    pub roster: Arc<Roster>,
    /// By whom this site was invited.
    pub invitation: Option<MeshInvitation>,
}

impl Mesh {
    pub(super) fn new(
        parts: MeshParts,
        me: (ContainerId, Incarnation),
        known: Vec<FarContainer>,
    ) -> (Self, mpsc::Receiver<FarNews>) {
        let (own, far): (Vec<_>, Vec<_>) = known.into_iter().partition(|one| one.site == *parts.roster.own());
        let own = own.into_iter().map(|one| (one.container, one.name)).collect();
        let MeshParts { identity, roster, invitation } = parts;
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        let mesh = Mesh {
            identity,
            roster,
            invitation,
            pairs: Mutex::default(),
            far: Mutex::new(Far::new(me.0, me.1, far)),
            shown: Mutex::default(),
            chains: Mutex::default(),
            uses: Uses::default(),
            heard,
            wanted: Mutex::default(),
            own: Mutex::new(own),
            heard_of: Notify::new(),
            asking: Arc::new(Semaphore::new(1)),
            decreeing: Arc::new(Semaphore::new(DECREES_MAX)),
            vain: Vain::default(),
            spares: Spares::default(),
            changing: Changing::default(),
            walks: Arc::new(Semaphore::new(WALKS_MAX)),
        };
        (mesh, hearing)
    }
}

impl Site {
    /// Begins to be one of the mesh: listens to the other sites, and tells them.
    pub(super) async fn enter_mesh(&self, hearing: mpsc::Receiver<FarNews>) -> Result<()> {
        let (site, container) = (&self.0.parts.site, &self.0.parts.container);
        let shared = |subject: String| async move {
            let pattern = subject.parse()?;
            self.0.parts.bus.subscribe(&pattern, Some("meshstore")).await
        };
        let entering = shared(format!("mesh.enter.{site}")).await?;
        let voices = self.subscribe("mesh.voice.*").await?;
        let for_any = shared(format!("mesh.ask.{site}")).await?;
        let questions = self.subscribe(&format!("mesh.ask.{site}.{container}")).await?;
        let pieces = self.subscribe(&format!("mesh.piece.{site}.{container}")).await?;
        let changes = self.subscribe(&format!("mesh.change.{site}.{container}")).await?;
        let parts = self.subscribe(&format!("mesh.part.{site}.{container}")).await?;
        self.spawn(enter::let_in(self.clone(), entering));
        self.spawn(voice::listen(self.clone(), voices));
        self.spawn(answer::answer(self.clone(), for_any));
        self.spawn(answer::answer(self.clone(), questions));
        self.spawn(answer::give(self.clone(), pieces));
        self.spawn(making::make(self.clone(), changes));
        self.spawn(making::take_parts(self.clone(), parts));
        self.spawn(hear::take_in(self.clone(), hearing));
        self.spawn(voice::say(self.clone()));
        self.spawn(tell::repeat(self.clone()));
        self.spawn(enter::enter(self.clone()));
        Ok(())
    }

    /// Whether a container is one of this site, as far as that was ever heard.
    pub(super) fn is_own(&self, container: ContainerId) -> bool {
        container == self.0.me
            || locked(&self.0.members).get(container).is_some()
            || locked(&self.0.mesh.own).contains_key(&container)
    }

    /// Keeps that a container is one of this site.
    pub(super) async fn note_own(&self, container: ContainerId, name: &Name) {
        let before = locked(&self.0.mesh.own).insert(container, name.clone());
        if before.as_ref() == Some(name) {
            return;
        }
        let own = FarContainer { container, site: self.0.parts.site.clone(), name: name.clone() };
        let kept = self.blocking(move |keeper| {
            let mut batch = Batch::new();
            batch.put_far_container(&own);
            keeper.disk().store().commit_lazily(&batch)
        });
        if let Err(error) = kept.await {
            tracing::debug!(%error, "that a container is one of this site is not kept");
        }
    }

    /// Whether there are other sites.
    pub(super) fn has_sites(&self) -> bool {
        self.0.mesh.roster.has_others()
    }
}
