//! A policy as doors show it: flat fields with plain values, read back with every fault reported at once.
//!
//! Each field is declared once, in [`FIELDS`]: its name, what it takes, what it means, and how it is read
//! and shown. Sizes and times may be numbers or texts with a unit (`"1GiB"`, `"7d"`).

use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::model::{
    CollectionPolicy, Durability, EvictionKind, Level, Mode, Name, NfrOverride, NfrSpec, SyncRule, Visibility,
};

/// The longest time a policy can name, in seconds: a hundred years.
const SECONDS_MAX: u64 = 100 * 365 * 24 * 3600;

/// One field of a policy.
pub struct Field {
    /// Its name at every door.
    pub name: &'static str,
    /// What values it takes.
    pub takes: &'static str,
    /// What it means.
    pub help: &'static str,
    read: fn(&mut CollectionPolicy, &Value) -> Result<(), String>,
    show: fn(&CollectionPolicy) -> Value,
}

/// Every field, in the order in which they are shown.
pub const FIELDS: [Field; 15] = [
    Field {
        name: "durability",
        takes: "ram or disk",
        help: "when a push is acknowledged",
        read: |policy, value| put(&mut policy.durability, parsed::<Durability>(value)),
        show: |policy| policy.durability.name().into(),
    },
    Field {
        name: "encrypt",
        takes: "aes256gcm or none",
        help: "how sealed bytes are kept secret",
        read: |policy, value| nfr(policy, "encrypt", value),
        show: |policy| shown_nfr(policy, "encrypt"),
    },
    Field {
        name: "compress",
        takes: "auto, zstd, lz4 or none",
        help: "how sealed bytes are made small",
        read: |policy, value| nfr(policy, "compress", value),
        show: |policy| shown_nfr(policy, "compress"),
    },
    Field {
        name: "digest",
        takes: "blake3 or sha256",
        help: "the digest that users see",
        read: |policy, value| nfr(policy, "digest", value),
        show: |policy| shown_nfr(policy, "digest"),
    },
    Field {
        name: "eviction",
        takes: "w-tinylfu, lfu, lru or null for the level's own",
        help: "who leaves a full level first",
        read: |policy, value| put(&mut policy.eviction, optional(value, parsed::<EvictionKind>)),
        show: |policy| policy.eviction.map_or(Value::Null, |kind| kind.name().into()),
    },
    Field {
        name: "pinned",
        takes: "true or false",
        help: "whether objects stay in memory once they are there, up to memory.pinned_percent_max",
        read: |policy, value| put(&mut policy.pinned, flag(value)),
        show: |policy| policy.pinned.into(),
    },
    Field {
        name: "ttl_s",
        takes: "seconds, a time such as 90s, 15m, 12h or 7d, or null",
        help: "how long an object lives",
        read: |policy, value| put(&mut policy.ttl_s, optional(value, |value| seconds(value, 1))),
        show: |policy| policy.ttl_s.into(),
    },
    Field {
        name: "quota_bytes",
        takes: "bytes, a size such as 10GiB, or null",
        help: "plain bytes that the current objects may come to",
        read: |policy, value| put(&mut policy.quota.bytes, optional(value, size)),
        show: |policy| policy.quota.bytes.into(),
    },
    Field {
        name: "quota_objects",
        takes: "a number, or null",
        help: "how many objects there may be",
        read: |policy, value| put(&mut policy.quota.objects, optional(value, |value| number(value, 1))),
        show: |policy| policy.quota.objects.into(),
    },
    Field {
        name: "retention_s",
        takes: "seconds, or a time such as 24h; 0 drops them at once",
        help: "how long replaced and deleted versions stay readable",
        read: |policy, value| put(&mut policy.retention_s, seconds(value, 0)),
        show: |policy| policy.retention_s.into(),
    },
    Field {
        name: "levels",
        takes: "a list of ram, disk and cloud",
        help: "the levels that may hold objects",
        read: |policy, value| put(&mut policy.levels, levels(value)),
        show: |policy| policy.levels.iter().map(|level| level.name()).collect::<Vec<_>>().into(),
    },
    Field {
        name: "visibility",
        takes: "\"all\" or a list of sites",
        help: "which sites may see it",
        read: |policy, value| put(&mut policy.visibility, visibility(value)),
        show: |policy| match &policy.visibility {
            Visibility::All => "all".into(),
            Visibility::Sites(sites) => sites.iter().map(Name::to_string).collect::<Vec<_>>().into(),
        },
    },
    Field {
        name: "sync",
        takes: "signal, write, age:SECONDS or never",
        help: "when objects are copied to the cloud",
        read: |policy, value| put(&mut policy.sync, sync(value)),
        show: |policy| match policy.sync {
            SyncRule::Signal => "signal".into(),
            SyncRule::Write => "write".into(),
            SyncRule::Never => "never".into(),
            SyncRule::Age(seconds) => format!("age:{seconds}").into(),
        },
    },
    Field {
        name: "mode",
        takes: "direct or storage",
        help: "whether what another container keeps is copied to the disk of the one that is asked for it",
        read: |policy, value| put(&mut policy.mode, parsed::<Mode>(value)),
        show: |policy| policy.mode.name().into(),
    },
    Field {
        name: "home_site",
        takes: "a site, or null: each site decides for itself",
        help: "the site that decides conditional requests for the whole mesh (kept, but does nothing yet)",
        read: |policy, value| put(&mut policy.home_site, optional(value, parsed::<Name>)),
        show: |policy| policy.home_site.as_ref().map(Name::to_string).into(),
    },
];

/// The policy as fields.
pub fn to_json(policy: &CollectionPolicy) -> Value {
    Value::Object(FIELDS.iter().map(|field| (field.name.to_owned(), (field.show)(policy))).collect())
}

/// The policy that these fields describe on top of `base`, or everything that is wrong with them.
pub fn from_json(fields: &Map<String, Value>, base: CollectionPolicy) -> Result<CollectionPolicy> {
    let (mut policy, mut faults) = (base, Vec::new());
    for (name, value) in fields {
        let outcome = match FIELDS.iter().find(|field| field.name == name) {
            Some(field) => (field.read)(&mut policy, value).map_err(|why| format!("{why} (takes {})", field.takes)),
            None => Err(format!("is no field of a policy; there are {}", FIELDS.map(|field| field.name).join(", "))),
        };
        if let Err(why) = outcome {
            faults.push(format!("{} {why}", name.escape_default()));
        }
    }
    // What does not fit together is only worth saying once each field is right by itself.
    if faults.is_empty() {
        faults = misfits(&policy);
    }
    if faults.is_empty() {
        return Ok(policy);
    }
    Err(Error::invalid(format!("the policy cannot be: {}", faults.join("; "))).with("faults", faults.len()))
}

/// What does not fit together.
fn misfits(policy: &CollectionPolicy) -> Vec<String> {
    let mut faults = Vec::new();
    let mut unless = |holds: bool, why: &str| {
        if !holds {
            faults.push(why.to_owned());
        }
    };
    let (ram, cloud) = (policy.allows(Level::Ram), policy.allows(Level::Cloud));
    unless(policy.allows(Level::Disk), "levels must hold disk: what is evicted or acknowledged as durable rests there");
    unless(ram || policy.durability != Durability::Ram, "durability ram needs ram among the levels");
    unless(ram || !policy.pinned, "pinned needs ram among the levels");
    unless(
        !policy.pinned || policy.quota.bytes.is_some(),
        "pinned needs quota_bytes, or the collection could take all of memory",
    );
    let syncs = !matches!(policy.sync, SyncRule::Never | SyncRule::Signal);
    unless(cloud || !syncs, "sync write and age need cloud among the levels");
    if let (Visibility::Sites(sites), Some(home)) = (&policy.visibility, &policy.home_site) {
        unless(sites.contains(home), "home_site must be among the sites that may see the collection");
    }
    faults
}

/// The seconds of a time as fields take it: a number of seconds, or one with a unit such as `7d`.
pub fn time(text: &str) -> Result<u64> {
    seconds(&json!(text), 1)
        .map_err(|why| Error::invalid(format!("a time {why}; write seconds, or a time such as 90s, 15m, 12h or 7d")))
}

/// The bytes of a size as fields take it: a number, or one with a unit such as `1GiB`.
pub fn bytes(text: &str) -> Result<u64> {
    size(&json!(text)).map_err(|why| Error::invalid(format!("a size {why}; write bytes, or a size such as 64MiB")))
}

fn put<T>(place: &mut T, value: Result<T, String>) -> Result<(), String> {
    *place = value?;
    Ok(())
}

fn optional<T>(value: &Value, read: impl FnOnce(&Value) -> Result<T, String>) -> Result<Option<T>, String> {
    match value {
        Value::Null => Ok(None),
        // What a command line can say for null.
        Value::String(text) if text == "null" || text == "none" => Ok(None),
        value => read(value).map(Some),
    }
}

fn parsed<T: std::str::FromStr<Err = Error>>(value: &Value) -> Result<T, String> {
    let text = value.as_str().ok_or("must be a text")?;
    text.parse().map_err(|error: Error| format!("cannot be {}: {}", quoted(text), error.message()))
}

fn quoted(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    format!("\"{}\"", short.escape_default())
}

fn flag(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err("must be true or false".into()),
    }
}

fn number(value: &Value, least: u64) -> Result<u64, String> {
    let number = match value {
        Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
        value => value.as_u64(),
    };
    number.filter(|number| *number >= least).ok_or_else(|| format!("must be a whole number from {least} on"))
}

/// A number, or a text of a number and one of these units.
fn with_unit(value: &Value, least: u64, units: &[(&str, u64)]) -> Result<u64, String> {
    let Value::String(text) = value else { return number(value, least) };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (count, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "" => Some(1),
        unit => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor),
    };
    let product = count.parse::<u64>().ok().zip(factor).and_then(|(count, factor)| count.checked_mul(factor));
    product.filter(|product| *product >= least).ok_or_else(|| format!("cannot be {}", quoted(text)))
}

fn seconds(value: &Value, least: u64) -> Result<u64, String> {
    let seconds = with_unit(value, least, &[("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)])?;
    if seconds > SECONDS_MAX { Err("is longer than a hundred years".into()) } else { Ok(seconds) }
}

fn size(value: &Value) -> Result<u64, String> {
    let units = [
        ("b", 1),
        ("kb", 1_000),
        ("mb", 1_000_000),
        ("gb", 1_000_000_000),
        ("tb", 1_000_000_000_000),
        ("kib", 1 << 10),
        ("mib", 1 << 20),
        ("gib", 1 << 30),
        ("tib", 1 << 40),
    ];
    with_unit(value, 1, &units)
}

/// A list, or what a command line can say for one: words between commas.
fn words(value: &Value) -> Result<Vec<&str>, String> {
    match value {
        Value::String(text) => Ok(text.split(',').map(str::trim).collect()),
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().ok_or_else(|| "must be a list of texts".to_owned())).collect()
        }
        _ => Err("must be a list of texts".into()),
    }
}

fn levels(value: &Value) -> Result<Vec<Level>, String> {
    let words = words(value)?;
    if let Some(unknown) = words.iter().find(|word| Level::ALL.iter().all(|level| level.name() != **word)) {
        return Err(format!("cannot hold {}", quoted(unknown)));
    }
    Ok(Level::ALL.into_iter().filter(|level| words.contains(&level.name())).collect())
}

fn visibility(value: &Value) -> Result<Visibility, String> {
    if value.as_str() == Some("all") {
        return Ok(Visibility::All);
    }
    let mut sites: Vec<Name> = words(value)?.into_iter().map(|site| parsed(&json!(site))).collect::<Result<_, _>>()?;
    sites.sort();
    sites.dedup();
    if sites.is_empty() {
        Err("cannot be an empty list: nobody could see it".into())
    } else {
        Ok(Visibility::Sites(sites))
    }
}

fn sync(value: &Value) -> Result<SyncRule, String> {
    match value.as_str() {
        Some("signal") => Ok(SyncRule::Signal),
        Some("write") => Ok(SyncRule::Write),
        Some("never") => Ok(SyncRule::Never),
        Some(text) => match text.strip_prefix("age:") {
            Some(age) => seconds(&json!(age), 1).map(SyncRule::Age),
            None => Err(format!("cannot be {}", quoted(text))),
        },
        None => Err("must be a text".into()),
    }
}

fn nfr(policy: &mut CollectionPolicy, name: &str, value: &Value) -> Result<(), String> {
    let text = value.as_str().ok_or("must be a text")?;
    if text.contains([';', '=']) {
        return Err(format!("cannot be {}", quoted(text)));
    }
    // What the field takes is told beside this, so the spec's own words are not needed.
    let by: NfrOverride = format!("{name}={text}").parse().map_err(|_: Error| format!("cannot be {}", quoted(text)))?;
    policy.nfr = policy.nfr.overridden(by);
    Ok(())
}

/// One requirement of a spec, by its own spelling of itself.
fn shown_nfr(policy: &CollectionPolicy, name: &str) -> Value {
    let spec: NfrSpec = policy.nfr;
    let text = spec.to_string();
    let found = text.split("; ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<CollectionPolicy> {
        let Value::Object(fields) = serde_json::from_str(text).unwrap() else { panic!("an object") };
        from_json(&fields, CollectionPolicy::default())
    }

    #[test]
    fn fields_take_units_lists_and_null() {
        let policy = read(
            r#"{"ttl_s":"7d","quota_bytes":"10GiB","quota_objects":"5","retention_s":0,"eviction":"lfu","levels":"disk,ram",
                "visibility":["fog","edge","edge"],"sync":"never","home_site":"edge","compress":"lz4","durability":"ram"}"#,
        )
        .unwrap();
        assert_eq!((policy.ttl_s, policy.quota.bytes, policy.quota.objects), (Some(604_800), Some(10 << 30), Some(5)));
        assert_eq!(policy.levels, [Level::Ram, Level::Disk]);
        assert_eq!(policy.eviction, Some(EvictionKind::Lfu));
        let Visibility::Sites(sites) = &policy.visibility else { panic!("sites") };
        assert_eq!(sites.len(), 2);
        assert_eq!(read(r#"{"ttl_s":null,"eviction":null}"#).unwrap(), CollectionPolicy::default());
    }

    #[test]
    fn what_is_shown_reads_back() {
        for policy in [
            CollectionPolicy::default(),
            read(r#"{"ttl_s":5,"quota_bytes":9,"pinned":true,"sync":"age:60","visibility":["a"],"home_site":"a"}"#)
                .unwrap(),
        ] {
            let Value::Object(fields) = to_json(&policy) else { panic!("an object") };
            assert_eq!(fields.len(), FIELDS.len());
            assert_eq!(from_json(&fields, CollectionPolicy::default()).unwrap(), policy);
        }
    }

    #[test]
    fn every_fault_is_told_at_once_with_its_field() {
        let error = read(
            r#"{"durability":"stone","ttl_s":0,"quota_bytes":"lots","levels":["tape"],"colour":1,"visibility":[],"sync":"age:x",
                "encrypt":"none; digest=sha256","pinned":"yes","home_site":"Edge","quota_objects":-1,"retention_s":"9999999999999d"}"#,
        )
        .unwrap_err();
        assert_eq!(error.context("faults"), Some("12"), "{error}");
        for name in ["durability", "ttl_s", "quota_bytes", "levels", "colour", "visibility", "sync", "encrypt"] {
            assert!(error.message().contains(name), "{name}: {error}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        for (fields, word) in [
            (r#"{"levels":["ram"]}"#, "disk"),
            (r#"{"levels":["disk"],"durability":"ram"}"#, "durability"),
            (r#"{"pinned":true}"#, "quota_bytes"),
            (r#"{"pinned":true,"quota_bytes":1,"levels":["disk"]}"#, "pinned"),
            (r#"{"levels":["ram","disk"],"sync":"write"}"#, "sync"),
            (r#"{"visibility":["edge"],"home_site":"cloud"}"#, "home_site"),
        ] {
            let error = read(fields).unwrap_err();
            assert!(error.message().contains(word), "{fields}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_value_makes_it_panic(name in "[a-z_]{1,14}", text in ".{0,40}", number: u64) {
            for field in FIELDS.iter().map(|field| field.name).chain([name.as_str()]) {
                for value in [json!(text), json!(number), json!([text]), json!({"a": text}), json!(true)] {
                    let _ = from_json(&Map::from_iter([(field.to_owned(), value)]), CollectionPolicy::default());
                }
            }
        }
    }
}
