//! `metrics`: explain every metric.

use clap::{Args, Subcommand};

use super::out;
use crate::error::Result;
use crate::telemetry::metrics::{reference, reference_markdown};

/// `metrics …`.
#[derive(Debug, Subcommand)]
pub enum MetricsCommand {
    /// Explain every metric, log key and span.
    Reference(MetricsReference),
}

/// `metrics reference`.
#[derive(Debug, Args)]
pub struct MetricsReference {
    /// The page of the documentation.
    #[arg(long)]
    markdown: bool,
}

impl MetricsCommand {
    pub(super) fn run(&self) -> Result<()> {
        match self {
            MetricsCommand::Reference(page) if page.markdown => out::text(&reference_markdown()),
            MetricsCommand::Reference(_) => out::text(&reference()),
        }
    }
}
