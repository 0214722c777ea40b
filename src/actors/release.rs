//! Entries leave level 1 because somebody asked for it. The rules are those of any eviction: what is
//! clean goes at once, what memory alone holds is written to disk first, and what cannot be written stays.

use super::eviction::MakeRoom;
use super::memory::MemoryActor;
use super::runtime::{Answer, Ask, Serves};
use crate::error::Result;
use crate::model::{Address, Name};

/// Let entries of level 1 go.
#[derive(Clone, Debug)]
pub struct Release {
    /// Which may go.
    pub which: Which,
    /// Stop once so many bytes are free; all of them go when `None`.
    pub bytes: Option<u64>,
}

/// Which objects are meant.
#[derive(Clone, Debug)]
pub enum Which {
    /// This one.
    Object(Address),
    /// Those of a collection.
    Collection(Name),
    /// Any; the policy chooses.
    Any,
}

impl Which {
    /// Whether this object is among them.
    pub fn fits(&self, address: &Address) -> bool {
        match self {
            Which::Object(one) => one == address,
            Which::Collection(name) => address.collection() == name.as_str(),
            Which::Any => true,
        }
    }
}

/// What left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Released {
    /// Entries.
    pub objects: u64,
    /// Bytes of the budget that they counted for.
    pub bytes: u64,
}

impl Ask for Release {
    type Reply = Released;
}

impl MemoryActor {
    async fn release(self, Release { which, bytes }: Release) -> Result<Released> {
        let _turn = self.turn.lock().await;
        let mut done = Released::default();
        match (which, bytes) {
            (Which::Object(address), _) => self.leave(vec![address], None, &mut done).await?,
            (Which::Collection(name), most) => {
                let listed = self.all(|address| address.collection() == name.as_str());
                self.leave(listed, most, &mut done).await?;
            }
            (Which::Any, None) => self.leave(self.all(|_| true), None, &mut done).await?,
            (Which::Any, Some(most)) => {
                while done.bytes < most {
                    let victims = self.eviction.ask(MakeRoom { bytes: most - done.bytes }).await?;
                    if victims.is_empty() {
                        break;
                    }
                    let costs: Vec<_> = victims.iter().map(|victim| (victim.clone(), self.cost(victim))).collect();
                    let outcome = self.let_go(victims, |_| true).await;
                    costs.iter().for_each(|(victim, cost)| self.count(victim, *cost, &mut done));
                    outcome?;
                }
            }
        }
        Ok(done)
    }

    async fn leave(&self, addresses: Vec<Address>, most: Option<u64>, done: &mut Released) -> Result<()> {
        for address in addresses {
            if most.is_some_and(|most| done.bytes >= most) {
                return Ok(());
            }
            let cost = self.cost(&address);
            if cost > 0 && !self.evict_clean(&address) {
                self.demote(&address).await?;
            }
            self.count(&address, cost, done);
        }
        Ok(())
    }

    fn all(&self, wanted: impl Fn(&Address) -> bool) -> Vec<Address> {
        let mut listed = Vec::new();
        self.keeper.memory().each(|address, _| {
            if wanted(address) {
                listed.push(address.clone());
            }
        });
        listed
    }

    pub(super) fn cost(&self, address: &Address) -> u64 {
        self.keeper.memory().peek(address).map_or(0, |resident| resident.cost())
    }

    /// Counts an entry that was here and is not any more.
    fn count(&self, address: &Address, cost: u64, done: &mut Released) {
        if cost > 0 && self.keeper.memory().peek(address).is_none() {
            done.objects += 1;
            done.bytes += cost;
        }
    }
}

impl Serves<Release> for MemoryActor {
    fn serve(&mut self, release: Release) -> Answer<Released> {
        Answer::later(self.clone().release(release))
    }
}
