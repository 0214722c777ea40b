//! A wrapper around any store that fails on schedule, and a timer that takes no time. For tests.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use tokio::sync::Notify;

use crate::limits::CLOUD_BACKOFF_LONGEST;
use crate::model::Timer;
use crate::tiers::locked;

/// What can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Put,
    Multipart,
    Part,
    Complete,
    Get,
    Head,
    List,
    Delete,
}

impl Op {
    pub const ALL: [Op; 8] = [Op::Put, Op::Multipart, Op::Part, Op::Complete, Op::Get, Op::Head, Op::List, Op::Delete];
}

/// How it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing is done, and an error of the file system is told.
    Error(io::ErrorKind),
    /// It is done, but the answer is lost.
    Lost,
    /// Half of it is done, then it fails: of a part, half its bytes arrive.
    Torn,
    /// No answer ever comes.
    Hang,
    /// It is done, but the answer names another tag.
    Lie,
}

/// A store that works until it was told to fail; clones share the schedule.
#[derive(Clone, Debug)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    /// The operation, how many of it still pass, how many fail then, and how.
    planned: Mutex<Vec<(Op, u64, u64, Fault)>>,
    met: AtomicU64,
    hung: Arc<Notify>,
}

impl Plan {
    fn due(&self, op: Op) -> Option<Fault> {
        let mut due = None;
        locked(&self.planned).retain_mut(|(planned, passes, times, fault)| {
            if *planned == op && due.is_none() {
                if *passes > 0 {
                    *passes -= 1;
                } else {
                    due = Some(*fault);
                    *times -= 1;
                }
            }
            *times > 0
        });
        self.met.fetch_add(u64::from(due.is_some()), Ordering::SeqCst);
        due
    }

    /// Does it, or what the schedule says instead.
    async fn pass<T>(&self, op: Op, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.tagged(op, call, |_| None).await
    }

    /// The same for an answer that holds a tag.
    async fn tagged<T>(
        &self,
        op: Op,
        call: impl Future<Output = Result<T>>,
        tag: impl FnOnce(&mut T) -> Option<&mut Option<String>>,
    ) -> Result<T> {
        match self.due(op) {
            None => call.await,
            Some(Fault::Lie) => {
                let mut done = call.await?;
                if let Some(tag) = tag(&mut done) {
                    *tag = Some("\"another\"".into());
                }
                Ok(done)
            }
            Some(Fault::Hang) => {
                self.hung.notify_one();
                std::future::pending().await
            }
            Some(Fault::Error(kind)) => Err(failure(kind)),
            Some(Fault::Lost) => call.await.and_then(|_| Err(failure(io::ErrorKind::ConnectionReset))),
            Some(Fault::Torn) => Err(failure(io::ErrorKind::ConnectionReset)),
        }
    }
}

fn failure(kind: io::ErrorKind) -> Error {
    Error::Generic { store: "faulty", source: io::Error::from(kind).into() }
}

impl FaultStore {
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        FaultStore { inner, plan: Arc::default() }
    }

    /// Lets `after` operations of this kind pass and fails the next `times`.
    pub fn fail(&self, op: Op, after: u64, times: u64, fault: Fault) {
        locked(&self.plan.planned).push((op, after, times, fault));
    }

    /// Forgets the schedule.
    pub fn heal(&self) {
        locked(&self.plan.planned).clear();
    }

    /// How many faults were met.
    pub fn met(&self) -> u64 {
        self.plan.met.load(Ordering::SeqCst)
    }

    /// A timer whose short waits are over at once, and whose time limits run out when a call hangs.
    pub fn timer(&self) -> TestTimer {
        TestTimer { hung: Arc::clone(&self.plan.hung), waits: Arc::default() }
    }
}

impl fmt::Display for FaultStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.plan.tagged(Op::Put, self.inner.put_opts(location, payload, opts), |done| Some(&mut done.e_tag)).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let upload = self.plan.pass(Op::Multipart, self.inner.put_multipart_opts(location, opts)).await?;
        Ok(Box::new(FaultUpload { inner: upload, plan: Arc::clone(&self.plan) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let op = if options.head { Op::Head } else { Op::Get };
        self.plan.tagged(op, self.inner.get_opts(location, options), |got| Some(&mut got.meta.e_tag)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (plan, mut inner) = (Arc::clone(&self.plan), self.inner.delete_stream(locations));
        // Ours ask for one at a time.
        let one = async move { plan.pass(Op::Delete, async { inner.next().await.transpose() }).await.transpose() };
        futures_util::stream::once(one).filter_map(std::future::ready).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.plan.due(Op::List) {
            None => self.inner.list(prefix),
            Some(_) => {
                let failed = std::future::ready(Err(failure(io::ErrorKind::ConnectionReset)));
                self.inner.list(prefix).take(1).chain(futures_util::stream::once(failed)).boxed()
            }
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.plan.pass(Op::List, self.inner.list_with_delimiter(prefix)).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultUpload {
    inner: Box<dyn MultipartUpload>,
    plan: Arc<Plan>,
}

#[async_trait]
impl MultipartUpload for FaultUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (plan, due) = (Arc::clone(&self.plan), self.plan.due(Op::Part));
        let sent = match due {
            Some(Fault::Torn) => {
                let bytes = bytes::Bytes::from(data);
                self.inner.put_part(bytes.slice(..bytes.len() / 2).into())
            }
            _ => self.inner.put_part(data),
        };
        Box::pin(async move {
            match due {
                None | Some(Fault::Lie) => sent.await,
                Some(Fault::Error(kind)) => Err(failure(kind)),
                Some(Fault::Lost | Fault::Torn) => {
                    sent.await?;
                    Err(failure(io::ErrorKind::ConnectionReset))
                }
                Some(Fault::Hang) => {
                    plan.hung.notify_one();
                    std::future::pending().await
                }
            }
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let plan = Arc::clone(&self.plan);
        plan.tagged(Op::Complete, self.inner.complete(), |done| Some(&mut done.e_tag)).await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

/// See [`FaultStore::timer`].
#[derive(Clone)]
pub struct TestTimer {
    hung: Arc<Notify>,
    waits: Arc<Mutex<Vec<Duration>>>,
}

impl TestTimer {
    /// The waits between attempts so far.
    pub fn waits(&self) -> Vec<Duration> {
        locked(&self.waits).clone()
    }
}

impl Timer for TestTimer {
    fn after(&self, delay: Duration) -> BoxFuture<'static, ()> {
        if delay <= CLOUD_BACKOFF_LONGEST * 3 / 2 {
            locked(&self.waits).push(delay);
            return Box::pin(std::future::ready(()));
        }
        let hung = Arc::clone(&self.hung);
        Box::pin(async move { hung.notified().await })
    }
}
