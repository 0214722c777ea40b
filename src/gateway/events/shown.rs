//! An event as JSON. Every push is one and goes out on the bus, so it is written straight into text.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::gateway::date;
use crate::model::Name;
use crate::telemetry::events::{Event, Happened};

/// An event, and where others hear of it also who tells it: the site and the container.
pub(in crate::gateway) struct Shown<'a> {
    pub(in crate::gateway) event: &'a Event,
    pub(in crate::gateway) by: Option<(&'a Name, &'a Name)>,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Event { at_ms, happened, .. } = self.event;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", happened.kind().name())?;
        map.serialize_entry("at", &date::rfc3339(*at_ms))?;
        map.serialize_entry("collection", happened.collection())?;
        match happened {
            Happened::Push { address, version, size, durability, created } => {
                map.serialize_entry("address", address.as_str())?;
                map.serialize_entry("version", &format_args!("{version}"))?;
                map.serialize_entry("size", size)?;
                map.serialize_entry("durability", durability.name())?;
                map.serialize_entry("created", created)?;
            }
            Happened::Delete { address, version } | Happened::Expire { address, version } => {
                map.serialize_entry("address", address.as_str())?;
                map.serialize_entry("version", &format_args!("{version}"))?;
            }
            Happened::Evict { address, level, bytes } => {
                map.serialize_entry("address", address.as_str())?;
                map.serialize_entry("level", level.name())?;
                map.serialize_entry("bytes", bytes)?;
            }
            Happened::Collection { change, revision, .. } => {
                map.serialize_entry("change", change.name())?;
                map.serialize_entry("revision", revision)?;
            }
            Happened::Conflict { address, why } => {
                map.serialize_entry("address", address.as_str())?;
                map.serialize_entry("detail", why)?;
            }
        }
        if let Some((site, container)) = self.by {
            map.serialize_entry("site", site.as_str())?;
            map.serialize_entry("container", container.as_str())?;
        }
        map.end()
    }
}

impl Shown<'_> {
    /// As text, on one line: JSON has no line ends of its own.
    pub(in crate::gateway) fn json(&self) -> String {
        // Nothing in it can fail to be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}
