//! The site around a container, as its admin door shows it.

use super::admin::Overseer;
use crate::gateway::admin::{BusReport, ContainerReport, LoadReport, PeerReport, QueueReport, SiteReport};
use crate::limits::EVENT_READERS_MAX;
use crate::site::{Load, Member, PeerStanding, Site, SiteStanding};

impl Overseer {
    pub(super) fn site_reports(&self) -> Vec<SiteReport> {
        let standing = self.site().map(Site::standing);
        let others = self.site().map(Site::members).unwrap_or_default();
        let count =
            |wanted: bool| others.iter().filter(|(member, alive)| *alive == wanted && !member.left).count() as u64;
        let epoch = standing.as_ref().and_then(|standing| standing.epoch);
        let record = self.site().and_then(Site::own_record);
        let own = SiteReport {
            name: self.site_name().to_owned(),
            here: true,
            keys: record.as_ref().map(|record| record.keys.to_string()),
            since_ms: record.map(|record| record.since_ms),
            collections: None,
            speaks: None,
            epoch: epoch.map(|(number, _)| number),
            members: epoch.map(|(_, members)| members as u64),
            alive: count(true) + 1,
            silent: count(false),
            bus: standing.map(|standing| BusReport {
                name: standing.bus.name,
                version: standing.bus.version,
                connected: standing.bus.connected,
                disconnects: standing.bus.disconnects,
            }),
        };
        let other = |SiteStanding { record, members, collections, spoken }: SiteStanding| {
            let count = |wanted: bool| members.iter().filter(|(one, alive)| *alive == wanted && !one.left).count();
            SiteReport {
                name: record.name.to_string(),
                here: false,
                keys: Some(record.keys.to_string()),
                since_ms: Some(record.since_ms),
                collections,
                speaks: spoken,
                epoch: None,
                members: None,
                alive: count(true) as u64,
                silent: count(false) as u64,
                bus: None,
            }
        };
        let others = self.site().map(Site::other_sites).unwrap_or_default();
        std::iter::once(own).chain(others.into_iter().map(other)).collect()
    }

    pub(super) fn container_reports(&self) -> Vec<ContainerReport> {
        let site = self.site_name().to_owned();
        let others = self.site().map(Site::peers).unwrap_or_default();
        let now_ms = self.handle().telemetry().ticks_ns() / 1_000_000;
        let other = |PeerStanding { member, alive, .. }: PeerStanding| told(site.clone(), member, alive, now_ms);
        let far = |site: SiteStanding| {
            let name = site.record.name.to_string();
            site.members.into_iter().map(move |(member, alive)| told(name.clone(), member, alive, now_ms))
        };
        let sites = self.site().map(Site::other_sites).unwrap_or_default();
        let of_site = std::iter::once(self.own_report()).chain(others.into_iter().map(other));
        of_site.chain(sites.into_iter().flat_map(far)).collect()
    }

    pub(super) fn peer_reports(&self) -> Vec<PeerReport> {
        let report = |standing: PeerStanding| {
            let Member { container, name, .. } = &standing.member;
            PeerReport {
                name: name.to_string(),
                id: format!("{:016x}", container.0),
                site: self.site_name().to_owned(),
                alive: standing.alive,
                heard_ms_ago: standing.heard_ago_ms,
                ahead: standing.ahead,
                behind: standing.behind,
                asked: standing.asked,
                failed: standing.failed,
                round_trip_ms: standing.took_ns.map(|ns| (ns as f64 / 1e3).round() / 1e3),
                last_error: standing.last_error,
            }
        };
        self.site().map(Site::peers).unwrap_or_default().into_iter().map(report).collect()
    }

    /// The queues between this container and others.
    pub(super) fn outer_queues(&self) -> Vec<QueueReport> {
        let (readers, missed) = self.handle().events().readers();
        let events = QueueReport {
            name: "events",
            unit: "readers",
            used: readers as u64,
            bound: Some(EVENT_READERS_MAX as u64),
            lost: Some(missed),
        };
        let site = self.site().map(Site::queues).unwrap_or_default().into_iter().map(|queue| QueueReport {
            name: queue.name,
            unit: queue.unit,
            used: queue.used,
            bound: Some(queue.bound),
            lost: queue.lost,
        });
        let asked = self.asked().iter().map(|(name, gauge)| QueueReport {
            name,
            unit: "messages",
            used: gauge.waiting() as u64,
            bound: Some(gauge.bound() as u64),
            lost: Some(gauge.lost()),
        });
        std::iter::once(events).chain(site).chain(asked).collect()
    }
}

/// Another container, as it told of itself.
fn told(site: String, member: Member, alive: bool, now_ms: u64) -> ContainerReport {
    ContainerReport {
        id: format!("{:016x}", member.container.0),
        name: member.name.to_string(),
        site,
        here: false,
        alive,
        left: member.left,
        takes_changes: alive && member.takes_changes,
        load: load(&member.load),
        url: Some(member.url),
        version: member.program,
        started_ms: member.started_ms,
        heard_ms_ago: now_ms.saturating_sub(member.heard_ms),
        own: None,
    }
}

/// How full a container is, as it tells.
pub(super) fn load(load: &Load) -> LoadReport {
    LoadReport::new((load.disk_bytes, load.disk_budget), (load.ram_bytes, load.ram_budget), load.requests)
}
