//! `config`: check a file, show what is in effect, explain every key.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::push::pair;
use super::{files, out};
use crate::config::{
    AGREED_BUS_VARIABLE, Config, Fault, Host, Sources, VARIABLE_PREFIX, reference, reference_markdown,
};
use crate::error::Result;

/// `config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report everything that is wrong with a file and the environment.
    Check(Check),
    /// Print every key with the value in effect.
    Show(Show),
    /// Explain every key.
    Reference(Reference),
}

/// `config check [FILE]`.
#[derive(Debug, Args)]
pub struct Check {
    /// Configuration file.
    file: Option<PathBuf>,
}

/// `config show`.
#[derive(Debug, Args)]
pub struct Show {
    /// Configuration file.
    #[arg(long = "config", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Any key; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = pair)]
    settings: Vec<(String, String)>,
    /// One JSON document of keys and values.
    #[arg(long)]
    json: bool,
}

/// `config reference`.
#[derive(Debug, Args)]
pub struct Reference {
    /// As a page of the documentation.
    #[arg(long)]
    markdown: bool,
}

impl ConfigCommand {
    pub(super) fn run(&self) -> Result<()> {
        match self {
            ConfigCommand::Check(check) => {
                load(check.file.as_deref(), Vec::new())?;
                out::line("the configuration is good")
            }
            ConfigCommand::Show(show) => {
                let config = load(show.file.as_deref(), show.settings.clone())?;
                if show.json { out::json(&by_key(&config)) } else { out::text(&as_toml(&config)) }
            }
            ConfigCommand::Reference(page) if page.markdown => out::text(&reference_markdown()),
            ConfigCommand::Reference(_) => out::text(&reference()),
        }
    }
}

fn load(file: Option<&Path>, flags: Vec<(String, String)>) -> Result<Config> {
    Config::load(&sources(file, flags)?).map_err(|faults| Fault::combine(&faults))
}

/// What this process was given: the file's text, its environment, its flags.
pub(super) fn sources(file: Option<&Path>, flags: Vec<(String, String)>) -> Result<Sources> {
    let read = |path: &Path| {
        std::fs::read_to_string(path).map_err(|error| files::failed("read the configuration", path, error))
    };
    let file = file.map(|path| Ok::<_, crate::Error>((path.to_owned(), read(path)?))).transpose()?;
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let env = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let host = Host {
        home: folder("HOME"),
        data_home: folder("XDG_DATA_HOME"),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
    };
    Ok(Sources {
        file,
        env: env.filter(|(name, _)| name.starts_with(VARIABLE_PREFIX) || name == AGREED_BUS_VARIABLE).collect(),
        flags,
        host,
    })
}

fn by_key(config: &Config) -> BTreeMap<&'static str, String> {
    config.entries().into_iter().map(|(key, value)| (key.path, value)).collect()
}

/// A text as a configuration file writes it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A file that gives this configuration again.
fn as_toml(config: &Config) -> String {
    let mut text = String::new();
    let mut section = "";
    for (key, value) in config.entries() {
        if key.section() != section {
            section = key.section();
            let gap = if text.is_empty() { "" } else { "\n" };
            text.push_str(&format!("{gap}[{section}]\n"));
        }
        let name = key.path.rsplit('.').next().unwrap_or(key.path);
        text.push_str(&format!("{name} = {}\n", quoted(&value)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_is_a_file_that_says_the_same() {
        let flags = vec![("data.dir".to_owned(), "/a \"b\"\\c".to_owned()), ("nfr.workers".to_owned(), "3".to_owned())];
        let config = Config::load(&Sources { flags, ..Sources::default() }).unwrap();
        let file = Some((PathBuf::from("shown.toml"), as_toml(&config)));
        assert_eq!(Config::load(&Sources { file, ..Sources::default() }).unwrap(), config);
        assert_eq!(by_key(&config)["nfr.workers"], "3");
    }
}
