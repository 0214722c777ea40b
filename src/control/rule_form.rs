//! What a policy of the mesh allows, as flat fields in JSON or TOML.

use serde_json::{Map, Value};

use super::form::bytes;
use crate::error::{Error, Result};
use crate::limits::POLICY_NAMES_MAX;
use crate::model::Rule;

/// Fields that take a size with a unit.
const SIZES: [&str; 2] = ["object_bytes", "quota_bytes"];

/// Letters of a note at most.
const NOTE_MAX: usize = 1024;

/// The rule that these fields describe.
pub fn rule_from_json(mut fields: Map<String, Value>) -> Result<Rule> {
    for name in SIZES {
        if let Some(Value::String(text)) = fields.get(name) {
            let size = bytes(text).map_err(|error| error.with("field", name))?;
            fields.insert(name.to_owned(), size.into());
        }
    }
    let rule: Rule = serde_json::from_value(Value::Object(fields))
        .map_err(|error| Error::invalid(format!("the policy cannot be: {error}")))?;
    match misfit(&rule) {
        None => Ok(rule),
        Some(why) => Err(Error::invalid(format!("the policy cannot be: {why}"))),
    }
}

/// The fields that a rule names.
pub fn rule_to_json(rule: &Rule) -> Map<String, Value> {
    let Ok(Value::Object(fields)) = serde_json::to_value(rule) else { return Map::new() };
    fields.into_iter().filter(|(_, value)| !value.is_null()).collect()
}

/// Whether a rule that somebody else has made could have been made here.
pub(super) fn is_good_rule(rule: &Rule) -> bool {
    misfit(rule).is_none()
}

/// What does not fit together.
fn misfit(rule: &Rule) -> Option<&'static str> {
    let lists = [&rule.push, &rule.hold, &rule.open, &rule.subscribe];
    let pushes_unheld = match (&rule.push, &rule.hold) {
        (Some(push), Some(hold)) => push.iter().any(|site| !hold.contains(site)),
        _ => false,
    };
    if rule.collections.is_empty() {
        Some("collections names those that it is about; \"*\" is all of them")
    } else if rule.collections.len() > POLICY_NAMES_MAX
        || lists.iter().any(|list| list.iter().flatten().count() > POLICY_NAMES_MAX)
    {
        Some("it names more than 256 collections or sites in one field")
    } else if lists.iter().any(|list| list.as_ref().is_some_and(Vec::is_empty)) {
        Some("a list of sites is empty; name at least one, or leave the field out")
    } else if pushes_unheld {
        Some("push names a site that hold does not: what is pushed there could not stay")
    } else if [rule.object_bytes, rule.quota_bytes, rule.quota_objects].contains(&Some(0)) {
        Some("a limit is above 0")
    } else if rule.note.as_ref().is_some_and(|note| note.len() > NOTE_MAX || note.chars().any(char::is_control)) {
        Some("a note is one line of up to 1024 bytes")
    } else if *rule == (Rule { collections: rule.collections.clone(), note: rule.note.clone(), ..Rule::default() }) {
        Some(
            "it asks for nothing; name at least one of push, hold, open, subscribe, copies, cloud, evict, object_bytes, quota_bytes, quota_objects",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(fields: Value) -> Result<Rule> {
        let Value::Object(fields) = fields else { panic!("an object") };
        rule_from_json(fields)
    }

    #[test]
    fn what_is_shown_reads_back() {
        let rule = read(json!({
            "collections": ["patient-*"], "note": "by law", "push": ["edge"], "hold": ["edge", "fog"], "open": ["edge"],
            "subscribe": ["cloud"], "copies": "all", "cloud": false, "evict": false, "object_bytes": "1GiB",
            "quota_bytes": 7, "quota_objects": 9,
        }));
        let rule = rule.unwrap();
        assert_eq!(rule.object_bytes, Some(1 << 30));
        assert_eq!(rule_from_json(rule_to_json(&rule)).unwrap(), rule);
        let some = read(json!({"collections": ["a"], "cloud": false})).unwrap();
        assert_eq!(rule_to_json(&some).len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_in_words() {
        for (fields, word) in [
            (json!({}), "collections"),
            (json!({"collections": ["a"]}), "nothing"),
            (json!({"collections": ["a"], "opn": ["edge"]}), "opn"),
            (json!({"collections": ["A"], "cloud": false}), "how they begin"),
            (json!({"collections": "a", "cloud": false}), "sequence"),
            (json!({"collections": ["a"], "open": []}), "empty"),
            (json!({"collections": ["a"], "open": ["Edge"]}), "name"),
            (json!({"collections": ["a"], "push": ["edge"], "hold": ["fog"]}), "hold"),
            (json!({"collections": ["a"], "object_bytes": "lots"}), "size"),
            (json!({"collections": ["a"], "quota_objects": 0}), "above 0"),
            (json!({"collections": ["a"], "copies": "some"}), "some"),
            (json!({"collections": ["a"], "cloud": false, "note": "two\nlines"}), "one line"),
            (json!({"collections": vec!["a"; 300], "cloud": false}), "256"),
        ] {
            let error = read(fields.clone()).unwrap_err();
            assert!(error.message().contains(word), "{fields}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(name in "[a-z_]{1,14}", text in ".{0,40}", number: u64) {
            for field in ["collections", "note", "push", "copies", "cloud", "object_bytes", "quota_bytes", name.as_str()] {
                for value in [json!(text), json!(number), json!([text]), json!({"a": text}), json!(true)] {
                    let _ = rule_from_json(Map::from_iter([(field.to_owned(), value)]));
                }
            }
        }
    }
}
