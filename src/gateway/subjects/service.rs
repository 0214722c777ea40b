//! The NATS services convention: who is there, what it answers to, and how it does.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::answer::Answer;
use super::request::Operation;
use super::{Names, QUEUE, Until};
use crate::bus::{Bus, Delivery, Message};
use crate::error::Result;
use crate::gateway::date;
use crate::telemetry::Telemetry;

/// The service's name.
const NAME: &str = "meshstore";

/// What the convention tells of one container.
pub(super) struct Service {
    names: Names,
    /// Its own among all that serve, also among those of one name.
    id: String,
    started_ms: u64,
    counts: [Counts; Operation::ALL.len()],
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    errors: AtomicU64,
    nanoseconds: AtomicU64,
    last_error: Mutex<String>,
}

impl Service {
    pub(super) fn new(names: &Names, telemetry: &Telemetry) -> Self {
        let context = telemetry.context(None);
        let id = format!("{:016x}", context.span);
        Service { names: names.clone(), id, started_ms: telemetry.now_ms(), counts: Default::default() }
    }

    /// Counts an answer.
    pub(super) fn note(&self, operation: Operation, answer: &Answer, took_ns: u64) {
        let Some(counts) = self.counts.get(operation as usize) else { return };
        counts.requests.fetch_add(1, Ordering::Relaxed);
        counts.nanoseconds.fetch_add(took_ns, Ordering::Relaxed);
        if let Some(error) = answer.error() {
            counts.errors.fetch_add(1, Ordering::Relaxed);
            *counts.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
        }
    }

    /// The answer to one of the convention's questions.
    fn answer(&self, question: &str) -> Option<Value> {
        let mut answer = json!({
            "name": NAME,
            "id": self.id,
            "version": env!("CARGO_PKG_VERSION"),
            "metadata": { "site": self.names.site, "container": self.names.container },
            "type": format!("io.nats.micro.v1.{}_response", question.to_ascii_lowercase()),
        });
        let told = answer.as_object_mut()?;
        match question {
            "PING" => {}
            "INFO" => {
                told.insert("description".to_owned(), "stores and hands out objects of the site".into());
                told.insert("endpoints".to_owned(), self.endpoints(|_| json!({ "metadata": {} })));
            }
            "STATS" => {
                told.insert("started".to_owned(), date::rfc3339(self.started_ms).into());
                told.insert("endpoints".to_owned(), self.endpoints(Counts::tell));
            }
            _ => return None,
        }
        Some(answer)
    }

    fn endpoints(&self, more: impl Fn(&Counts) -> Value) -> Value {
        let endpoint = |(operation, counts): (Operation, &Counts)| {
            let mut endpoint = more(counts);
            if let Some(told) = endpoint.as_object_mut() {
                told.insert("name".to_owned(), operation.name().into());
                told.insert("subject".to_owned(), format!("mesh.{}.{}", self.names.site, operation.name()).into());
                told.insert("queue_group".to_owned(), QUEUE.into());
            }
            endpoint
        };
        Operation::ALL.into_iter().zip(&self.counts).map(endpoint).collect()
    }
}

impl Counts {
    fn tell(&self) -> Value {
        let (requests, total) = (self.requests.load(Ordering::Relaxed), self.nanoseconds.load(Ordering::Relaxed));
        json!({
            "num_requests": requests,
            "num_errors": self.errors.load(Ordering::Relaxed),
            "last_error": *self.last_error.lock().unwrap_or_else(PoisonError::into_inner),
            "processing_time": total,
            "average_processing_time": total.checked_div(requests).unwrap_or(0),
        })
    }
}

/// Answers the convention's questions until it is stopped.
pub(super) async fn open(bus: &Arc<dyn Bus>, service: &Arc<Service>, until: &watch::Receiver<Until>) -> Result<()> {
    let mine = format!("$SRV.*.{NAME}.{}", service.id);
    for pattern in ["$SRV.*", &format!("$SRV.*.{NAME}"), &mine] {
        let mut heard = bus.subscribe(&pattern.parse()?, None).await?;
        let (bus, service, mut until) = (Arc::clone(bus), Arc::clone(service), until.clone());
        tokio::spawn(async move {
            loop {
                let message = tokio::select! {
                    delivery = heard.next() => match delivery {
                        Some(Delivery::Message(message)) => message,
                        Some(Delivery::Lost(_)) => continue,
                        None => return,
                    },
                    _ = until.changed() => return,
                };
                let question = message.subject.as_str().split('.').nth(1).unwrap_or_default();
                let (Some(reply), Some(answer)) = (message.reply, service.answer(question)) else { continue };
                if let Err(error) = bus.publish(Message::to(reply, answer.to_string())).await {
                    tracing::warn!(%error, "a question about the service could not be answered");
                }
            }
        });
    }
    Ok(())
}
