//! Asking every other container what it has of an address: each answers for itself.

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join, join_all};

use super::wire::{Question, Reply};
use super::{Site, locked};
use crate::limits::ASK_MAX;
use crate::model::{Address, ContainerId};
use crate::tiers::{Elsewhere, Everywhere};

impl Site {
    /// What all who can be asked have, and who stayed silent.
    pub(super) fn locate_all(&self, address: &Address) -> BoxFuture<'_, Everywhere> {
        let address = address.clone();
        async move {
            let (mut here, there) = join(self.locate_here(&address), self.locate_at_sites(&address)).await;
            here.answers.extend(there.answers);
            here.silent.extend(there.silent);
            here
        }
        .boxed()
    }

    fn locate_here(&self, address: &Address) -> BoxFuture<'_, Everywhere> {
        let question = Question::Holds(address.as_str().to_owned());
        async move {
            let now_ms = self.now_ms();
            let (alive, mut silent) = {
                let members = locked(&self.0.members);
                let alive: Vec<_> = members.alive(now_ms).map(|one| (one.container, one.name.clone())).collect();
                let silent: Vec<_> = members.silent(now_ms).map(|one| one.name.to_string()).collect();
                (alive, silent)
            };
            let (me, question) = (self, &question);
            let ask = |(container, name)| async move {
                let began = me.0.parts.telemetry.ticks_ns();
                let answer = me.ask_one(&name, question, ASK_MAX).await;
                (container, name, me.0.parts.telemetry.since_ns(began), answer)
            };
            let mut answers = Vec::with_capacity(alive.len());
            for (container, name, took_ns, answer) in join_all(alive.into_iter().map(ask)).await {
                match answer {
                    Ok(Reply::Holds(holds)) => {
                        answers.push(Elsewhere { container, site: None, name: name.to_string(), took_ns, holds });
                    }
                    answer => {
                        tracing::debug!(?answer, container = %name, "asked in vain where an object is");
                        silent.push(name.to_string());
                    }
                }
            }
            Everywhere { answers, silent }
        }
        .boxed()
    }

    /// The name of a container of this site that was heard at some time.
    pub(super) fn known_as(&self, container: ContainerId) -> Option<String> {
        if container == self.0.me {
            return Some(self.0.parts.container.to_string());
        }
        locked(&self.0.members).get(container).map(|member| member.name.to_string())
    }
}
