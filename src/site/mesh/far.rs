//! What this container has heard of the other sites.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::super::members::{Heard, Member, Members};
use super::super::wire::Beat;
use crate::limits::FAR_CONTAINERS_MAX;
use crate::model::{ContainerId, Incarnation, Name};
use crate::nfr::SharedKey;
use crate::store::FarContainer;

/// The other sites.
pub(in crate::site) struct Far {
    me: (ContainerId, Incarnation),
    sites: BTreeMap<Name, FarSite>,
    /// Of which site each container is, and its name there; also of those that are silent since this one started.
    homes: HashMap<ContainerId, (Name, Name)>,
}

struct FarSite {
    members: Members,
    /// The collections that this site may see of it, as of the sum that was told of them.
    directory: Option<(u64, Collections)>,
    fetching: bool,
    /// The sum of a directory that did not open what it should have.
    doubted: Option<u64>,
    /// Containers that are known to be of it.
    homes: usize,
    /// The version of the mesh in which it was heard last, where that is another one than here.
    spoken: Option<u8>,
    /// How often each began to tell anew.
    chains: BTreeMap<ContainerId, u64>,
}

/// The collections of another site: what changes with the policy of each, and what opens its news.
pub(super) type Collections = BTreeMap<String, (u64, SharedKey)>;

/// Periods of a container after which it is not asked any more.
const PERIODS_MISSED: u64 = 5;

/// So long without the voices that there were means that more was lost than the repeats of the news would tell of soon.
const MISSED_MS: u64 = 3_000;

/// What a voice says of its container and its site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sums {
    /// Changes with the collections that the site has.
    pub directory: u64,
    /// Changes with the sites that it knows.
    pub roster: u64,
    /// Changes with the policies that it knows.
    pub policies: u64,
    /// One more with each time that the container left something out of its news.
    pub chains: u64,
}

/// What a voice told.
pub(super) struct Noted {
    pub heard: Heard,
    /// Whether something was lost since it was heard last.
    pub missed: bool,
    /// Whether its site's collections are to be asked for.
    pub is_other_directory: bool,
    /// Whether it was not known that it is of this site.
    pub is_new: bool,
}

impl Far {
    /// Nothing was heard yet; these are known from before.
    pub(in crate::site) fn new(me: ContainerId, incarnation: Incarnation, known: Vec<FarContainer>) -> Self {
        let mut far = Far { me: (me, incarnation), sites: BTreeMap::new(), homes: HashMap::new() };
        for FarContainer { container, site, name } in known {
            far.claim(container, &site, &name);
        }
        far
    }

    fn site(&mut self, name: &Name) -> &mut FarSite {
        let (me, incarnation) = self.me;
        self.sites.entry(name.clone()).or_insert_with(|| FarSite {
            members: Members::elsewhere(me, incarnation),
            directory: None,
            fetching: false,
            doubted: None,
            spoken: None,
            homes: 0,
            chains: BTreeMap::new(),
        })
    }

    /// Takes in a voice, the next of which comes in a period; nothing if it is of a container that is another site's.
    pub(super) fn hear(
        &mut self,
        site: &Name,
        beat: Beat,
        (sums, period_ms): (Sums, u64),
        now_ms: u64,
    ) -> Option<Noted> {
        let Sums { directory, chains, .. } = sums;
        let (container, name) = (beat.container, beat.name().ok()?);
        let is_new = self.claim(container, site, &name)?;
        let known = self.site(site);
        known.spoken = None;
        let missed = known.members.missed(&beat) * period_ms >= MISSED_MS;
        let heard = known.members.hear_again_within(beat, now_ms, PERIODS_MISSED * period_ms);
        let is_current = known.directory.as_ref().is_some_and(|(sum, _)| *sum == directory);
        let is_other_directory = heard != Heard::Stale && !is_current && !known.fetching;
        known.fetching |= is_other_directory;
        let missed = missed || known.chains.insert(container, chains).is_some_and(|before| before != chains);
        Some(Noted { heard, missed, is_other_directory, is_new })
    }

    /// A site was heard in another version of the mesh.
    pub(super) fn speaks(&mut self, site: &Name, spoken: u8) {
        self.site(site).spoken = Some(spoken);
    }

    /// The version in which a site was heard last, where that is another one than here.
    pub(super) fn spoken(&self, site: &Name) -> Option<u8> {
        self.sites.get(site)?.spoken
    }

    /// Notes that a container is of a site. Says whether that is new; nothing if it is another site's, or this one.
    pub(super) fn claim(&mut self, container: ContainerId, site: &Name, name: &Name) -> Option<bool> {
        if container == self.me.0 {
            return None;
        }
        match self.homes.get(&container).cloned() {
            Some((home, known)) if home == *site => {
                let is_new = known != *name;
                if is_new {
                    self.homes.insert(container, (site.clone(), name.clone()));
                }
                Some(is_new)
            }
            Some(_) => None,
            None if self.site(site).homes >= FAR_CONTAINERS_MAX => None,
            None => {
                self.site(site).homes += 1;
                self.homes.insert(container, (site.clone(), name.clone()));
                Some(true)
            }
        }
    }

    /// The directory of a site was fetched, or could not be. Returns the collections that are new, or whose policy is.
    pub(super) fn fetched(&mut self, site: &Name, directory: Option<(u64, Collections)>) -> Vec<String> {
        let known = self.site(site);
        known.fetching = false;
        let Some((sum, collections)) = directory else { return Vec::new() };
        known.doubted = known.doubted.filter(|doubted| *doubted == sum);
        let before = known.directory.take().map(|(_, before)| before).unwrap_or_default();
        let policy = |collections: &Collections, name: &str| collections.get(name).map(|(policy, _)| *policy);
        let is_new = |name: &&String| policy(&before, name) != policy(&collections, name);
        let new = collections.keys().filter(is_new).cloned().collect();
        known.directory = Some((sum, collections));
        new
    }

    /// What is known of a directory does not open what it should: it is asked for anew, once.
    pub(super) fn doubt(&mut self, site: &Name) {
        let known = self.site(site);
        if let Some((sum, _)) = known.directory.as_mut()
            && known.doubted != Some(*sum)
        {
            known.doubted = Some(std::mem::replace(sum, !*sum));
        }
    }

    /// What the news of a collection of this site are opened with.
    pub(super) fn news_key(&self, site: &Name, collection: &str) -> Option<SharedKey> {
        let (_, collections) = self.sites.get(site)?.directory.as_ref()?;
        collections.get(collection).map(|(_, key)| key.clone())
    }

    /// Whether a site has a collection, as far as that is known.
    pub(super) fn has(&self, site: &Name, collection: &str) -> Option<bool> {
        let (_, collections) = self.sites.get(site)?.directory.as_ref()?;
        Some(collections.contains_key(collection))
    }

    /// The collections of a site, where they are known.
    pub(super) fn collections(&self, site: &Name) -> Option<Vec<String>> {
        let (_, collections) = self.sites.get(site)?.directory.as_ref()?;
        Some(collections.keys().cloned().collect())
    }

    /// Where a container is at home, and its name there.
    pub(in crate::site) fn home(&self, container: ContainerId) -> Option<&(Name, Name)> {
        self.homes.get(&container)
    }

    /// A container, as it was heard last.
    pub(in crate::site) fn member(&self, container: ContainerId) -> Option<(Name, Member)> {
        let (site, _) = self.homes.get(&container)?;
        Some((site.clone(), self.sites.get(site)?.members.get(container)?.clone()))
    }

    /// How many containers of all sites can be asked.
    pub(super) fn count_alive(&self, now_ms: u64) -> usize {
        self.sites.values().map(|known| known.members.alive(now_ms).count()).sum()
    }

    /// The containers of a site that can be asked.
    pub(in crate::site) fn alive(&self, site: &Name, now_ms: u64) -> Vec<(ContainerId, Name)> {
        let known = self.sites.get(site).into_iter();
        known.flat_map(|known| known.members.alive(now_ms)).map(|one| (one.container, one.name.clone())).collect()
    }

    /// All containers of a site that were heard, and whether each can be asked.
    pub(in crate::site) fn members(&self, site: &Name, now_ms: u64) -> Vec<(Member, bool)> {
        let known = self.sites.get(site).into_iter().flat_map(|known| known.members.all());
        known.map(|member| (member.clone(), member.is_alive(now_ms))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_stays_that_of_the_site_which_claimed_it_first() {
        let name = |text: &str| text.parse::<Name>().unwrap();
        let (edge, fog) = (name("edge"), name("fog"));
        let mut far = Far::new(ContainerId(1), Incarnation(1), Vec::new());
        assert_eq!(far.claim(ContainerId(2), &edge, &name("c1")), Some(true));
        assert_eq!(far.claim(ContainerId(2), &edge, &name("c1")), Some(false));
        assert_eq!(far.claim(ContainerId(2), &fog, &name("c1")), None, "another site's");
        assert_eq!(far.claim(ContainerId(1), &fog, &name("c1")), None, "this one itself");
        assert_eq!(far.claim(ContainerId(2), &edge, &name("c2")), Some(true), "it has another name now");
        assert_eq!(far.home(ContainerId(2)), Some(&(edge, name("c2"))));
        // A site that claims one after the other takes no memory without end.
        let taken = (3..).take_while(|id| far.claim(ContainerId(*id), &fog, &name("c1")).is_some()).count();
        assert_eq!(taken, FAR_CONTAINERS_MAX);
        assert_eq!(far.claim(ContainerId(2), &name("cloud"), &name("c1")), None);
    }
}
