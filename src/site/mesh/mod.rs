//! The other sites of the mesh: which there are, who is of them, what each has, and what is asked of them.
//!
//! | subject | what is said | by whom |
//! |---|---|---|
//! | `mesh.enter.{site}` | a site that was invited wants in | who is not on the roster yet |
//! | `mesh.voice.{site}` | that a container lives, where it is reached, sums of what its site has and knows | each, every second |
//! | `mesh.news.{site}.{collection}` | changes, in order; in between, how far they have come | each, soon after the change |
//! | `mesh.ask.{site}` | what the site knows, what somebody lacks | any container answers |
//! | `mesh.ask.{site}.{container}` | the same, and what that container has | each |
//! | `mesh.piece.{site}.{container}` | bytes of a version, for who does not reach its HTTP door | each |
//!
//! A site is believed for its keys (`nfr/identity.rs`), which the roster names. What is said to all is signed, what two
//! say to each other is sealed, and the news of a collection are sealed for those who may see it.
//!
//! Entries of other sites lie in the table where those of the own site's other containers are, for the collections that
//! are used here. The dots of a collection are no dense row abroad, so a batch says behind which one it goes on.

mod answer;
mod call;
mod directory;
mod enter;
mod far;
mod hear;
mod listen;
mod read;
mod roster;
mod standing;
mod tell;
mod uses;
mod voice;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use tokio::sync::{Semaphore, mpsc};

use super::Site;
use crate::config::MeshInvitation;
use crate::error::Result;
use crate::model::{Name, SiteKeys};
use crate::nfr::{Identity, SharedKey};

use directory::Directory;
pub(super) use far::Far;
use hear::FarNews;
pub use roster::Roster;
pub use standing::SiteStanding;
use tell::Chains;
use uses::Uses;

/// What was heard of other sites and waits to be taken in.
const HEARD_MAX: usize = 256;

/// Collections of other sites that are fetched at the same time.
const WALKS_MAX: usize = 4;

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
    /// Held by who asks others for what this site should know of them.
    asking: Arc<Semaphore>,
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
    pub(super) fn new(parts: MeshParts, far: Far) -> (Self, mpsc::Receiver<FarNews>) {
        let MeshParts { identity, roster, invitation } = parts;
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        let mesh = Mesh {
            identity,
            roster,
            invitation,
            pairs: Mutex::default(),
            far: Mutex::new(far),
            shown: Mutex::default(),
            chains: Mutex::default(),
            uses: Uses::default(),
            heard,
            asking: Arc::new(Semaphore::new(WALKS_MAX)),
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
        self.spawn(enter::let_in(self.clone(), entering));
        self.spawn(voice::listen(self.clone(), voices));
        self.spawn(answer::answer(self.clone(), for_any));
        self.spawn(answer::answer(self.clone(), questions));
        self.spawn(answer::give(self.clone(), pieces));
        self.spawn(hear::take_in(self.clone(), hearing));
        self.spawn(voice::say(self.clone()));
        self.spawn(tell::repeat(self.clone()));
        self.spawn(enter::enter(self.clone()));
        Ok(())
    }

    /// Whether there are other sites.
    pub(super) fn has_sites(&self) -> bool {
        self.0.mesh.roster.has_others()
    }
}
