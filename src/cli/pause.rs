//! `pause` and `resume`: a person's word, kept in the database.

use super::Outcome;
use crate::outbox::{Database, pause};

/// Stop sending until resumed
///
/// Holds for every instance and after a restart. Courses may be enqueued meanwhile; what is under way is
/// finished.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who says so [default: the variable USER]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
}

pub(super) async fn pause(args: &Args, database: &Database) -> anyhow::Result<Outcome> {
    let author = args.author.clone().or_else(|| std::env::var("USER").ok());
    pause::pause(database, &args.reason, author.as_deref().unwrap_or("unknown")).await?;
    super::say("paused: nothing new is sent, also after a restart, until `course-sync resume`")?;
    Ok(Outcome::Fine)
}

pub(super) async fn resume(database: &Database) -> anyhow::Result<Outcome> {
    super::say(if pause::resume(database).await? { "resumed" } else { "nobody had paused" })?;
    Ok(Outcome::Fine)
}
