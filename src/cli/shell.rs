//! `completions` and `man`: what a packager or a shell wants to know of the command line itself.

use std::io::Write;

use clap::CommandFactory;

use super::{Cli, Outcome};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For this one
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn completions(args: &Args) -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "course-sync", &mut text);
    print(&text)
}

/// The manual: the program's page, then one of each command.
pub(super) fn man() -> anyhow::Result<Outcome> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for part in command.get_subcommands().filter(|part| part.get_name() != "help" && !part.is_hide_set()) {
        clap_mangen::Man::new(part.clone()).render(&mut text)?;
    }
    print(&text)
}

/// A reader that has seen enough is no failure.
fn print(text: &[u8]) -> anyhow::Result<Outcome> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Outcome::Fine),
    }
}
