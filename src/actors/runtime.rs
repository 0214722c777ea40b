//! The actor runtime: the only file that names actix.
//!
//! An actor is a plain struct that implements [`Serves`] for each message it takes; a test can drive
//! it without a thread. Here it gets a mailbox, a bound on what waits in it, and a supervisor: the
//! runtime's own neither bounds a mailbox nor restarts after a panic.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix::{Actor, Addr, Arbiter, ArbiterHandle, Context, Handler, System};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, oneshot, watch};

use super::fuse::Fuse;
use crate::error::{Error, Result};
use crate::limits::PANIC_TEXT_CHARS_MAX;
use crate::model::{Clock, SystemClock};
use crate::telemetry::metrics::{Histogram, SECONDS};
use crate::telemetry::trace::{self, Place};

/// Waits before a restart: doubled each time an actor dies young, up to the longest.
const BACKOFF_FIRST: Duration = Duration::from_millis(5);
const BACKOFF_LONGEST: Duration = Duration::from_secs(5);
/// An actor that lived this long starts its back-off anew.
const LIVED_LONG: Duration = Duration::from_secs(30);

/// A message: what is asked, and what comes back.
pub trait Ask: Send + 'static {
    /// The answer.
    type Reply: Send + 'static;
}

/// What an actor does with a message. It must return at once: what takes time goes into
/// [`Answer::Later`], which runs on the main runtime.
pub trait Serves<M: Ask>: Unpin + 'static {
    /// Answers, or says what will.
    fn serve(&mut self, message: M) -> Answer<M::Reply>;
}

/// The answer to a message.
pub enum Answer<T> {
    /// Here it is.
    Ready(Result<T>),
    /// It will come.
    Later(BoxFuture<'static, Result<T>>),
}

impl<T> Answer<T> {
    /// An answer that this future will give.
    pub fn later(future: impl Future<Output = Result<T>> + Send + 'static) -> Self {
        Answer::Later(Box::pin(future))
    }
}

struct Envelope<M: Ask> {
    message: M,
    /// What the message belongs to, for the log lines of whoever works on it.
    place: Option<Place>,
    asked: Instant,
    reply: oneshot::Sender<Result<M::Reply>>,
}

impl<M: Ask> actix::Message for Envelope<M> {
    type Result = ();
}

/// Gives a behaviour a mailbox.
struct Shell<B> {
    behaviour: B,
    fuse: Arc<Fuse>,
    runtime: tokio::runtime::Handle,
    waits: Arc<Histogram<()>>,
    trouble: Arc<Trouble>,
    /// Dropped with the actor, also by a panic: that is how the supervisor learns of it.
    _alive: oneshot::Sender<()>,
}

impl<B: Unpin + 'static> Actor for Shell<B> {
    type Context = Context<Self>;
}

impl<B: Serves<M>, M: Ask> Handler<Envelope<M>> for Shell<B> {
    type Result = ();

    fn handle(&mut self, Envelope { message, place, asked, reply }: Envelope<M>, _: &mut Context<Self>) {
        self.waits.observe((), asked.elapsed().as_nanos() as u64);
        let _inside = trace::enter(place);
        let served = catch_unwind(AssertUnwindSafe(|| {
            self.fuse.burn();
            self.behaviour.serve(message)
        }));
        match served {
            // Whoever asked may have gone: nobody to tell.
            Ok(Answer::Ready(answer)) => drop(reply.send(answer)),
            Ok(Answer::Later(answer)) => {
                let trouble = Arc::clone(&self.trouble);
                let answering = async move {
                    match AssertUnwindSafe(answer).catch_unwind().await {
                        Ok(answer) => drop(reply.send(answer)),
                        // The actor lives on; whoever asked finds the reply gone.
                        Err(panic) => trouble.remember(&*panic),
                    }
                };
                self.runtime.spawn(trace::within(place, answering));
            }
            Err(panic) => {
                self.trouble.remember(&*panic);
                resume_unwind(panic);
            }
        }
    }
}

/// What went wrong with an actor, over all its lives.
#[derive(Default)]
struct Trouble {
    restarts: AtomicU64,
    last: Mutex<Option<LastError>>,
}

impl Trouble {
    fn remember(&self, panic: &(dyn Any + Send)) {
        let text = panic.downcast_ref::<&str>().copied();
        let text =
            text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a text");
        // The first line says what it was; a long one may quote what users sent.
        let line = text.lines().next().unwrap_or_default();
        let text = line.chars().filter(|c| !c.is_control()).take(PANIC_TEXT_CHARS_MAX).collect();
        let last = LastError { text, at_ms: SystemClock.now_ms() };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }
}

/// The text of a panic, shortened, and when it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastError {
    /// Its first line.
    pub text: String,
    /// Wall-clock milliseconds since 1970.
    pub at_ms: u64,
}

/// How an actor is doing.
#[derive(Clone)]
pub struct ActorHealth {
    /// Its name.
    pub name: &'static str,
    /// Messages that wait or are being worked on.
    pub queued: usize,
    /// The most there can be.
    pub bound: usize,
    /// How often it died and was started again.
    pub restarts: u64,
    /// How long messages waited before it took them up, in nanoseconds.
    pub waits: Arc<Histogram<()>>,
    /// What it, or work it had begun, last panicked with.
    pub last_error: Option<LastError>,
}

/// The way to an actor, whichever life it is in.
pub struct Link<B: Unpin + 'static> {
    shared: Arc<Shared<B>>,
}

impl<B: Unpin + 'static> Clone for Link<B> {
    fn clone(&self) -> Self {
        Link { shared: Arc::clone(&self.shared) }
    }
}

struct Shared<B: Unpin + 'static> {
    name: &'static str,
    address: watch::Sender<Option<Addr<Shell<B>>>>,
    permits: Semaphore,
    bound: usize,
    waits: Arc<Histogram<()>>,
    fuse: Arc<Fuse>,
    trouble: Arc<Trouble>,
    behaviour: PhantomData<fn() -> B>,
}

impl<B: Unpin + 'static> Link<B> {
    /// Asks and waits for the answer. At the actor's bound the caller waits for its turn; the
    /// caller's own deadline says for how long.
    pub async fn ask<M: Ask>(&self, message: M) -> Result<M::Reply>
    where
        B: Serves<M>,
    {
        let (shared, asked) = (&self.shared, Instant::now());
        let _permit = shared.permits.acquire().await.map_err(|_| self.gone())?;
        let mut changes = shared.address.subscribe();
        // Between two lives there is no address; the next life is moments away.
        let address = changes
            .wait_for(|address| address.as_ref().is_some_and(Addr::connected))
            .await
            .map_err(|_| self.gone())?
            .clone();
        let (reply, answer) = oneshot::channel();
        if let Some(address) = address {
            address.do_send(Envelope { message, place: trace::here(), asked, reply });
        }
        answer.await.map_err(|_| self.gone())?
    }

    /// How it is doing.
    pub fn health(&self) -> ActorHealth {
        ActorHealth {
            name: self.shared.name,
            queued: self.shared.bound - self.shared.permits.available_permits(),
            bound: self.shared.bound,
            waits: Arc::clone(&self.shared.waits),
            restarts: self.shared.trouble.restarts.load(Ordering::Relaxed),
            last_error: self.shared.trouble.last.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    fn gone(&self) -> Error {
        Error::unavailable("an actor was restarted while it worked on this; try again").with("actor", self.shared.name)
    }
}

/// The threads actors live on. Actors on one arbiter share a thread.
pub struct ActorRuntime {
    system: System,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    main: tokio::runtime::Handle,
    stopping: Arc<AtomicBool>,
}

impl ActorRuntime {
    /// Starts the actor system on a thread of its own; what actors leave for later runs on `main`.
    pub fn start(main: tokio::runtime::Handle) -> Result<Self> {
        let (started, system) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("actors".into()).spawn(move || {
            let runner = System::new();
            let _ = started.send(System::current());
            if let Err(error) = runner.run() {
                tracing::error!(%error, "the actor system ended with an error");
            }
        });
        let failed =
            |error: &dyn std::fmt::Display| Error::internal("cannot start the actor system").with("cause", error);
        let thread = thread.map_err(|error| failed(&error))?;
        let system = system.recv().map_err(|error| failed(&error))?;
        Ok(ActorRuntime { system, thread: Mutex::new(Some(thread)), main, stopping: Arc::default() })
    }

    /// Another thread for actors whose handlers must not wait for those of others.
    pub fn arbiter(&self) -> ArbiterThread {
        let (made, handle) = std::sync::mpsc::channel();
        self.system.arbiter().spawn_fn(move || {
            let _ = made.send(Arbiter::new().handle());
        });
        // Only a system that has ended gives none; its own arbiter then refuses the actor as well.
        ArbiterThread(handle.recv().unwrap_or_else(|_| self.system.arbiter().clone()))
    }

    /// Starts an actor and keeps it alive: `factory` makes each of its lives. At most `bound`
    /// messages wait for it.
    pub fn supervise<B: Send + Unpin + 'static>(
        &self,
        arbiter: &ArbiterThread,
        name: &'static str,
        bound: usize,
        factory: impl Fn() -> B + Send + Sync + 'static,
    ) -> Link<B> {
        let shared = Arc::new(Shared {
            name,
            address: watch::channel(None).0,
            permits: Semaphore::new(bound),
            bound,
            waits: Arc::new(Histogram::new(SECONDS)),
            fuse: Arc::new(Fuse::of(name)),
            trouble: Arc::default(),
            behaviour: PhantomData,
        });
        let link = Link { shared: Arc::clone(&shared) };
        let (arbiter, main, stopping) = (arbiter.0.clone(), self.main.clone(), Arc::clone(&self.stopping));
        let factory = Arc::new(factory);
        self.main.spawn(async move {
            let mut backoff = BACKOFF_FIRST;
            loop {
                let born = Instant::now();
                live_once(&shared, &arbiter, &main, &factory).await;
                if stopping.load(Ordering::Acquire) {
                    return;
                }
                let restarts = shared.trouble.restarts.fetch_add(1, Ordering::Relaxed) + 1;
                tracing::error!(actor = shared.name, restarts, "an actor died; it is started again");
                backoff = if born.elapsed() > LIVED_LONG { BACKOFF_FIRST } else { (backoff * 2).min(BACKOFF_LONGEST) };
                tokio::time::sleep(backoff).await;
            }
        });
        link
    }

    /// Ends every actor. What is still queued is dropped: drain first.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.system.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

/// One life of an actor, from its start to its end.
async fn live_once<B: Send + Unpin + 'static>(
    shared: &Arc<Shared<B>>,
    arbiter: &ArbiterHandle,
    main: &tokio::runtime::Handle,
    factory: &Arc<impl Fn() -> B + Send + Sync + 'static>,
) {
    let (alive, ended) = oneshot::channel();
    let (link, runtime, factory) = (Arc::clone(shared), main.clone(), Arc::clone(factory));
    let placed = arbiter.spawn_fn(move || {
        let (waits, trouble) = (Arc::clone(&link.waits), Arc::clone(&link.trouble));
        let behaviour = match catch_unwind(AssertUnwindSafe(|| factory())) {
            Ok(behaviour) => behaviour,
            Err(panic) => {
                trouble.remember(&*panic);
                resume_unwind(panic);
            }
        };
        let shell = Shell { behaviour, fuse: Arc::clone(&link.fuse), runtime, waits, trouble, _alive: alive };
        link.address.send_replace(Some(shell.start()));
    });
    if placed {
        let _ = ended.await;
    }
    shared.address.send_replace(None);
}

/// A thread on which actors live.
pub struct ArbiterThread(ArbiterHandle);

#[cfg(test)]
mod tests {
    use super::*;

    struct Counter(u64);
    struct Add(u64);

    impl Ask for Add {
        type Reply = u64;
    }

    impl Serves<Add> for Counter {
        fn serve(&mut self, Add(by): Add) -> Answer<u64> {
            assert!(by != 13, "a planted panic");
            self.0 += by;
            let sum = self.0;
            Answer::later(async move { Ok(sum) })
        }
    }

    #[test]
    fn an_actor_that_panics_is_made_anew_and_its_caller_is_told() {
        let main = tokio::runtime::Runtime::new().unwrap();
        let actors = ActorRuntime::start(main.handle().clone()).unwrap();
        let link = actors.supervise(&actors.arbiter(), "counter", 4, || Counter(100));
        main.block_on(async {
            assert_eq!(link.ask(Add(1)).await.unwrap(), 101);
            for round in 1..=3 {
                let error = link.ask(Add(13)).await.unwrap_err();
                assert_eq!(error.kind(), crate::Kind::Unavailable);
                // A message that reaches the dying one may fail as well; the next life answers.
                let fresh = loop {
                    if let Ok(sum) = link.ask(Add(2)).await {
                        break sum;
                    }
                };
                assert_eq!(fresh, 102, "a fresh life");
                assert_eq!(link.health().restarts, round);
                assert_eq!(link.health().last_error.unwrap().text, "a planted panic");
            }
            assert!(link.health().waits.count(()) >= 7, "every message that was taken up had waited");
            let many = (0..100).map(|_| link.ask(Add(1)));
            let sums = futures_util::future::join_all(many).await;
            assert!(sums.into_iter().all(|sum| sum.is_ok()), "a bound makes callers wait, not fail");
        });
        actors.stop();
    }
}
