//! `pause` and `resume`: an operator's pause, stored in the database.

use serde::Serialize;

use super::outcome::CommandOutcome;
use super::output::print_as;
use crate::config::redact;
use crate::outbox::Database;
use crate::outbox::ops::pause;

/// Stop sending until `course-sync resume`
///
/// Applies to all instances and persists across restarts. Courses can still be enqueued. Open requests finish.
#[derive(Debug, clap::Args)]
pub(super) struct PauseArgs {
    /// Reason, shown in status and console
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Who pauses sending [default: the environment variable USER]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Resume sending after a pause
///
/// Ends the pauses that persist across restarts: the one set by `course-sync pause`, the one for a used-up daily
/// quota, and the one after HubSpot rejected every course for the same reason.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct PauseResult<'a> {
    message: &'a str,
    author: &'a str,
}

#[derive(Serialize)]
struct ResumeResult {
    /// False if there was no pause to end.
    resumed: bool,
}

pub(super) async fn run_pause(args: &PauseArgs, database: &Database) -> anyhow::Result<CommandOutcome> {
    let user = std::env::var("USER").ok();
    let author = args.author.as_deref().or(user.as_deref()).unwrap_or("unknown");
    // Everyone who can see the status can read it.
    let message = redact(&args.reason);
    pause::pause(database, &message, author).await?;
    print_as(args.json, &PauseResult { message: &message, author }, |_| {
        "paused: nothing is sent until `course-sync resume`, even after a restart".to_owned()
    })?;
    Ok(CommandOutcome::Success)
}

pub(super) async fn run_resume(args: &ResumeArgs, database: &Database) -> anyhow::Result<CommandOutcome> {
    let result = ResumeResult { resumed: pause::resume(database).await? };
    print_as(args.json, &result, |result| {
        if result.resumed { "resumed" } else { "there was no pause to end" }.to_owned()
    })?;
    Ok(CommandOutcome::Success)
}
