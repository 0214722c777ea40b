//! Push and pull on subjects: the same operations as over HTTP, for any NATS client in any language.
//!
//! `mesh.{site}.{operation}` is answered by any container of the site, `mesh.{site}.{container}.{operation}` by that
//! one. A message becomes the request that HTTP would have brought, is answered by the same code, and the answer
//! becomes a message again, so neither door can do more than the other. What differs is in `request.rs` (names) and
//! `answer.rs` (errors as NATS services tell them).

mod answer;
mod receive;
mod request;
mod service;
pub(super) mod telling;
mod thread;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::RANGE;
use futures_util::future::join_all;
use futures_util::{FutureExt, poll};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet, spawn_local};

use self::answer::Answer;
use self::request::Operation;
use super::objects::put::check_size;
use super::server::Shared;
use super::{batch, headers, route, ticket};
use crate::bus::{Bus, Delivery, Gauge, Message, Subject, Subscription};
use crate::error::{Error, Kind, Result};
use crate::limits::INLINE_PULL_BYTES;
use crate::model::{Address, Condition, Name};
use crate::nfr::Grant;
use crate::telemetry::metrics::labels::Status;
use crate::telemetry::trace::{Place, Span, tracestate, within};
use service::Service;

pub use thread::BusThread;

/// Containers of a site that share its requests are one queue.
const QUEUE: &str = "meshstore";

/// Whose subjects are answered.
#[derive(Clone, Debug)]
pub struct Names {
    /// The site.
    pub site: Name,
    /// The container.
    pub container: Name,
    /// Where others reach its HTTP door.
    pub url: String,
}

/// Answers on the bus until it is stopped or dropped.
pub struct Subjects {
    until: watch::Sender<Until>,
    /// Those who listen, and who tells.
    at_work: Vec<JoinHandle<()>>,
    gauges: Vec<(&'static str, Gauge)>,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Until {
    Running,
    /// Others of the site answer what is asked of any of them.
    Leaving,
    Stopped,
}

/// What those who listen share.
struct Desk {
    door: Arc<Shared>,
    bus: Arc<dyn Bus>,
    names: Names,
    service: Arc<Service>,
    /// Requests at work; beyond the limit the answer is `busy`.
    at_work: AtomicUsize,
    at_work_max: usize,
}

impl Subjects {
    /// Begins to answer, on the thread of the bus.
    pub(super) async fn open(door: Arc<Shared>, bus: Arc<dyn Bus>, names: Names, at_work_max: usize) -> Result<Self> {
        let service = Arc::new(Service::new(&names, &door.telemetry));
        let desk = Arc::new(Desk { door, bus, names, service, at_work: AtomicUsize::new(0), at_work_max });
        let (until, stopping) = watch::channel(Until::Running);
        let mut subjects = Subjects { until, at_work: Vec::new(), gauges: Vec::new() };
        let Names { site, container, .. } = &desk.names;
        let everybody = ("bus.site", format!("mesh.{site}.*"), Until::Leaving);
        let alone = ("bus.container", format!("mesh.{site}.{container}.*"), Until::Stopped);
        for (name, pattern, end) in [everybody, alone] {
            let heard = desk.bus.subscribe(&pattern.parse()?, Some(QUEUE)).await?;
            subjects.gauges.push((name, heard.gauge()));
            subjects.at_work.push(spawn_local(listen(Arc::clone(&desk), heard, stopping.clone(), end)));
        }
        service::open(&desk.bus, &desk.service, &stopping).await?;
        // Whoever asks for the events of the site hears them through the same bus.
        let _ = desk.door.site.set((Arc::clone(&desk.bus), desk.names.site.clone()));
        subjects.at_work.push(spawn_local(telling::tell(Arc::clone(&desk), stopping)));
        Ok(subjects)
    }

    /// How full the queues before it are.
    pub fn gauges(&self) -> Vec<(&'static str, Gauge)> {
        self.gauges.clone()
    }

    /// Leaves to the others of the site what is asked of any of them; whoever asks this container hears why it
    /// refuses.
    pub fn leave(&self) {
        let _ = self.until.send(Until::Leaving);
    }

    /// Takes nothing more, and waits up to `grace` for what is at work.
    pub async fn stop(self, grace: Duration) {
        // Those who listen end with their stop or with the bus, and wait for what they have begun.
        let _ = self.until.send(Until::Stopped);
        if tokio::time::timeout(grace, join_all(self.at_work)).await.is_err() {
            tracing::warn!("requests on the bus were still at work at the end");
        }
    }
}

async fn listen(desk: Arc<Desk>, mut heard: Subscription, mut until: watch::Receiver<Until>, end: Until) {
    let mut ending = false;
    let mut at_work = JoinSet::new();
    loop {
        tokio::select! {
            delivery = heard.next() => match delivery {
                Some(Delivery::Message(message)) => {
                    let mut answering = Box::pin(Arc::clone(&desk).take(message));
                    // Most are answered at once; a task is for those that wait.
                    if poll!(answering.as_mut()).is_pending() {
                        at_work.spawn_local(answering);
                    }
                }
                Some(Delivery::Lost(lost)) => {
                    desk.door.telemetry.metrics.bus_lost.add((), lost);
                    tracing::error!(lost, "requests on the bus came faster than they could be taken, and are lost");
                }
                None => break,
            },
            _ = at_work.join_next(), if !at_work.is_empty() => {}
            changed = until.changed(), if !ending => if changed.is_err() || *until.borrow() >= end {
                // What has been handed over is still answered.
                heard.close();
                ending = true;
            },
        }
    }
    while at_work.join_next().await.is_some() {}
}

/// A place among the requests at work.
struct AtWork<'a>(&'a AtomicUsize);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Desk {
    /// Answers a message.
    async fn take(self: Arc<Self>, message: Message) {
        let telemetry = &self.door.telemetry;
        let started = telemetry.ticks_ns();
        let operation = Operation::of(&message.subject);
        let asked = message.reply.clone();
        if asked.is_none() && operation != Some(Operation::Push) {
            return tracing::debug!(subject = %message.subject, "a request without a reply subject is not answered");
        }
        let address = message.header("Mesh-Address").filter(|_| asked.is_none());
        let address = address.map(|text| text.trim().escape_default().to_string());
        let (_place, answered) = self.with_place(operation, message).await;
        // A panic is this request's alone.
        let broken = |_| answer::of_error(&Error::internal("the request failed; try again"), None);
        let mut answer = answered.unwrap_or_else(broken);
        let took_ns = telemetry.since_ns(started);
        telemetry.metrics.bus_requests.one((operation.into(), Status::of(answer.status.as_u16())));
        telemetry.metrics.bus_request_duration.observe(operation.into(), took_ns);
        if let Some(operation) = operation {
            self.service.note(operation, &answer, took_ns);
        }
        let subject = match asked {
            Some(reply) => Ok(reply),
            // Fire and forget: what was stored is told as everything that happens, and what was not is told here.
            None if answer.status.is_success() => return,
            None => {
                answer.about(&address.unwrap_or_default());
                format!("mesh.event.{}.push", self.names.site).parse()
            }
        };
        let sent = async {
            let subject: Subject = subject?;
            match self.bus.publish(answer.to(subject.clone())).await {
                // What cannot be told as it is must not leave whoever asked waiting.
                Err(error) if matches!(error.kind(), Kind::Invalid | Kind::TooLarge) => {
                    self.bus.publish(answer::of_error(&error, None).to(subject)).await
                }
                sent => sent,
            }
        };
        if let Err(error) = sent.await {
            tracing::warn!(%error, "an answer could not be sent");
        }
    }

    /// Answers a message, if there is a place for it, which is held until the answer is sent.
    async fn with_place(
        &self,
        operation: Option<Operation>,
        message: Message,
    ) -> (AtWork<'_>, std::thread::Result<Answer>) {
        let before = self.at_work.fetch_add(1, Ordering::AcqRel);
        let place = AtWork(&self.at_work);
        if before >= self.at_work_max {
            let error = Error::busy("the container has all the requests that it may have; try again");
            return (place, Ok(answer::of_error(&error, None)));
        }
        (place, AssertUnwindSafe(self.answer(operation, message)).catch_unwind().await)
    }

    async fn answer(&self, operation: Option<Operation>, message: Message) -> Answer {
        let Some(operation) = operation else {
            return answer::of_error(&request::unknown(&message.subject), None);
        };
        let address = message.header("Mesh-Address").map(str::to_owned);
        let head = match request::head(operation, &message) {
            Ok(head) => head,
            Err(error) => return answer::of_error(&error, address.as_deref()),
        };
        let (telemetry, started) = (&self.door.telemetry, self.door.telemetry.ticks_ns());
        let context = telemetry.context(message.header("traceparent").map(str::as_bytes));
        let state = message.header("tracestate").filter(|_| context.parent.is_some());
        let state = state.and_then(|state| tracestate([state.as_bytes()].into_iter()));
        let (method, route) = (request::method_name(&head), operation.name());
        let answer = within(Some(Place { context, method, route }), self.perform(operation, &head, message)).await;
        let answer = answer.unwrap_or_else(|error| answer::of_error(&error, address.as_deref()));
        let (status, bytes, duration_ns) = (answer.status.as_u16(), answer.bytes(), telemetry.since_ns(started));
        let span = |end_ms| Span { context, state, method, route, status, bytes, end_ms, duration_ns };
        telemetry.finish(span, &context);
        answer
    }

    async fn perform(&self, operation: Operation, head: &RequestHead, message: Message) -> Result<Answer> {
        let room = answer::room(self.bus.payload_max());
        let inline = request::inline_max(&message)?.unwrap_or(INLINE_PULL_BYTES).min(room);
        route::admit(&self.door, head)?;
        let receiver = match operation {
            Operation::Pull => receive::receiver(&message, self.door.options.receivers)?,
            _ => None,
        };
        if operation == Operation::Push
            && let Some(size) = request::announced(&message)?
        {
            let address: Address = request::address(&message)?.parse()?;
            // What the upload would be refused for is better heard now.
            let push = headers::push(&head.headers, address.clone(), self.door.options.request_deadline)?;
            if push.condition != Condition::Always {
                return Err(Error::invalid("a condition is decided with the upload; send it with the PUT"));
            }
            check_size(size, self.door.options.object_bytes_max)?;
            return self.ticket(&address, Grant::Push(size));
        }
        let (address, ranged) = (message.header("Mesh-Address").map(str::to_owned), head.headers.contains_key(RANGE));
        let payload = Payload::from(message.body);
        let response = match operation {
            Operation::Batch => Box::pin(batch::batch(&self.door, head, payload)).await?,
            _ => route::answer_allowed(&self.door, head, payload).await,
        };
        if operation == Operation::Pull
            && (!ranged || receiver.is_some())
            && let Some(version) = answer::larger_than(inline, &response)
        {
            let ticket = self.ticket(&address.unwrap_or_default().trim().parse()?, Grant::Pull(version))?;
            let ticket = ticket.describing(&response);
            let Some(receiver) = receiver else { return Ok(ticket) };
            return Ok(match receive::bring(&receiver, response, self.door.options.idle_timeout).await {
                Ok(bytes) => ticket.brought(bytes),
                Err(error) => ticket.not_brought(&error),
            });
        }
        let answer = answer::of(operation, response, room).await;
        Ok(if operation.is_of_one() { answer.by(&self.names.container) } else { answer })
    }

    /// What is too large for a message goes over HTTP, or comes in ranges.
    fn ticket(&self, address: &Address, grant: Grant) -> Result<Answer> {
        let (token, mut ticket) = ticket::make(&self.door, address, grant, &self.names.url)?;
        if let Some(told) = ticket.as_object_mut().filter(|_| matches!(grant, Grant::Pull(_))) {
            told.insert("nats".to_owned(), format!("mesh.{}.{}.pull", self.names.site, self.names.container).into());
        }
        Ok(answer::of_ticket(&token, &ticket))
    }
}
