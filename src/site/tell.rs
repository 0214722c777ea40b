//! Telling the others what changes here, in order, soon after it happened.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Site;
use super::wire::{self, Batch, Told};
use crate::bus::{Log, Message};
use crate::error::{Kind, Result};
use crate::tiers::News;

/// How long changes are gathered: many of them then share a message.
const GATHER: Duration = Duration::from_millis(2);

/// Entries of one message, before it is measured.
const ENTRIES_MAX: usize = 256;

/// How long it is waited before the log is tried again.
const LOG_RETRY: Duration = Duration::from_secs(5);

/// Tells until it is stopped.
pub(super) async fn tell(site: Site) {
    let inner = Arc::clone(&site.0);
    let mut teller = Teller { site, told: None, log: None, next_try_ms: 0, sent: 0 };
    let changed = teller.site.keeper().news_bell();
    loop {
        let others = inner.others.notified();
        if !teller.site.has_others() {
            // Who comes asks for all that it lacks.
            teller.site.keeper().close_outbox();
            teller.told = None;
            others.await;
            continue;
        }
        if teller.told.is_none() {
            let told = teller.site.keeper().open_outbox();
            teller.told = Some(told);
            // What was before is asked for by whoever lacks it.
            teller.site.0.told.fetch_max(told, Ordering::AcqRel);
        }
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            // Nothing changed; perhaps nobody is there any more.
            () = tokio::time::sleep(super::members::BEAT) => continue,
        }
        if let Err(error) = teller.tell_news().await {
            // What could not be told is not told again; the gap before what comes next makes the others ask.
            teller.told = Some(teller.site.keeper().open_outbox());
            tracing::debug!(%error, "the others could not be told what changed; they will ask");
        }
    }
}

struct Teller {
    site: Site,
    /// Up to where everything was told; `None` while nobody listens.
    told: Option<u64>,
    log: Option<Arc<dyn Log>>,
    next_try_ms: u64,
    /// Messages so far; names each in the log.
    sent: u64,
}

impl Teller {
    async fn tell_news(&mut self) -> Result<()> {
        let News { upto, mut entries, lost } = self.site.blocking(|keeper| keeper.news()).await?;
        if lost {
            // From here on again; the gap before it makes the others ask.
            self.told = Some(self.site.keeper().open_outbox());
        }
        let after = self.told.unwrap_or(upto.seq);
        let upto_seq = upto.seq.max(after);
        while !entries.is_empty() || upto_seq > self.told.unwrap_or_default() {
            let rest = entries.split_off(entries.len().min(ENTRIES_MAX));
            let told = entries.drain(..).map(|(address, entry)| Told::new(&address, entry)).collect();
            // Only with the last of them everything has been told.
            let (from, to) = if rest.is_empty() { (after, upto_seq) } else { (after, after) };
            self.tell_some(told, upto.incarnation, from, to).await?;
            if rest.is_empty() {
                self.told = Some(upto_seq);
                self.site.0.told.store(upto_seq, Ordering::Release);
                return Ok(());
            }
            entries = rest;
        }
        Ok(())
    }

    /// Tells some, in as many messages as it takes.
    async fn tell_some(
        &mut self,
        entries: Vec<Told>,
        incarnation: crate::model::Incarnation,
        after: u64,
        upto: u64,
    ) -> Result<()> {
        let mut waiting = vec![entries];
        while let Some(mut entries) = waiting.pop() {
            let is_last = waiting.is_empty();
            let (from, to) = if is_last { (after, upto) } else { (after, after) };
            let batch = Batch { from: self.site.0.me, incarnation, after: from, upto: to, entries };
            let subject = self.site.log_subject();
            let body = wire::write(&self.site.ring(), &subject, &batch)?;
            entries = batch.entries;
            if body.len() + 1024 > self.site.0.parts.bus.payload_max() && entries.len() > 1 {
                let half = entries.split_off(entries.len() / 2);
                // What comes last is told last.
                waiting.push(half);
                waiting.push(entries);
                continue;
            }
            self.sent += 1;
            let id = format!("{:016x}.{}", incarnation.0, self.sent);
            self.send(Message::to(subject.parse()?, body), &id).await?;
        }
        Ok(())
    }

    /// Through the log, where it is kept for those who are away; without one, to those who are here.
    async fn send(&mut self, message: Message, id: &str) -> Result<()> {
        if self.log.is_none() && self.site.now_ms() >= self.next_try_ms {
            match self.site.log().await {
                Ok(log) => self.log = Some(log),
                Err(error) => {
                    tracing::warn!(%error, "the site has no log; changes reach only those who are here");
                    self.next_try_ms = self.site.now_ms() + LOG_RETRY.as_millis() as u64;
                }
            }
        }
        if let Some(log) = &self.log {
            match log.append(id, message.clone()).await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == Kind::TooLarge => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, "the site's log takes nothing; changes reach only those who are here");
                    self.log = None;
                    self.site.forget_log();
                    self.next_try_ms = self.site.now_ms() + LOG_RETRY.as_millis() as u64;
                }
            }
        }
        self.site.0.parts.bus.publish(message).await
    }
}
