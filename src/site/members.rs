//! Who else is in the site: a table of beats, driven by what is heard and by the time that is handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use super::wire::{Beat, Load};
use crate::model::{ContainerId, Incarnation, Name};

/// How often a container says that it lives.
pub(super) const BEAT: Duration = Duration::from_secs(1);

/// Who was not heard for this long is not asked any more.
pub(super) const SILENT_MS: u64 = 5_000;

/// Who left in order, or was silent for this long, is forgotten.
const FORGOTTEN_MS: u64 = 30 * 24 * 3600 * 1000;

/// Former lives of a container that are remembered.
const FORMER_MAX: usize = 8;

/// Containers of a site that are known at most; more are not listened to.
const MEMBERS_MAX: usize = 1024;

/// Another container of the site, as it last told of itself.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its identity.
    pub container: ContainerId,
    /// Its name in the site.
    pub name: Name,
    /// Where its HTTP door is reached.
    pub url: String,
    /// Wall-clock milliseconds since 1970 at its start.
    pub started_ms: u64,
    /// Its program's version.
    pub program: String,
    /// Whether it takes changes.
    pub takes_changes: bool,
    /// How full it is.
    pub load: Load,
    incarnation: Incarnation,
    /// Its lives before, the last few.
    former: Vec<Incarnation>,
    nth: u64,
    /// When it was heard last, by this container's own steady milliseconds.
    pub heard_ms: u64,
    /// Whether it left in order.
    pub left: bool,
    /// For how long it may be silent and still be asked.
    patience_ms: u64,
}

impl Member {
    /// Its life, and how many of its beats there were, as it was heard last.
    pub(super) fn heard(&self) -> (Incarnation, u64) {
        (self.incarnation, self.nth)
    }

    /// Whether it can be asked.
    pub fn is_alive(&self, now_ms: u64) -> bool {
        !self.left && now_ms.saturating_sub(self.heard_ms) <= self.patience_ms
    }
}

/// What a beat told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// What was known.
    Again,
    /// Somebody who was not here before, or not for a while.
    Joined,
    /// Somebody left in order.
    Left,
    /// It counts for nothing: it is older than what was heard before, or there are too many.
    Stale,
    /// Another container of this one's name.
    SameName,
    /// This container's identity, in another process: somebody copied its data folder.
    Twin,
}

/// The others.
#[derive(Debug)]
pub(super) struct Members {
    /// This container, and its name where it is one of them.
    me: (ContainerId, Incarnation, Option<Name>),
    known: BTreeMap<ContainerId, Member>,
    /// Whether another container with this one's name was heard before this one heard itself.
    doubled: bool,
    /// Whether this container has heard itself: who takes its name from then on comes second.
    settled: bool,
}

impl Members {
    pub(super) fn new(me: ContainerId, incarnation: Incarnation, name: Name) -> Self {
        Members { me: (me, incarnation, Some(name)), known: BTreeMap::new(), doubled: false, settled: false }
    }

    /// Those of another site, which this container is not one of.
    pub(super) fn elsewhere(me: ContainerId, incarnation: Incarnation) -> Self {
        Members { me: (me, incarnation, None), known: BTreeMap::new(), doubled: false, settled: false }
    }

    /// Takes in a beat.
    pub(super) fn hear(&mut self, beat: Beat, now_ms: u64) -> Heard {
        self.hear_again_within(beat, now_ms, SILENT_MS)
    }

    /// The same of who may be silent for so long after it.
    pub(super) fn hear_again_within(&mut self, beat: Beat, now_ms: u64, patience_ms: u64) -> Heard {
        let (me, incarnation, name) = &self.me;
        if beat.container == *me {
            self.settled |= beat.incarnation == *incarnation;
            return if beat.incarnation == *incarnation { Heard::Stale } else { Heard::Twin };
        }
        let Ok(its_name) = beat.name() else { return Heard::Stale };
        if Some(&its_name) == name.as_ref() {
            return if beat.leaving { Heard::Stale } else { Heard::SameName };
        }
        let known = self.known.get(&beat.container);
        // Not by its clock, which may have been set back: a life that ended does not come again.
        let is_older = known.is_some_and(|known| match beat.incarnation == known.incarnation {
            true => beat.nth <= known.nth,
            false => known.former.contains(&beat.incarnation),
        });
        if is_older || known.is_none() && self.known.len() >= MEMBERS_MAX {
            return Heard::Stale;
        }
        let was_alive = known.is_some_and(|known| known.is_alive(now_ms) && known.incarnation == beat.incarnation);
        let left = beat.leaving;
        let mut former = known.map(|known| known.former.clone()).unwrap_or_default();
        former.extend(known.map(|known| known.incarnation).filter(|before| *before != beat.incarnation));
        let forgotten = former.len().saturating_sub(FORMER_MAX);
        former.drain(..forgotten);
        self.known.insert(
            beat.container,
            Member {
                container: beat.container,
                name: its_name,
                url: beat.url,
                started_ms: beat.started_ms,
                program: beat.program,
                takes_changes: beat.takes_changes,
                load: beat.load,
                incarnation: beat.incarnation,
                former,
                nth: beat.nth,
                heard_ms: now_ms,
                left,
                patience_ms,
            },
        );
        self.known.retain(|_, member| now_ms.saturating_sub(member.heard_ms) < FORGOTTEN_MS);
        match (left, was_alive) {
            (true, true) => Heard::Left,
            (true, false) => Heard::Stale,
            (false, false) => Heard::Joined,
            (false, true) => Heard::Again,
        }
    }

    /// Another container with this one's name is there.
    pub(super) fn note_double(&mut self) {
        self.doubled |= !self.settled;
    }

    /// Whether another container with this one's name was there first.
    pub(super) fn is_doubled(&self) -> bool {
        self.doubled
    }

    /// How many of its beats were lost before this one, of the life that was heard last.
    pub(super) fn missed(&self, beat: &Beat) -> u64 {
        let known = self.known.get(&beat.container).filter(|known| known.incarnation == beat.incarnation);
        known.map_or(0, |known| beat.nth.saturating_sub(known.nth + 1))
    }

    pub(super) fn get(&self, container: ContainerId) -> Option<&Member> {
        self.known.get(&container)
    }

    /// All that were ever heard and not forgotten, by identity.
    pub(super) fn all(&self) -> impl Iterator<Item = &Member> {
        self.known.values()
    }

    /// Those who can be asked.
    pub(super) fn alive(&self, now_ms: u64) -> impl Iterator<Item = &Member> {
        self.known.values().filter(move |member| member.is_alive(now_ms))
    }

    /// Those who may hold something and cannot be asked.
    pub(super) fn silent(&self, now_ms: u64) -> impl Iterator<Item = &Member> {
        // One that came back on an empty folder has another identity, and nothing of before.
        let came_back = move |name: &Name| self.alive(now_ms).any(|member| member.name == *name);
        self.known.values().filter(move |member| !member.left && !member.is_alive(now_ms) && !came_back(&member.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(container: u64, name: &str, nth: u64) -> Beat {
        Beat {
            container: ContainerId(container),
            incarnation: Incarnation(container * 10),
            nth,
            sent_ms: 0,
            name: name.to_owned(),
            url: "http://127.0.0.1:1".to_owned(),
            started_ms: 100,
            program: "0".to_owned(),
            leaving: false,
            takes_changes: true,
            load: Load::default(),
            vector: Vec::new(),
            shared: 0,
            clock: crate::model::Version { time: 0, container: ContainerId(container) },
        }
    }

    fn members() -> Members {
        Members::new(ContainerId(1), Incarnation(10), "a".parse().unwrap())
    }

    #[test]
    fn who_beats_is_alive_until_it_is_silent_or_leaves() {
        let mut members = members();
        assert_eq!(members.hear(beat(2, "b", 1), 1_000), Heard::Joined);
        assert_eq!(members.hear(beat(2, "b", 2), 2_000), Heard::Again);
        assert_eq!(members.hear(beat(2, "b", 2), 3_000), Heard::Stale, "a beat counts once");
        assert_eq!(members.alive(2_000 + SILENT_MS).count(), 1);
        assert_eq!((members.alive(8_000).count(), members.silent(8_000).count()), (0, 1));
        assert_eq!(members.hear(beat(2, "b", 3), 9_000), Heard::Joined);
        assert_eq!(members.hear(Beat { leaving: true, ..beat(2, "b", 4) }, 9_100), Heard::Left);
        assert_eq!((members.alive(9_100).count(), members.silent(9_100).count()), (0, 0));
        // It comes back as another life, and what was left over of the former one counts for nothing.
        let again = Beat { incarnation: Incarnation(99), started_ms: 200, ..beat(2, "b", 1) };
        assert_eq!(members.hear(again, 9_200), Heard::Joined);
        assert_eq!(members.hear(beat(2, "b", 9), 9_300), Heard::Stale);
    }

    #[test]
    fn who_speaks_seldom_is_waited_for() {
        let mut members = members();
        members.hear_again_within(beat(2, "b", 1), 1_000, 5 * SILENT_MS);
        assert_eq!((members.alive(20_000).count(), members.alive(1_001 + 5 * SILENT_MS).count()), (1, 0));
    }

    #[test]
    fn doubles_are_told_from_others() {
        let mut members = members();
        assert_eq!(members.hear(beat(2, "a", 1), 0), Heard::SameName);
        members.note_double();
        assert!(members.is_doubled());
        assert_eq!(members.hear(beat(1, "a", 1), 0), Heard::Stale, "its own beat");
        assert_eq!(members.hear(Beat { incarnation: Incarnation(5), ..beat(1, "a", 1) }, 0), Heard::Twin);
        assert_eq!(members.hear(beat(3, "No Name", 1), 0), Heard::Stale);
        assert_eq!(members.all().count(), 0);
    }

    #[test]
    fn who_heard_itself_first_keeps_its_name() {
        let mut members = members();
        members.hear(beat(1, "a", 1), 0);
        assert_eq!(members.hear(beat(2, "a", 1), 0), Heard::SameName);
        members.note_double();
        assert!(!members.is_doubled());
    }
}
