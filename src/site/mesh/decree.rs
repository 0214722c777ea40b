//! The policies of the mesh on their way from site to site. Each version is signed by the site where it was made, so any
//! site may tell of those of others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::timeout;

use super::super::wire::{self, Said};
use super::super::{Site, locked};
use super::call::{Answer, Call};
use crate::error::{Error, Kind, Result};
use crate::model::{Name, PolicyRecord, Version};
use crate::nfr::{SIGNATURE_BYTES, said_by};

/// Bytes of a page, and how long it may take: a slow link carries it in that time.
const PAGE_BYTES: usize = 32 << 10;
const PAGE_MAX: Duration = Duration::from_secs(10);

/// Pages that are asked for in one go: more than all policies that a mesh may have take as a rule.
const PAGES_MAX: usize = 512;

/// How long it may take to ask a site for its policies.
const TAKING_MAX: Duration = Duration::from_secs(120);

/// How long a site is not asked again that had nothing new, and says nothing else than before.
const VAIN_MS: u64 = 30_000;

/// What a version is signed for; on no subject, since it is told on many.
const SUBJECT: &str = "policy";

/// A version as it is signed.
impl Said for PolicyRecord {
    const KIND: &'static str = "policy 1";
}

/// The containers that were asked for their policies, the sums that they told of them, and when: for a while the answer would
/// be no other.
#[derive(Default)]
pub(super) struct Vain(Mutex<BTreeMap<(Name, Name), (u64, u64)>>);

impl Vain {
    /// Whether a site is to be asked; noted at once, so that its next voice does not ask as well.
    fn begin(&self, whom: &(Name, Name), sum: u64, now_ms: u64) -> bool {
        let mut asked = locked(&self.0);
        let is_vain = asked.get(whom).is_some_and(|(known, since)| *known == sum && now_ms < since + VAIN_MS);
        if !is_vain {
            asked.insert(whom.clone(), (sum, now_ms));
        }
        !is_vain
    }

    fn end(&self, whom: &(Name, Name)) {
        locked(&self.0).remove(whom);
    }

    /// What could not be believed may be, now that other sites are known.
    pub(super) fn forget(&self) {
        locked(&self.0).clear();
    }
}

impl Site {
    /// A page of policies for another site, behind this version.
    pub(super) fn policies_page(&self, after: Option<&(Name, Version)>) -> Result<Answer> {
        let (mut page, mut bytes, room) = (Vec::new(), 0, self.message_room().min(PAGE_BYTES));
        let behind = |record: &PolicyRecord| {
            after.is_none_or(|(name, version)| (&record.name, record.version) > (name, *version))
        };
        let mut last = None;
        for record in self.0.parts.policies.records().into_iter().filter(behind) {
            let place = (record.name.clone(), record.version);
            let told = self.told_policy(record)?;
            bytes += told.len();
            if bytes > room && !page.is_empty() {
                return Ok(Answer::Policies(page, last));
            }
            page.push(told);
            last = Some(place);
        }
        Ok(Answer::Policies(page, None))
    }

    fn told_policy(&self, record: PolicyRecord) -> Result<Vec<u8>> {
        let proof = record.proof;
        let plain = wire::plain(&PolicyRecord { proof: Vec::new(), ..record })?;
        match proof.is_empty() {
            true => self.0.mesh.identity.sign(&wire::purpose::<PolicyRecord>(SUBJECT), &plain),
            false => Ok([proof, plain].concat()),
        }
    }

    fn heard_policy(&self, told: &[u8]) -> Result<PolicyRecord> {
        let foreign = || Error::new(Kind::Unauthorised, "a policy that no site of the mesh has made");
        let (proof, plain) = told.split_first_chunk::<SIGNATURE_BYTES>().ok_or_else(foreign)?;
        let record: PolicyRecord = wire::from_plain(plain)?;
        let maker = self.0.mesh.roster.get(&record.site).ok_or_else(|| foreign().with("site", &record.site))?;
        said_by(&maker.keys, &wire::purpose::<PolicyRecord>(SUBJECT), told)?;
        // What this site signs itself needs no proof, and all its containers hold it alike.
        let is_own = record.site == self.0.parts.site;
        Ok(PolicyRecord { proof: if is_own { Vec::new() } else { proof.to_vec() }, ..record })
    }

    /// Whoever holds other policies is asked for them, a few at a time.
    pub(super) fn compare_policies(&self, site: &Name, of: Name, sum: u64) {
        let (now_ms, whom) = (self.now_ms(), (site.clone(), of.clone()));
        if sum == self.0.parts.policies.sum() || !self.0.mesh.vain.begin(&whom, sum, now_ms) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.0.mesh.decreeing).try_acquire_owned() else {
            return self.0.mesh.vain.end(&whom);
        };
        let (me, site) = (self.clone(), site.clone());
        self.spawn(async move {
            let taken = timeout(TAKING_MAX, me.take_policies(&site, &of)).await;
            match taken.unwrap_or_else(|_| Err(Error::deadline("a site tells of policies for too long"))) {
                // It has no more than what is here, or nothing that is believed: asked again when it says something else.
                Ok(0) => {}
                Ok(new) => {
                    tracing::info!(%site, new, "policies of the mesh were changed");
                    me.0.mesh.vain.end(&whom);
                }
                Err(error) => {
                    tracing::debug!(%error, %site, "the policies that a site knows could not be asked for");
                    me.0.mesh.vain.end(&whom);
                }
            }
            drop(turn);
        });
    }

    async fn take_policies(&self, site: &Name, of: &Name) -> Result<usize> {
        let (mut after, mut records) = (None, Vec::new());
        for _ in 0..PAGES_MAX {
            let Answer::Policies(page, next) =
                self.call(site, Some(of), &Call::Policies(after.clone()), PAGE_MAX).await?
            else {
                return Err(Error::internal("another site answers something else"));
            };
            for told in page {
                match self.heard_policy(&told) {
                    Ok(record) => records.push(record),
                    Err(error) => self.meet_stranger("mesh.ask", &error),
                }
            }
            if next <= after {
                break;
            }
            after = next;
        }
        // All at once, so that no older version rules for a moment.
        let policies = Arc::clone(&self.0.parts.policies);
        let adopted = tokio::task::spawn_blocking(move || policies.adopt(records)).await;
        adopted.map_err(|error| Error::internal("policies could not be kept").because(error))?
    }
}
