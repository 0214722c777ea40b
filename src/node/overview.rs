//! The site around a container, as its admin door shows it.

use super::admin::Overseer;
use crate::gateway::admin::{BusReport, ContainerReport, LoadReport, PeerReport, QueueReport, SiteReport};
use crate::limits::EVENT_READERS_MAX;
use crate::site::{Load, Member, PeerStanding, Site};

impl Overseer {
    pub(super) fn site_reports(&self) -> Vec<SiteReport> {
        let standing = self.site().map(Site::standing);
        let others = self.site().map(Site::members).unwrap_or_default();
        let count =
            |wanted: bool| others.iter().filter(|(member, alive)| *alive == wanted && !member.left).count() as u64;
        let epoch = standing.as_ref().and_then(|standing| standing.epoch);
        vec![SiteReport {
            name: self.site_name().to_owned(),
            here: true,
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
        }]
    }

    pub(super) fn container_reports(&self) -> Vec<ContainerReport> {
        let site = self.site_name().to_owned();
        let others = self.site().map(Site::peers).unwrap_or_default();
        let other = |PeerStanding { member, alive, heard_ago_ms, .. }: PeerStanding| ContainerReport {
            id: format!("{:016x}", member.container.0),
            name: member.name.to_string(),
            site: site.clone(),
            here: false,
            alive,
            left: member.left,
            takes_changes: alive && member.takes_changes,
            load: load(&member.load),
            url: Some(member.url),
            version: member.program,
            started_ms: member.started_ms,
            heard_ms_ago: heard_ago_ms,
            own: None,
        };
        std::iter::once(self.own_report()).chain(others.into_iter().map(other)).collect()
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

/// How full a container is, as it tells.
pub(super) fn load(load: &Load) -> LoadReport {
    LoadReport::new((load.disk_bytes, load.disk_budget), (load.ram_bytes, load.ram_budget), load.requests)
}
