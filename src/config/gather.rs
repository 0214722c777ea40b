//! Collects what the file, the environment and the flags say into one table of texts, the later ones
//! over the earlier ones. Whether a text fits its key is not decided here.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Origin};
use super::{AGREED_BUS_VARIABLE, KEYS, Key, Sources, VARIABLE_PREFIX};
use crate::error::Error;

/// The text of every given key and where it was said.
#[derive(Default)]
pub(super) struct Given(BTreeMap<&'static str, (String, Origin)>);

impl Given {
    pub(super) fn get(&self, path: &str) -> Option<&(String, Origin)> {
        self.0.get(path)
    }

    /// Where a key got its value.
    pub(super) fn origin(&self, path: &str) -> Origin {
        self.get(path).map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    fn put(&mut self, path: &str, text: String, origin: Origin, faults: &mut Vec<Fault>) {
        match KEYS.iter().find(|key| key.path == path) {
            Some(key) => drop(self.0.insert(key.path, (text, origin))),
            None => faults.push(Fault::new(path, origin, unknown(path))),
        }
    }
}

/// Says what there is instead of a key that does not exist.
fn unknown(path: &str) -> Error {
    let section = path.split_once('.').map_or(path, |(section, _)| section);
    let here: Vec<&str> = KEYS.iter().filter(|key| key.section() == section).map(|key| key.path).collect();
    if here.is_empty() {
        let mut sections: Vec<&str> = KEYS.iter().map(Key::section).collect();
        sections.dedup();
        return Error::invalid(format!("there is no such section; there are {}", sections.join(", ")));
    }
    Error::invalid(format!("there is no such key; this section has {}", here.join(", ")))
}

/// Reads all sources; what cannot be understood becomes a fault.
pub(super) fn gather(sources: &Sources, faults: &mut Vec<Fault>) -> Given {
    let mut given = Given::default();
    if let Some((path, text)) = &sources.file {
        from_file(path, text, &mut given, faults);
    }
    for (name, value) in sources.env.iter().filter(|(name, _)| name.starts_with(VARIABLE_PREFIX)) {
        let origin = Origin::Variable(name.clone());
        match KEYS.iter().find(|key| key.variable() == *name) {
            Some(key) => given.put(key.path, value.clone(), origin, faults),
            None => {
                let why = "no key has this variable; it is MESHSTORE__SECTION__KEY, see `meshstore config reference`";
                faults.push(Fault::new("", origin, Error::invalid(why)));
            }
        }
    }
    // What programs that speak NATS agree on counts where nothing of ours says otherwise.
    let agreed = sources.env.iter().find(|(name, value)| *name == AGREED_BUS_VARIABLE && !value.is_empty());
    if let Some((name, value)) = agreed.filter(|_| given.get("bus.url").is_none()) {
        given.put("bus.url", value.clone(), Origin::Variable(name.clone()), faults);
    }
    for (path, value) in &sources.flags {
        given.put(path, value.clone(), Origin::Flag, faults);
    }
    given
}

fn from_file(path: &Path, text: &str, given: &mut Given, faults: &mut Vec<Fault>) {
    let at = |offset: usize| Origin::File(path.to_owned(), Some(line_of(text, offset)));
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What the parser guessed around an error would only add faults that are not there.
        faults.extend(errors.iter().map(|error| {
            let origin = error.span().map_or(Origin::File(path.to_owned(), None), |span| at(span.start));
            Fault::new("", origin, Error::invalid(format!("this is not TOML: {}", error.message())))
        }));
        return;
    }
    for (section, value) in document.get_ref() {
        let DeValue::Table(table) = value.get_ref() else {
            let why = if KEYS.iter().any(|key| key.section() == *section.get_ref()) {
                Error::invalid("this is a section, not a key; write [section] and its keys below")
            } else {
                unknown(section.get_ref())
            };
            faults.push(Fault::new(section.get_ref().as_ref(), at(section.span().start), why));
            continue;
        };
        if table.is_empty() && KEYS.iter().all(|key| key.section() != *section.get_ref()) {
            faults.push(Fault::new(section.get_ref().as_ref(), at(section.span().start), unknown(section.get_ref())));
        }
        for (key, value) in table {
            let path = format!("{}.{}", section.get_ref(), key.get_ref());
            let origin = at(key.span().start);
            match scalar(value.get_ref()) {
                Some(text) => given.put(&path, text, origin, faults),
                None if KEYS.iter().any(|key| key.path == path) => {
                    let why =
                        format!("a text or a whole number is expected here, not a {}", value.get_ref().type_str());
                    faults.push(Fault::new(path, origin, Error::invalid(why)));
                }
                None => faults.push(Fault::new(path.as_str(), origin, unknown(&path))),
            }
        }
    }
}

/// The text of a plain value; `None` for what no key takes.
fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
        DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string()),
        DeValue::Boolean(truth) => Some(truth.to_string()),
        _ => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}
