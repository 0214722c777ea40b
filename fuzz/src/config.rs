//! The configuration: lines that begin with `$` are environment variables (`$NAME=value`), those with `!` flags
//! (`!section.key=value`); the others are the file.

use std::path::PathBuf;

use meshstore::config::{Config, Fault, Host, KEYS, Origin, Sources, VARIABLE_PREFIX};

use super::common::{Input, presentable};

/// Whatever the sources say, there is a configuration or a fault for each wrong value, with the place where it was
/// said; a configuration shows itself in words that read back as the same one, from each source; and a later source
/// wins over an earlier one.
pub fn check(data: &[u8]) {
    let given = sources(data);
    let origins = Config::origins(&given);
    match Config::load(&given) {
        Err(faults) => refused(&given, &faults),
        Ok(config) => {
            let entries = config.entries();
            assert_eq!(entries.len(), KEYS.len());
            let named = |name: fn(&meshstore::config::Key) -> String| {
                entries.iter().map(|(key, value)| (name(key), value.clone())).collect::<Vec<_>>()
            };
            let env = Sources { env: named(|key| key.variable()), host: host(), ..Sources::default() };
            assert_eq!(loaded(&env), config, "the environment reads its own words otherwise");
            let flags = Sources { flags: named(|key| key.path.to_owned()), ..given.clone() };
            assert_eq!(loaded(&flags), config, "flags read its own words otherwise");
            let file =
                Sources { file: Some((PathBuf::from("f"), toml_of(&config))), host: host(), ..Sources::default() };
            assert_eq!(loaded(&file), config, "a file reads its own words otherwise");
            // Where a value comes from is the last source that names its key.
            for (path, origin) in &origins {
                let flagged = given.flags.iter().any(|(name, _)| name == path);
                assert_eq!(flagged, *origin == Origin::Flag, "{path}");
            }
            wins(&given, &entries);
        }
    }
}

fn host() -> Host {
    Host { home: Some(PathBuf::from("/home/u")), data_home: None, cores: 2 }
}

fn sources(data: &[u8]) -> Sources {
    let mut input = Input(data);
    let mut out = Sources { host: host(), ..Sources::default() };
    let mut file = String::new();
    while !input.0.is_empty() {
        let line = String::from_utf8_lossy(input.line()).into_owned();
        let pair = |rest: &str| rest.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        match line.split_at_checked(1) {
            Some(("$", rest)) => out.env.extend(pair(rest)),
            Some(("!", rest)) => out.flags.extend(pair(rest)),
            _ => file.extend([line.as_str(), "\n"]),
        }
    }
    out.file = Some((PathBuf::from("meshstore.toml"), file));
    out
}

fn refused(given: &Sources, faults: &[Fault]) {
    assert!(!faults.is_empty(), "refused without a reason");
    let lines = given.file.as_ref().map_or(0, |(_, text)| text.lines().count());
    for fault in faults {
        presentable(&fault.error);
        match &fault.origin {
            Origin::File(_, Some(line)) => assert!((1..=lines + 1).contains(line), "line {line} of {lines}"),
            Origin::Variable(name) => assert!(name.starts_with(VARIABLE_PREFIX)),
            _ => {}
        }
    }
    // A password in a URL is not repeated.
    let urls = ["telemetry.otlp_url", "bus.mode", "cloud.url"];
    let mut of_urls = faults.iter().filter(|fault| urls.contains(&fault.key.as_str()));
    assert!(!of_urls.any(|fault| fault.to_string().contains("hidden-word@")), "a password is told");
    Fault::combine(faults);
}

fn loaded(sources: &Sources) -> Config {
    Config::load(sources).unwrap_or_else(|faults| panic!("{}", Fault::combine(&faults)))
}

fn toml_of(config: &Config) -> String {
    let mut sections = toml::Table::new();
    for (key, value) in config.entries() {
        let section = sections.entry(key.section()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
        let name = key.path.split_once('.').unwrap().1;
        section.as_table_mut().unwrap().insert(name.to_owned(), toml::Value::String(value));
    }
    toml::to_string(&sections).unwrap()
}

/// A file's level and an environment's give way to a flag's, whatever they are.
fn wins(given: &Sources, entries: &[(&'static meshstore::config::Key, String)]) {
    let level = &entries.iter().find(|(key, _)| key.path == "log.level").unwrap().1;
    let other = if level == "warn" { "error" } else { "warn" };
    let mut more = given.clone();
    more.env.push(("MESHSTORE__LOG__LEVEL".to_owned(), "no level".to_owned()));
    more.flags.push(("log.level".to_owned(), other.to_owned()));
    assert_eq!(loaded(&more).log.level.to_string(), other);
}
