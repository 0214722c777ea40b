//! Log lines on stderr, for people or for programs.
//!
//! Stdout belongs to answers and is never written here. Only the composition root calls [`init`].

mod human;
mod json;

use std::io::IsTerminal;
use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

pub use tracing::level_filters::LevelFilter;

pub use json::LOG_KEYS;

use crate::error::{Error, Result};
use human::HumanLines;
use json::JsonLines;

/// Whose lines these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The site.
    pub site: String,
    /// The container.
    pub container: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// [`LogFormat::Human`] on a terminal, [`LogFormat::Json`] elsewhere.
    Auto,
    /// Lines for people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The format's name in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            LogFormat::Auto => "auto",
            LogFormat::Human => "human",
            LogFormat::Json => "json",
        }
    }
}

impl FromStr for LogFormat {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        [LogFormat::Auto, LogFormat::Human, LogFormat::Json]
            .into_iter()
            .find(|format| format.name() == text)
            .ok_or_else(|| Error::invalid("a log format is auto, human or json").with("value", text.escape_default()))
    }
}

/// Starts logging to stderr. An error when something in this process logs already.
pub fn init(format: LogFormat, level: LevelFilter, origin: Origin) -> Result<()> {
    let terminal = std::io::stderr().is_terminal();
    // Libraries speak up only when something is wrong: their debug lines would drown ours.
    let filter = Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(env!("CARGO_PKG_NAME"), level);
    // Who administered what is said whatever the level: a quiet log must not hide it.
    let filter = filter.with_target("audit", LevelFilter::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(terminal);
    let json = match format {
        LogFormat::Json => true,
        LogFormat::Human => false,
        LogFormat::Auto => !terminal,
    };
    let layer = match json {
        true => lines.event_format(JsonLines::of(origin)).boxed(),
        false => lines.event_format(HumanLines::new(terminal)).boxed(),
    };
    let started = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    started.map_err(|error| Error::internal("logging was started twice").because(error))?;
    // A panic is a line like any other; whoever caught it goes on.
    std::panic::set_hook(Box::new(|panic| {
        let why = panic.payload_as_str().unwrap_or("it does not say why");
        let place = panic.location().map(ToString::to_string);
        tracing::error!(why, place, "a piece of work panicked");
    }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_by_name() {
        assert_eq!("json".parse::<LogFormat>().unwrap(), LogFormat::Json);
        assert!("JSON".parse::<LogFormat>().is_err());
    }

    #[test]
    fn logging_starts_once() {
        let origin = Origin { site: "s".into(), container: "c".into() };
        assert!(init(LogFormat::Human, LevelFilter::OFF, origin.clone()).is_ok());
        assert!(init(LogFormat::Json, LevelFilter::OFF, origin).is_err());
    }
}
