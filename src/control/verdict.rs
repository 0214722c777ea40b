//! What all policies that are about a collection mean for it. Whoever refuses because of one names it.

use crate::error::{Error, Kind, Result};
use crate::model::{CopyRule, Name, Quota, Rule};
use crate::telemetry::metrics::labels::Point;

/// What holds for a collection at a site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    site: Name,
    rules: Vec<(Name, Rule)>,
}

/// Sites that a policy names; all where it names none.
fn admits(sites: Option<&Vec<Name>>, site: &Name) -> bool {
    sites.is_none_or(|sites| sites.contains(site))
}

impl Verdict {
    /// What these policies come to, at this site; nothing where there are none.
    pub(super) fn of<'a>(site: &Name, rules: impl Iterator<Item = (&'a Name, &'a Rule)>) -> Option<Self> {
        let rules: Vec<(Name, Rule)> = rules.map(|(name, rule)| (name.clone(), rule.clone())).collect();
        let is_any = !rules.is_empty();
        is_any.then(|| Verdict { site: site.clone(), rules })
    }

    /// Whether this site takes deletes: also of what may not rest here.
    pub fn may_delete(&self) -> Result<()> {
        self.may_change_from(&self.site)
    }

    /// Whether another site may have this one change what is in the collection.
    pub fn may_change_from(&self, site: &Name) -> Result<()> {
        self.unless(
            Point::Push,
            |rule| admits(rule.push.as_ref(), site),
            |rule| format!("a policy lets objects of this collection be changed at {} only", named(rule.push.as_ref())),
        )
    }

    /// Whether this site takes pushes, of an object of this size where it is known.
    pub fn may_push(&self, size: Option<u64>) -> Result<()> {
        self.may_delete()?;
        let takes = |rule: &Rule| admits(rule.hold.as_ref(), &self.site);
        self.unless(Point::Push, takes, |rule| {
            format!("a policy lets objects of this collection rest at {} only", named(rule.hold.as_ref()))
        })?;
        let Some((name, most)) = self.object_bytes().filter(|(_, most)| size.is_some_and(|size| size > *most)) else {
            return Ok(());
        };
        let why = "a policy limits the size of objects of this collection";
        Err(Error::too_large(why).with("policy", name).with("point", Point::Push.name()).with("limit", most))
    }

    /// The smallest limit of an object's size, and whose it is.
    pub fn object_bytes(&self) -> Option<(&Name, u64)> {
        self.rules.iter().filter_map(|(name, rule)| Some((name, rule.object_bytes?))).min_by_key(|(_, most)| *most)
    }

    /// Whether this site may read.
    pub fn may_pull(&self) -> Result<()> {
        self.may_open(&self.site, Point::Pull)
    }

    /// Whether another site may be given what opens an object.
    pub fn may_leave(&self, to: &Name) -> Result<()> {
        self.may_open(to, Point::Leave)
    }

    fn may_open(&self, site: &Name, point: Point) -> Result<()> {
        self.unless(
            point,
            |rule| admits(rule.open.as_ref(), site),
            |rule| format!("a policy lets objects of this collection be read at {} only", named(rule.open.as_ref())),
        )
    }

    /// Whether copies may rest at this site.
    pub fn may_hold(&self) -> bool {
        self.rules.iter().all(|(_, rule)| admits(rule.hold.as_ref(), &self.site))
    }

    /// The policies that keep copies from this site.
    pub fn held_against(&self) -> impl Iterator<Item = &Name> {
        self.rules.iter().filter(|(_, rule)| !admits(rule.hold.as_ref(), &self.site)).map(|(name, _)| name)
    }

    /// Whether objects may leave the disk once the cloud has them.
    pub fn may_evict(&self) -> Result<()> {
        self.unless(
            Point::Evict,
            |rule| rule.evict != Some(false),
            |_| "a policy keeps objects of this collection on the disk".to_owned(),
        )
    }

    /// Whether objects may go to a cloud tier.
    pub fn may_go_to_cloud(&self) -> bool {
        self.rules.iter().all(|(_, rule)| rule.cloud != Some(false))
    }

    /// What a pull from another site leaves.
    pub fn copies(&self) -> CopyRule {
        if !self.may_hold() {
            return CopyRule::None;
        }
        self.rules.iter().filter_map(|(_, rule)| rule.copies).min().unwrap_or_default()
    }

    /// Whether this site hears of every change, used or not.
    pub fn subscribes(&self) -> bool {
        self.rules.iter().any(|(_, rule)| rule.subscribe.as_ref().is_some_and(|sites| sites.contains(&self.site)))
    }

    /// What a collection may hold here, beside its own quota.
    pub fn quota(&self, own: Quota) -> Quota {
        let least = |own: Option<u64>, of: fn(&Quota) -> Option<u64>| {
            own.into_iter().chain(self.rules.iter().filter_map(|(_, rule)| of(&rule.quota()))).min()
        };
        Quota { bytes: least(own.bytes, |quota| quota.bytes), objects: least(own.objects, |quota| quota.objects) }
    }

    /// The policy that a quota of this height is of.
    pub fn of_quota(&self, what: &str, limit: u64) -> Option<&Name> {
        let of = |rule: &Rule| if what == "bytes" { rule.quota_bytes } else { rule.quota_objects };
        self.rules.iter().find(|(_, rule)| of(rule) == Some(limit)).map(|(name, _)| name)
    }

    fn unless(&self, point: Point, holds: impl Fn(&Rule) -> bool, why: impl Fn(&Rule) -> String) -> Result<()> {
        let Some((name, rule)) = self.rules.iter().find(|(_, rule)| !holds(rule)) else { return Ok(()) };
        let error = Error::new(Kind::Forbidden, why(rule)).with("policy", name).with("point", point.name());
        Err(rule.note.iter().fold(error, |error, note| error.with("note", note)))
    }
}

fn named(sites: Option<&Vec<Name>>) -> String {
    let names: Vec<&str> = sites.into_iter().flatten().map(Name::as_str).collect();
    if names.is_empty() { "no site".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn names(texts: &[&str]) -> Option<Vec<Name>> {
        Some(texts.iter().map(|text| name(text)).collect())
    }

    fn verdict(rules: &[Rule]) -> Verdict {
        let names: Vec<Name> = (0..rules.len()).map(|n| name(&format!("p{n}"))).collect();
        Verdict::of(&name("edge"), names.iter().zip(rules)).unwrap()
    }

    #[test]
    fn what_several_policies_name_all_of_them_must_allow() {
        let both = verdict(&[
            Rule {
                open: names(&["edge", "fog"]),
                quota_bytes: Some(9),
                copies: Some(CopyRule::All),
                ..Rule::default()
            },
            Rule { open: names(&["fog"]), quota_bytes: Some(7), copies: Some(CopyRule::Small), ..Rule::default() },
        ]);
        let refused = both.may_pull().unwrap_err();
        assert_eq!((refused.context("policy"), refused.context("point")), (Some("p1"), Some("pull")));
        both.may_leave(&name("fog")).unwrap();
        assert_eq!(both.may_leave(&name("cloud")).unwrap_err().context("policy"), Some("p0"));
        assert_eq!(both.quota(Quota { bytes: Some(8), objects: Some(1) }), Quota { bytes: Some(7), objects: Some(1) });
        assert_eq!((both.of_quota("bytes", 7), both.of_quota("bytes", 8)), (Some(&name("p1")), None));
        assert_eq!(both.copies(), CopyRule::Small);
        assert!(Verdict::of(&name("edge"), [].into_iter()).is_none());
    }

    #[test]
    fn a_site_that_may_not_hold_takes_no_push_and_keeps_no_copy() {
        let note = Some("by law".to_owned());
        let one = verdict(&[Rule { hold: names(&["fog"]), copies: Some(CopyRule::All), note, ..Rule::default() }]);
        let refused = one.may_push(None).unwrap_err();
        assert!(refused.message().contains("fog only") && refused.context("note") == Some("by law"), "{refused}");
        assert_eq!((one.may_hold(), one.copies(), one.held_against().count()), (false, CopyRule::None, 1));
        one.may_delete().unwrap();
        one.may_pull().unwrap();
    }

    #[test]
    fn sizes_the_cloud_and_the_disk_have_their_policy() {
        let one = verdict(&[Rule { object_bytes: Some(5), cloud: Some(false), evict: Some(false), ..Rule::default() }]);
        one.may_push(Some(5)).unwrap();
        assert_eq!(one.may_push(Some(6)).unwrap_err().kind(), Kind::TooLarge);
        assert_eq!(one.may_evict().unwrap_err().context("point"), Some("evict"));
        assert!(!one.may_go_to_cloud() && !one.subscribes());
    }
}
