//! The command line: one file per command. Results go to stdout, logs and progress to stderr.

mod account_properties;
mod adopt;
mod attach;
mod audit;
mod check;
mod connections;
mod demo;
pub mod enqueue;
mod explain;
mod failures;
mod format;
mod healthcheck;
mod interruption;
mod migrate;
mod outcome;
mod output;
mod paced_client;
mod pause;
mod preview;
mod resolve;
mod retry;
mod run;
mod shell;
mod simulate;
mod status;
mod unknown_key;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, Needs, Problems, Sources};
use crate::outbox::{Database, DatabaseRef};

pub use outcome::{CommandOutcome, UsageError};

/// Create, update and archive courses from a Postgres outbox in HubSpot, each created exactly once
#[derive(Debug, Parser)]
#[command(name = "course-sync", version, max_term_width = 100, after_help = EXIT_CODES)]
struct Cli {
    /// Configuration file (TOML); docs/configuration.md lists the keys
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 success, 1 failure, 2 usage or configuration error";

#[derive(Debug, Subcommand)]
enum Command {
    /// Send pending courses to HubSpot until stopped
    ///
    /// On SIGTERM or Ctrl-C the daemon starts no new request, waits for open requests, and releases the lease so that
    /// another instance can take over. This takes at most `shutdown.grace` (25s). Logs to stderr.
    Run(run::RunArgs),
    Demo(demo::DemoArgs),
    Migrate(migrate::MigrateArgs),
    Check(check::CheckArgs),
    Preview(preview::PreviewArgs),
    Enqueue(enqueue::EnqueueArgs),
    Adopt(adopt::AdoptArgs),
    Audit(audit::AuditArgs),
    Attach(attach::AttachArgs),
    Detach(attach::DetachArgs),
    Status(status::StatusArgs),
    Explain(explain::ExplainArgs),
    Failures(failures::FailuresArgs),
    Retry(retry::RetryArgs),
    Resolve(resolve::ResolveArgs),
    Pause(pause::PauseArgs),
    Resume(pause::ResumeArgs),
    Simulate(simulate::SimulateArgs),
    /// Check whether the daemon on this machine is ready (exit code 0 or 1)
    ///
    /// Prints the response of /readyz on `admin.listen`. Waits at most 4s.
    Healthcheck,
    Completions(shell::CompletionsArgs),
    /// Print the manual in man page format
    Man,
}

const NEEDS_NOTHING: Needs = Needs { database: false, hubspot: false };
const NEEDS_DATABASE: Needs = Needs { database: true, hubspot: false };
const NEEDS_ALL: Needs = Needs { database: true, hubspot: true };

/// Parses the command line, runs the command, prints its error. Exit codes: 0 success, 1 failure, 2 usage or
/// configuration error, 128 and more a signal.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let result = runtime.block_on(dispatch(cli));
            // The process must not wait for a database call that hangs.
            runtime.shutdown_timeout(Duration::from_millis(200));
            result
        }
        Err(error) => Err(anyhow::anyhow!("failed to start the async runtime: {error}")),
    };
    match result {
        Ok(outcome) => outcome.exit_code(),
        Err(error) => {
            output::print_error(&error);
            outcome::error_exit_code(&error)
        }
    }
}

async fn dispatch(cli: Cli) -> anyhow::Result<CommandOutcome> {
    let file = cli.config;
    match cli.command {
        Command::Run(args) => run::run(&args, load_config(file, NEEDS_ALL)?).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Migrate(args) => migrate::run(&args, &load_config(file, NEEDS_DATABASE)?).await,
        Command::Check(args) => check::run(&args, load_config(file, NEEDS_ALL)).await,
        Command::Preview(args) => preview::run(&args, &load_config(file, NEEDS_ALL)?).await,
        Command::Enqueue(args) if args.dry_run => {
            // The configuration is checked also in a dry run.
            let config = load_config(file, NEEDS_NOTHING)?;
            enqueue::run(args, None, &config).await
        }
        Command::Enqueue(args) => {
            let (config, database) = load_database(file).await?;
            enqueue::run(args, Some(DatabaseRef::from(&database)), &config).await
        }
        Command::Adopt(args) => adopt::run(&args, &load_config(file, NEEDS_ALL)?).await,
        Command::Audit(args) => audit::run(&args, &load_config(file, NEEDS_ALL)?).await,
        Command::Attach(args) => {
            let (config, database) = load_database(file).await?;
            attach::run_attach(&args, &config, &database).await
        }
        Command::Detach(args) => attach::run_detach(&args, &load_database(file).await?.1).await,
        Command::Status(args) => status::run(&args, &load_config(file, NEEDS_DATABASE)?).await,
        Command::Explain(args) => {
            let (config, database) = load_database(file).await?;
            explain::run(&args, &config, &database).await
        }
        Command::Failures(args) => failures::run(&args, &load_database(file).await?.1).await,
        Command::Retry(args) => retry::run(&args, &load_database(file).await?.1).await,
        Command::Resolve(args) => {
            let (config, database) = load_database(file).await?;
            resolve::run(&args, &config, &database).await
        }
        Command::Pause(args) => pause::run_pause(&args, &load_database(file).await?.1).await,
        Command::Resume(args) => {
            let (config, database) = load_database(file).await?;
            pause::run_resume(&args, &config, &database).await
        }
        Command::Simulate(args) => simulate::run(args).await.map(|()| CommandOutcome::Success),
        Command::Healthcheck => healthcheck::run(&load_config(file, NEEDS_NOTHING)?).await,
        Command::Completions(args) => shell::print_completions(&args, Cli::command()),
        Command::Man => shell::print_manual(Cli::command()),
    }
}

fn load_config(file: Option<PathBuf>, needs: Needs) -> Result<Config, Problems> {
    Config::load(&Sources::from_process(file), needs)
}

async fn load_database(file: Option<PathBuf>) -> anyhow::Result<(Config, Database)> {
    let config = load_config(file, NEEDS_DATABASE)?;
    let database = connections::open_database(&config).await?;
    Ok((config, database))
}
