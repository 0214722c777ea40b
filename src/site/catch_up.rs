//! Asking somebody for all that this container lacks, page by page.

use std::time::Duration;

use super::hear::News;
use super::wire::{Page, Place, Question, Reply};
use super::{Site, locked};
use crate::error::{Error, Result};
use crate::model::ContainerId;

/// How long one page may take.
const PAGE_MAX: Duration = Duration::from_secs(10);

/// Asks one container until nothing is missing that it has.
pub(super) async fn catch_up(site: Site, from: ContainerId) {
    if let Err(error) = pages(&site, from).await {
        tracing::warn!(%error, "what this container lacks could not be asked for; it is tried again");
    }
    let _ = site.0.heard.send(News::Asked).await;
}

async fn pages(site: &Site, from: ContainerId) -> Result<()> {
    let now_ms = site.now_ms();
    let name = locked(&site.0.members).get(from).filter(|member| member.is_alive(now_ms)).map(|m| m.name.clone());
    let Some(name) = name else { return Ok(()) };
    let seen = site.keeper().vector();
    let (mut place, mut vector) = (Place::first(), None);
    loop {
        let question = Question::Lacking { seen: seen.clone(), place };
        let page = match site.ask_one(&name, &question, PAGE_MAX).await? {
            Reply::Lacking(page) => page,
            Reply::Refused(why) => return Err(Error::unavailable("another container refuses").because(why)),
            _ => {
                return Err(Error::internal("another container answers something else"));
            }
        };
        let Page { entries, vector: at, next } = page;
        // What changed since the first page is told by itself.
        let reached = vector.get_or_insert(at);
        let last = next.is_none().then(|| reached.clone());
        if site.0.heard.send(News::Page(entries, last)).await.is_err() {
            return Ok(());
        }
        match next {
            Some(next) => place = next,
            None => return Ok(()),
        }
    }
}
