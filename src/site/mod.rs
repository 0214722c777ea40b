//! A site: several containers as one pool. Each keeps what it acknowledged, knows what the others keep, and gets it
//! from there when it is asked for.
//!
//! | subject | what is said | by whom |
//! |---|---|---|
//! | `mesh.{site}.peer.hello` | a question who is there, answered by everybody's beat | who joins |
//! | `mesh.{site}.peer.beat` | that it lives, how full it is, what it knows | each, every second |
//! | `mesh.log.{site}.catalog` | changes, in order (kept by the site's log) | each, soon after the change |
//! | `mesh.{site}.{container}.peer.ask` | what is known of an address, what is there of it; what somebody lacks | each |
//! | `mesh.{site}.{container}.peer.piece` | bytes of a version, for who does not reach its HTTP door | each |
//!
//! Everything is signed with the site's keyring (`wire.rs`). The store is the truth: a message that is lost leaves a
//! gap in the dots (`horizon.rs`), which every beat shows, and the gap is filled by asking (`catch_up.rs`).

mod absence;
mod answer;
mod ask;
mod beat;
mod books;
mod catch_up;
mod choice;
mod departure;
mod epoch;
mod hear;
mod home;
mod horizon;
mod locate;
mod log;
mod members;
mod mesh;
mod pace;
mod piece;
mod placing;
mod route;
mod run;
mod shared;
mod source;
mod standing;
mod strangers;
mod tell;
mod window;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::bus::{Bus, Delivery, Gauge, Log, Message, Pattern, Subject, Subscription};
use crate::control::Policies;
use crate::error::{Error, Kind, Result};
use crate::model::{ContainerId, Name};
use crate::nfr::Keyring;
use crate::telemetry::Telemetry;
use crate::telemetry::events::EventBook;
use crate::tiers::Keeper;

use ask::Asks;
use books::Books;
use departure::Departing;
pub use departure::{Departure, Taking};
use epoch::Epoch;
use hear::News;
use home::Decisions;
pub use members::Member;
use members::Members;
use mesh::Mesh;
pub use mesh::{Changes, MeshParts, Roster, SiteStanding};
pub use piece::{Part, Pieces};
use route::Ways;
pub use shared::{Shared, SharedBook};
pub use standing::{PeerStanding, SiteQueue, Standing};
use strangers::Strangers;
pub use wire::Load;

/// How long those who are there may take to show, for who joins.
const HELLO_MAX: Duration = Duration::from_secs(1);

/// How long the others' beats may take once the first of them has answered.
const BEATS_MAX: Duration = Duration::from_millis(100);

/// How often it is looked whether a container's own beat is back.
const ECHO_POLL: Duration = Duration::from_millis(1);

/// How long decisions that are under way may hold up a stop.
const DECISIONS_MAX: Duration = Duration::from_secs(3);

/// How long it may take at a stop to tell the last of what changed, and how often it is looked whether it is told.
const TOLD_MAX: Duration = Duration::from_secs(2);
const TOLD_POLL: Duration = Duration::from_millis(5);

/// What was heard and waits to be taken in; beyond that the bus waits, and counts what it loses.
const HEARD_MAX: usize = 64;

/// What a site is joined with.
pub struct SiteParts {
    /// Where the others are heard.
    pub bus: Arc<dyn Bus>,
    /// What is here.
    pub keeper: Arc<Keeper>,
    /// The site's keyring as it is now.
    pub ring: Box<dyn Fn() -> Arc<Keyring> + Send + Sync>,
    /// How full this container is, and whether it takes changes.
    pub load: Box<dyn Fn() -> (Load, bool) + Send + Sync>,
    /// The site.
    pub site: Name,
    /// This container's name in it.
    pub container: Name,
    /// Where others reach its HTTP door.
    pub url: String,
    /// Certificates (PEM) of the only authority that the others' doors are trusted by; what the host trusts if none.
    pub ca: Option<Vec<u8>>,
    /// Where it is counted what happens.
    pub telemetry: Arc<Telemetry>,
    /// Where it is told.
    pub events: Arc<EventBook>,
    /// What the policies of the mesh allow.
    pub policies: Arc<Policies>,
    /// What all containers hold alike.
    pub shared: Arc<dyn SharedBook>,
    /// What this container has, for who asks for it over the bus.
    pub pieces: Arc<dyn Pieces>,
    /// Keeps what another container hands over.
    pub taking: Arc<dyn Taking>,
    /// Makes changes that another site leaves to this one to decide.
    pub changes: Arc<dyn Changes>,
}

/// This container's place in its site. Clones are the same place.
#[derive(Clone)]
pub struct Site(Arc<Inner>);

struct Inner {
    parts: SiteParts,
    me: ContainerId,
    started_ms: u64,
    beats: AtomicU64,
    /// Those that all sites hear.
    voices: AtomicU64,
    leaving: AtomicBool,
    /// Whether it decides nothing any more.
    retreating: AtomicBool,
    /// Up to which of its changes the others were told.
    told: AtomicU64,
    members: Mutex<Members>,
    asks: Asks,
    books: Books,
    /// The queues before what is listened to.
    gauges: Mutex<Vec<(&'static str, Gauge)>>,
    /// Who decides, as far as it is known.
    epoch: Mutex<Option<Epoch>>,
    decisions: Decisions,
    /// Taken by who asks another container for what all hold alike.
    sharing: Arc<Semaphore>,
    log: Mutex<Option<Arc<dyn Log>>>,
    /// When this container began to listen.
    joined_ms: u64,
    /// When it sent the last beat that came back to it.
    echoed_ms: AtomicU64,
    ways: Ways,
    /// Held by reads that are asked for both ways.
    hedges: Semaphore,
    heard: mpsc::Sender<News>,
    /// Whether something is known to have been told that was not heard.
    has_gap: AtomicBool,
    /// Messages that came faster than they were taken in.
    lost: AtomicU64,
    /// Told when the others have changed.
    others: Notify,
    strangers: Strangers,
    departing: Departing,
    mesh: Mesh,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Site {
    /// Joins the site on its bus. Who is there is known when this returns; what they keep is asked for after that.
    pub async fn join(parts: SiteParts, mesh: MeshParts) -> Result<Self> {
        let last = parts.keeper.last_dot();
        let (me, started_ms) = (parts.keeper.me(), parts.telemetry.now_ms());
        let members = Mutex::new(Members::new(me, last.incarnation, parts.container.clone()));
        let (heard, hearing) = mpsc::channel(HEARD_MAX);
        let joined_ms = parts.telemetry.ticks_ns() / 1_000_000;
        let ways = Ways::new(parts.ca.clone());
        let known = parts.keeper.disk().store().far_containers()?;
        let (mesh, far) = Mesh::new(mesh, (me, last.incarnation), known);
        let site = Site(Arc::new(Inner {
            parts,
            me,
            started_ms,
            beats: AtomicU64::new(0),
            voices: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            retreating: AtomicBool::new(false),
            told: AtomicU64::new(0),
            members,
            asks: Asks::default(),
            books: Books::default(),
            gauges: Mutex::default(),
            epoch: Mutex::default(),
            decisions: Decisions::default(),
            sharing: Arc::new(Semaphore::new(1)),
            log: Mutex::default(),
            joined_ms,
            echoed_ms: AtomicU64::new(0),
            ways,
            hedges: Semaphore::new(run::HEDGES_MAX),
            heard,
            has_gap: AtomicBool::new(false),
            lost: AtomicU64::new(0),
            others: Notify::new(),
            strangers: Strangers::default(),
            departing: Departing::default(),
            mesh,
            tasks: Mutex::default(),
        }));
        let beats = site.subscribe(&format!("mesh.{}.peer.beat", site.0.parts.site)).await?;
        let questions = site.subscribe(&site.ask_subject(&site.0.parts.container)).await?;
        let pieces = site.subscribe(&site.piece_subject(&site.0.parts.container)).await?;
        let changes = site.subscribe(&site.log_subject()).await?;
        let gauges =
            [("bus.beats", &beats), ("bus.questions", &questions), ("bus.pieces", &pieces), ("bus.changes", &changes)];
        *locked(&site.0.gauges) = gauges.map(|(name, heard)| (name, heard.gauge())).to_vec();
        site.spawn(beat::listen(site.clone(), beats));
        // Before this container listens to such questions itself: where nobody does, that is known at once.
        site.hello().await?;
        let hellos = site.subscribe(&site.hello_subject()).await?;
        site.spawn(beat::listen(site.clone(), hellos));
        site.hear_itself().await?;
        if locked(&site.0.members).is_doubled() {
            locked(&site.0.tasks).drain(..).for_each(|task| task.abort());
            let why = "another container of the site has this name; choose another one with --name";
            return Err(Error::new(Kind::AlreadyExists, why)
                .with("site", &site.0.parts.site)
                .with("container", &site.0.parts.container));
        }
        if let Err(error) = site.check_absence().await {
            locked(&site.0.tasks).drain(..).for_each(|task| task.abort());
            return Err(error);
        }
        site.spawn(answer::answer(site.clone(), questions));
        site.spawn(piece::give(site.clone(), pieces));
        if let Err(error) = site.enter_epoch().await {
            tracing::warn!(%error, "this container is not on the list of the site's members yet");
        }
        site.spawn(epoch::keep(site.clone()));
        site.spawn(hear::listen(site.clone(), changes));
        site.spawn(hear::take_in(site.clone(), hearing));
        site.spawn(log::follow(site.clone()));
        site.enter_mesh(far).await?;
        site.spawn(tell::tell(site.clone()));
        site.spawn(shared::tell(site.clone()));
        site.spawn(beat::beat(site.clone()));
        site.spawn(absence::note(site.clone()));
        Ok(site)
    }

    /// Tells the others that this container takes changes from now on.
    pub async fn announce(&self) {
        if let Err(error) = self.say_beat().await {
            tracing::debug!(%error, "the others hear a second later that this container takes changes");
        }
    }

    /// Decides nothing any more: once what is under way has ended, others do. It is still read from and heard.
    pub async fn retreat(&self) {
        self.0.retreating.store(true, Ordering::Release);
        if tokio::time::timeout(DECISIONS_MAX, self.0.decisions.all_ended()).await.is_err() {
            // It stays on the list then, and the others wait until its lease has ended.
            return tracing::warn!("a condition is still being decided; the site decides without this container later");
        }
        if let Err(error) = self.leave_epoch().await {
            tracing::debug!(%error, "this container stays on the list of the site's members");
        }
    }

    /// Tells the others the last of what changed here, and that this container leaves; stops listening to them.
    pub async fn leave(&self) {
        let last = self.keeper().last_dot().seq;
        let told = async {
            while (self.has_others() || self.has_sites()) && self.0.told.load(Ordering::Acquire) < last {
                self.keeper().news_bell().notify_one();
                tokio::time::sleep(TOLD_POLL).await;
            }
        };
        if tokio::time::timeout(TOLD_MAX, told).await.is_err() {
            tracing::warn!("not all that changed here was told to the others; they ask when this container is back");
        }
        self.0.leaving.store(true, Ordering::Release);
        if let Err(error) = self.say_beat().await {
            tracing::debug!(%error, "the others could not be told of the end");
        }
        if self.has_sites()
            && let Err(error) = self.say_voice().await
        {
            tracing::debug!(%error, "the other sites could not be told of the end");
        }
        locked(&self.0.tasks).drain(..).for_each(|task| task.abort());
    }

    /// The other containers of the site, by name; whether each can be asked now.
    pub fn members(&self) -> Vec<(Member, bool)> {
        let now_ms = self.now_ms();
        let mut all: Vec<(Member, bool)> =
            locked(&self.0.members).all().map(|member| (member.clone(), member.is_alive(now_ms))).collect();
        all.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        all
    }

    /// Whether anybody else is of the site, here or away: those who are away read the log when they are back.
    fn has_others(&self) -> bool {
        locked(&self.0.members).all().any(|member| !member.left) || self.keeper().disk().knows_others()
    }

    /// Asks who is there. Nobody else of this name may be.
    async fn hello(&self) -> Result<()> {
        let subject = self.hello_subject();
        let answered = async {
            let beat = self.signed_beat(&subject)?;
            self.0.parts.bus.request(Message::to(subject.parse()?, beat), HELLO_MAX).await
        };
        match answered.await {
            Ok(_) => tokio::time::sleep(BEATS_MAX).await,
            // Nobody is there, or nobody says so.
            Err(error) if matches!(error.kind(), Kind::Deadline | Kind::Unavailable) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Says a beat and waits until it is back. Of two who start together each listens to beats and answers hellos by
    /// now, so the one whose beat came second has heard the other one's when its own is back.
    async fn hear_itself(&self) -> Result<()> {
        self.say_beat().await?;
        let back = async {
            while self.0.echoed_ms.load(Ordering::Acquire) == 0 {
                tokio::time::sleep(ECHO_POLL).await;
            }
        };
        if tokio::time::timeout(HELLO_MAX, back).await.is_err() {
            tracing::warn!("the bus is slow; another container of this name would be noticed later");
        }
        Ok(())
    }

    async fn subscribe(&self, pattern: &str) -> Result<Subscription> {
        self.0.parts.bus.subscribe(&pattern.parse::<Pattern>()?, None).await
    }

    async fn publish(&self, subject: &str, body: Vec<u8>) -> Result<()> {
        self.0.parts.bus.publish(Message::to(subject.parse::<Subject>()?, body)).await
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = locked(&self.0.tasks);
        tasks.retain(|task| !task.is_finished());
        tasks.push(tokio::spawn(task));
    }

    fn hello_subject(&self) -> String {
        format!("mesh.{}.peer.hello", self.0.parts.site)
    }

    fn log_subject(&self) -> String {
        format!("mesh.log.{}.catalog", self.0.parts.site)
    }

    fn ask_subject(&self, container: &Name) -> String {
        format!("mesh.{}.{container}.peer.ask", self.0.parts.site)
    }

    fn piece_subject(&self, container: &Name) -> String {
        format!("mesh.{}.{container}.peer.piece", self.0.parts.site)
    }

    fn ring(&self) -> Arc<Keyring> {
        (self.0.parts.ring)()
    }

    /// Milliseconds that never go back.
    fn now_ms(&self) -> u64 {
        self.0.parts.telemetry.ticks_ns() / 1_000_000
    }

    fn keeper(&self) -> &Arc<Keeper> {
        &self.0.parts.keeper
    }

    /// Does something that waits for the disk.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Keeper) -> Result<T> + Send + 'static) -> Result<T> {
        let keeper = Arc::clone(self.keeper());
        let done = tokio::task::spawn_blocking(move || work(&keeper)).await;
        done.map_err(|error| Error::internal("a look into the store broke off").because(error))?
    }

    /// The next message; what was lost before it is counted and told.
    async fn next(&self, heard: &mut Subscription, what: &str) -> Option<Message> {
        loop {
            match heard.next().await? {
                Delivery::Message(message) => return Some(message),
                Delivery::Lost(lost) => {
                    self.0.parts.telemetry.metrics.bus_lost.add((), lost);
                    self.0.lost.fetch_add(lost, Ordering::AcqRel);
                    tracing::warn!(lost, what, "messages of the site came faster than they could be taken in");
                }
            }
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
