//! `migrate`: updates the database schema.

use serde::Serialize;

use super::outcome::CommandOutcome;
use super::output::{print_as, print_progress};
use crate::config::Config;
use crate::outbox::connect;

/// Update the database schema
///
/// `run` does this too, unless `database.migrate` is false. Safe to repeat, and to run from several instances
/// at once.
#[derive(Debug, clap::Args)]
pub(super) struct MigrateArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct MigrateReport {
    /// The number of migrations that were applied.
    applied: usize,
}

pub(super) async fn run(args: &MigrateArgs, config: &Config) -> anyhow::Result<CommandOutcome> {
    let url = config.database_url()?;
    let applied =
        connect::migrate_reporting(&url, |error| print_progress(&format!("waiting: {error}"))).await?;
    let report = MigrateReport { applied };
    print_as(args.json, &report, |report| match report.applied {
        0 => "the schema is already up to date".to_owned(),
        1 => "the schema is up to date: 1 migration applied".to_owned(),
        more => format!("the schema is up to date: {more} migrations applied"),
    })?;
    Ok(CommandOutcome::Success)
}
