//! Where an object is: every copy of every version that a container of the site tells of.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::cpu::blocking;
use super::handle::Handle;
use super::pull::{absent, unasked};
use crate::error::{Error, Result};
use crate::model::{Address, ContainerId, CopyState, Held, Holds, Level, Newest, Session, Version};
use crate::tiers::{Elsewhere, Everywhere};

/// Tell where an object is.
#[derive(Clone, Debug)]
pub struct Locate {
    /// Which one.
    pub address: Address,
    /// What the caller has seen; the answer is not older.
    pub session: Option<Session>,
    /// How long the caller waits.
    pub deadline: Duration,
}

/// Where an object is.
#[derive(Clone, Debug, Default)]
pub struct Whereabouts {
    /// Every version that somebody has, newest first, and the copies of each, the nearest first.
    pub versions: Vec<(Version, Vec<Copy>)>,
    /// Containers that may have more and did not answer in time, by name.
    pub silent: Vec<String>,
}

/// One copy of a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// At which site, where that is another one.
    pub site: Option<String>,
    /// Who has it, by name; nobody named is this container.
    pub container: Option<String>,
    /// On which level.
    pub level: Level,
    /// What it is good for.
    pub state: CopyState,
    /// How long that container took to answer; unknown where it cannot be asked.
    pub cost_ns: Option<u64>,
}

impl Handle {
    /// Asks every container that may have something what it has of an object.
    pub async fn locate(&self, Locate { address, session, deadline }: Locate) -> Result<Whereabouts> {
        self.covered(address.collection(), Some(&address), session.as_ref(), deadline).await?;
        let _permits = self.permits(0, deadline).await?;
        let (keeper, asked) = (Arc::clone(self.keeper()), address.clone());
        let own = blocking(move || keeper.holds(&asked));
        let peers = self.neighbours().get();
        let others = async {
            match peers {
                Some(peers) => peers.locate(&address).await,
                None => Everywhere::default(),
            }
        };
        let (own, others) = tokio::join!(own, others);
        let name_of = |container| peers.and_then(|peers| peers.name_of(container));
        let found = gather(self.keeper().me(), own?, others, name_of);
        if !found.versions.is_empty() {
            return Ok(found);
        }
        let keeper = Arc::clone(self.keeper());
        let absent = blocking(move || -> Result<Error> { Ok(absent(&keeper, &address, None)) }).await?;
        Err(unasked(absent, &found.silent))
    }
}

/// All that was told, by version.
fn gather(
    me: ContainerId,
    own: Holds,
    others: Everywhere,
    name_of: impl Fn(ContainerId) -> Option<(Option<String>, String)>,
) -> Whereabouts {
    let mut versions: BTreeMap<Version, Vec<Copy>> = BTreeMap::new();
    let mut add = |version, copy| versions.entry(version).or_default().push(copy);
    let mut heard = vec![me];
    let mut newest = own.newest;
    for Held { version, level, state } in own.copies {
        add(version, Copy { site: None, container: None, level, state, cost_ns: Some(0) });
    }
    for Elsewhere { container, site, name, took_ns, holds } in others.answers {
        heard.push(container);
        newest = newest.into_iter().chain(holds.newest).max_by_key(|newest| newest.version);
        for Held { version, level, state } in holds.copies {
            let (site, container) = (site.clone(), Some(name.clone()));
            add(version, Copy { site, container, level, state, cost_ns: Some(took_ns) });
        }
    }
    // The durable copy of who did not answer is known of all the same.
    if let Some(Newest { version, keeper, level: Some(level) }) =
        newest.filter(|newest| !heard.contains(&newest.keeper))
    {
        let (site, name) = name_of(keeper).unwrap_or_else(|| (None, format!("{:016x}", keeper.0)));
        add(version, Copy { site, container: Some(name), level, state: CopyState::Away, cost_ns: None });
    }
    let mut versions: Vec<_> = versions.into_iter().rev().collect();
    for (_, copies) in &mut versions {
        // Who cannot be asked comes last.
        copies.sort_by_key(|copy| (copy.cost_ns.unwrap_or(u64::MAX), copy.container.clone(), copy.level));
    }
    Whereabouts { versions, silent: others.silent }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(time: u64) -> Version {
        Version { time, container: ContainerId(1) }
    }

    fn holds(copies: &[(u64, Level, CopyState)], newest: Option<(u64, u64, Option<Level>)>) -> Holds {
        let held = |&(time, level, state): &(u64, Level, CopyState)| Held { version: version(time), level, state };
        let newest =
            newest.map(|(time, keeper, level)| Newest { version: version(time), keeper: ContainerId(keeper), level });
        Holds { copies: copies.iter().map(held).collect(), newest }
    }

    type Told = Vec<(u64, Vec<(String, Level, CopyState)>)>;

    fn told(own: Holds, others: Vec<(u64, u64, Holds)>) -> Told {
        let answers = others.into_iter().map(|(id, took_ns, holds)| Elsewhere {
            container: ContainerId(id),
            site: None,
            name: format!("c{id}"),
            took_ns,
            holds,
        });
        let everywhere = Everywhere { answers: answers.collect(), silent: Vec::new() };
        let found = gather(ContainerId(1), own, everywhere, |id| (id.0 < 9).then(|| (None, format!("c{}", id.0))));
        let copy = |copy: Copy| (copy.container.unwrap_or_default(), copy.level, copy.state);
        found.versions.into_iter().map(|(v, copies)| (v.time, copies.into_iter().map(copy).collect())).collect()
    }

    #[test]
    fn the_newest_version_comes_first_and_of_its_copies_the_nearest() {
        let own = holds(
            &[(2, Level::Ram, CopyState::Cached), (1, Level::Disk, CopyState::Old)],
            Some((2, 3, Some(Level::Disk))),
        );
        let far = holds(&[(2, Level::Disk, CopyState::Kept)], Some((2, 3, Some(Level::Disk))));
        let near = holds(&[(2, Level::Ram, CopyState::Cached)], None);
        let expected = vec![
            (
                2,
                vec![
                    (String::new(), Level::Ram, CopyState::Cached),
                    ("c2".to_owned(), Level::Ram, CopyState::Cached),
                    ("c3".to_owned(), Level::Disk, CopyState::Kept),
                ],
            ),
            (1, vec![(String::new(), Level::Disk, CopyState::Old)]),
        ];
        assert_eq!(told(own, vec![(3, 900, far), (2, 100, near)]), expected);
    }

    #[test]
    fn the_keeper_that_cannot_be_asked_is_named_unless_what_it_had_was_deleted() {
        let away = |name: &str| vec![(5, vec![(name.to_owned(), Level::Disk, CopyState::Away)])];
        assert_eq!(told(holds(&[], Some((5, 4, Some(Level::Disk)))), vec![]), away("c4"));
        assert_eq!(told(holds(&[], Some((5, 10, Some(Level::Disk)))), vec![]), away("000000000000000a"));
        // Another one knows better.
        let deleted = holds(&[], Some((6, 2, None)));
        assert_eq!(told(holds(&[], Some((5, 4, Some(Level::Disk)))), vec![(2, 1, deleted)]), vec![]);
        assert_eq!(told(Holds::default(), vec![]), vec![]);
    }
}
