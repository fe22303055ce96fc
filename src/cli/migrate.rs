//! `migrate`: brings the schema up to date and exits.

use serde::Serialize;

use super::{Outcome, say_as};
use crate::config::Config;
use crate::outbox::connect;

/// Bring the database's schema up to date
///
/// `run` does so too, unless `database.migrate` is false. Safe to run again, and by several at once.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Migrated {
    /// Migrations that were missing.
    applied: usize,
}

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<Outcome> {
    let migrated = Migrated { applied: connect::migrate(&config.database_url()?).await? };
    say_as(args.json, &migrated, |migrated| match migrated.applied {
        0 => "the schema was up to date already".to_owned(),
        1 => "the schema is up to date: 1 migration applied".to_owned(),
        more => format!("the schema is up to date: {more} migrations applied"),
    })?;
    Ok(Outcome::Fine)
}
