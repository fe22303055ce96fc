//! The command line: one file a command. Results go to stdout, logs and progress to stderr.

mod check;
mod demo;
pub mod enqueue;
mod explain;
mod failures;
mod healthcheck;
mod migrate;
mod pause;
mod preview;
mod resolve;
mod retry;
mod run;
mod shell;
mod simulate;
mod status;
mod terminal;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::config::{Config, Needs, Problems, Sources};
use crate::hubspot::{Client, ClientError};
use crate::outbox::{Database, OutboxError, Reach, Sessions, connect};
use crate::telemetry::metrics::Metrics;

/// Creates the courses of a catalogue's Postgres outbox in HubSpot: each exactly once, or its row says
/// why not.
#[derive(Debug, Parser)]
#[command(name = "course-sync", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    /// Configuration file (TOML); docs/configuration.md lists its keys
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 fine, 1 it failed, 2 usage or configuration";

#[derive(Debug, Subcommand)]
enum Command {
    /// Send pending courses to HubSpot until told to stop
    ///
    /// At SIGTERM or Ctrl-C it begins nothing new, finishes what is under way within `shutdown.grace`
    /// (25s) and hands over to another instance. Logs to stderr.
    Run(run::Args),
    Demo(demo::Args),
    Migrate(migrate::Args),
    Check(check::Args),
    Preview(preview::Args),
    Enqueue(enqueue::Args),
    Status(status::Args),
    Explain(explain::Args),
    Failures(failures::Args),
    Retry(retry::Args),
    Resolve(resolve::Args),
    Pause(pause::Args),
    Resume(pause::ResumeArgs),
    Simulate(simulate::Args),
    /// Ask the daemon on this machine whether it is ready (exit code 0 or 1)
    ///
    /// Prints what /readyz on `admin.listen` says. Waits for 4s at most.
    Healthcheck,
    Completions(shell::Args),
    /// Print the manual, in the form that `man` reads
    Man,
}

/// How a command ended, where it is not an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As wished.
    Fine,
    /// It did its work, and the work's answer is no.
    Failed,
    /// A signal of this number ended it early, and it cleaned up.
    Interrupted(u8),
}

/// The command's options do not fit what they are about. Exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Parses the command line, runs the command, reports an error. 0: fine, 1: it failed, 2: usage or
/// configuration, 128 and more: a signal.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&anyhow::anyhow!("the runtime could not be started: {error}")),
    };
    let outcome = runtime.block_on(dispatch(cli));
    // A database call that hangs must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    match outcome {
        Ok(Outcome::Fine) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        // As a shell tells of a program that a signal ended.
        Ok(Outcome::Interrupted(signal)) => ExitCode::from(signal.saturating_add(128)),
        Err(error) => complain(&error),
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<Outcome> {
    let load = |needs| load(cli.config.clone(), needs);
    match cli.command {
        Command::Run(args) => run::run(&args, load(Needs { database: true, hubspot: true })?).await,
        Command::Pause(args) => {
            pause::pause(&args, &ready_database(&load(Needs { database: true, hubspot: false })?).await?)
                .await
        }
        Command::Resume(args) => {
            pause::resume(&args, &ready_database(&load(Needs { database: true, hubspot: false })?).await?)
                .await
        }
        Command::Demo(args) => demo::run(args).await,
        Command::Migrate(args) => migrate::run(&args, &load(Needs { database: true, hubspot: false })?).await,
        Command::Check(args) => check::run(&args, load(Needs { database: true, hubspot: true })).await,
        Command::Preview(args) => preview::run(&args, &load(Needs { database: true, hubspot: true })?).await,
        Command::Enqueue(args) => {
            let needs_database = !args.dry_run;
            let config = load(Needs { database: needs_database, hubspot: false })?;
            let database = if needs_database { Some(ready_database(&config).await?) } else { None };
            enqueue::run(args, database.as_ref().map(Reach::from)).await
        }
        Command::Status(args) => status::run(&args, &load(Needs { database: true, hubspot: false })?).await,
        Command::Explain(args) => {
            let config = load(Needs { database: true, hubspot: false })?;
            explain::run(&args, &config, &ready_database(&config).await?).await
        }
        Command::Failures(args) => {
            failures::run(&args, &ready_database(&load(Needs { database: true, hubspot: false })?).await?)
                .await
        }
        Command::Retry(args) => {
            retry::run(&args, &ready_database(&load(Needs { database: true, hubspot: false })?).await?).await
        }
        Command::Resolve(args) => {
            let config = load(Needs { database: true, hubspot: false })?;
            resolve::run(&args, &config, &ready_database(&config).await?).await
        }
        Command::Simulate(args) => simulate::run(args).await.map(|()| Outcome::Fine),
        Command::Completions(args) => shell::completions(&args),
        Command::Man => shell::man(),
        Command::Healthcheck => healthcheck::run(&load(Needs { database: false, hubspot: false })?).await,
    }
}

/// The database for a short command, once the database is there and its schema is ours.
async fn ready_database(config: &Config) -> anyhow::Result<Database> {
    let url = config.database_url()?;
    connect::reach(&url).await?;
    let database = connect::database(&url, 2, sessions(config))?;
    connect::verify(&database).await?;
    Ok(database)
}

/// A client for a single question by a person; `None`: no access to HubSpot is configured.
fn client(config: &Config) -> Option<Result<Client, ClientError>> {
    config.hubspot.credentials.as_ref()?;
    Some(Client::new(&config.hubspot, 1, Arc::new(Metrics::new())))
}

/// Who does without notifications is taken to have a pooler before the database.
fn sessions(config: &Config) -> Sessions {
    if config.outbox.listen { Sessions::Kept } else { Sessions::Pooled }
}

fn load(file: Option<PathBuf>, needs: Needs) -> Result<Config, Problems> {
    Config::load(&Sources::from_process(file), needs)
}

/// Prints a result in the form that was asked for: JSON, or what `in_words` makes of it.
fn say_as<T: Serialize>(json: bool, result: &T, in_words: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
    say(&if json { serde_json::to_string_pretty(result)? } else { in_words(result) })?;
    Ok(())
}

/// Prints a result. A reader that has seen enough is no failure; false then.
fn say(result: &str) -> std::io::Result<bool> {
    match writeln!(std::io::stdout().lock(), "{result}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        other => other.map(|()| true),
    }
}

#[allow(clippy::print_stderr)] // the one place where a command's error is told
fn complain(error: &anyhow::Error) -> ExitCode {
    eprintln!("course-sync: {}", crate::config::redact(&told(error)));
    let is_setup = error.is::<Problems>()
        || error.is::<UsageError>()
        || error.downcast_ref::<OutboxError>().is_some_and(OutboxError::is_setup);
    if is_setup { ExitCode::from(2) } else { ExitCode::FAILURE }
}

/// The error with its causes, each said once: some messages tell their cause already.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if told.is_empty() {
            told = text;
        } else if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        // It tells the database's error itself, without the line of Postgres's source.
        if cause.is::<OutboxError>() {
            break;
        }
    }
    told
}
