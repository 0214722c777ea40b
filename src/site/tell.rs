//! Telling the others what changes here, in order, soon after it happened.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Site;
use super::wire::{self, Batch, Told};
use crate::bus::{Log, Message};
use crate::error::{Kind, Result};
use crate::model::{Address, Entry};
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
    let mut teller = Teller { site, told: None, log: None, next_try_ms: 0, sent: 0, ahead: Vec::new() };
    let changed = teller.site.keeper().news_bell();
    loop {
        let others = inner.others.notified();
        if !teller.site.has_others() && !teller.site.has_sites() {
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
            teller.site.begin_chains(told);
        }
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(GATHER).await,
            // Nothing rang; but what was not yet visible when it did may be now.
            () = tokio::time::sleep(super::members::BEAT) => {}
        }
        if let Err(error) = teller.tell_news().await {
            // What could not be told is not told again; the gap before what comes next makes the others ask.
            let told = teller.site.keeper().open_outbox();
            teller.told = Some(told);
            teller.site.begin_chains(told);
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
    /// What other sites are told once all that came before it is visible.
    ahead: Vec<(Address, Entry)>,
}

impl Teller {
    async fn tell_news(&mut self) -> Result<()> {
        let News { upto, mut entries, lost } = self.site.blocking(|keeper| keeper.news()).await?;
        if lost {
            // From here on again; the gap before it makes the others ask.
            let told = self.site.keeper().open_outbox();
            self.told = Some(told);
            self.site.begin_chains(told);
        }
        let (mut at, own) = (self.told.unwrap_or(upto.seq), upto.incarnation);
        let end = upto.seq.max(at);
        // In the order of their dots, so that each message completes a stretch of its own: one that is lost is a gap.
        let seq = |entry: &Entry| Some(entry.head.dot()).filter(|dot| dot.incarnation == own).map_or(0, |dot| dot.seq);
        entries.sort_by_key(|(_, entry)| seq(entry));
        if self.site.has_sites() {
            // What is visible before all that came before it waits for that: for other sites a message that is lost must
            // leave a gap.
            self.ahead.extend(entries.iter().cloned());
            let all = std::mem::take(&mut self.ahead).into_iter();
            let (mut now, ahead): (Vec<_>, Vec<_>) = all.partition(|(_, entry)| seq(entry) <= end);
            now.sort_by_key(|(_, entry)| seq(entry));
            self.ahead = ahead;
            if let Err(error) = self.site.tell_sites(own, end, &now).await {
                // They hear that something was left out, and ask.
                self.site.begin_chains(end);
                tracing::debug!(%error, "the other sites could not be told what changed");
            }
        } else {
            self.ahead.clear();
            self.site.pass_over(end);
        }
        if !self.site.has_others() {
            entries.clear();
            at = end;
        }
        let last = |part: &[(Address, Entry)]| part.last().map_or(0, |(_, entry)| seq(entry));
        let mut parts: VecDeque<Vec<(Address, Entry)>> = entries.chunks(ENTRIES_MAX).map(<[_]>::to_vec).collect();
        if parts.is_empty() && end > at {
            parts.push_back(Vec::new());
        }
        while let Some(mut part) = parts.pop_front() {
            let to = if parts.is_empty() { end } else { last(&part).min(end).max(at) };
            let told = part.iter().map(|(address, entry)| Told::new(address, entry.clone())).collect();
            let batch = Batch { from: self.site.0.me, incarnation: own, after: at, upto: to, entries: told };
            let subject = self.site.log_subject();
            let body = wire::write(&self.site.ring(), &subject, &batch)?;
            if body.len() + wire::SLACK_BYTES > self.site.0.parts.bus.payload_max() && part.len() > 1 {
                let rest = part.split_off(part.len() / 2);
                parts.push_front(rest);
                parts.push_front(part);
                continue;
            }
            self.sent += 1;
            self.send(Message::to(subject.parse()?, body), &format!("{:016x}.{}", own.0, self.sent)).await?;
            at = to;
        }
        self.told = Some(end);
        self.site.0.told.store(end, Ordering::Release);
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
