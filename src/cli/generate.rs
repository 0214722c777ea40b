//! `completions` and `man`: what shells and `man` know of the commands, made from the commands themselves.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Cli, files, out};
use crate::error::{Error, Result};

const NAME: &str = "meshstore";

/// `completions SHELL`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore completions bash > ~/.local/share/bash-completion/completions/meshstore
  meshstore completions zsh > ~/.zfunc/_meshstore
  meshstore completions fish > ~/.config/fish/completions/meshstore.fish")]
pub struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    pub(super) fn run(&self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), NAME, &mut script);
        out::text(&String::from_utf8_lossy(&script))
    }
}

/// `man [DIR]`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  meshstore man | man -l -
  meshstore man ~/.local/share/man/man1")]
pub struct Man {
    /// A page for each command goes into this folder; without it, the page of meshstore itself to stdout.
    dir: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(&self) -> Result<()> {
        let Some(dir) = &self.dir else {
            let mut page = Vec::new();
            let written = clap_mangen::Man::new(Cli::command()).render(&mut page);
            written.map_err(|error| Error::internal("cannot write the page").because(error))?;
            return out::text(&String::from_utf8_lossy(&page));
        };
        let failed = |error| files::failed("write the pages", dir, error);
        std::fs::create_dir_all(dir).map_err(failed)?;
        clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
    }
}
