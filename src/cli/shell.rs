//! `completions` and `man`: shell completions and the manual, generated from the command line.

use std::io::Write;

use clap::Command;

use super::outcome::CommandOutcome;

/// Print shell completions
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// Shell to print completions for
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

pub(super) fn print_completions(
    args: &CompletionsArgs,
    mut command: Command,
) -> anyhow::Result<CommandOutcome> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut command, "course-sync", &mut text);
    print_bytes(&text)
}

/// Prints the page of the program, then the page of each command.
pub(super) fn print_manual(mut command: Command) -> anyhow::Result<CommandOutcome> {
    let mut text = Vec::new();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut text)?;
    for part in command.get_subcommands().filter(|part| part.get_name() != "help" && !part.is_hide_set()) {
        clap_mangen::Man::new(part.clone()).render(&mut text)?;
    }
    print_bytes(&text)
}

/// A closed pipe is not an error.
fn print_bytes(text: &[u8]) -> anyhow::Result<CommandOutcome> {
    match std::io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(CommandOutcome::Success),
    }
}
