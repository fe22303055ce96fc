//! `pause` and `resume`: an operator's pause, stored in the database.

use serde::Serialize;

use super::format::pluralize;
use super::outcome::CommandOutcome;
use super::output::{print_as, print_progress};
use crate::config::{Config, redact};
use crate::outbox::ops::pause;
use crate::outbox::{Database, changes};

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
/// quota, and the one after HubSpot rejected every course for the same reason. Archives that are held by
/// `outbox.archive_limit` stay held: only --archives releases them.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// Release the archives that are held because too many courses were withdrawn at once; other pauses stay
    #[arg(long)]
    archives: bool,
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
    /// False if there was nothing to resume.
    resumed: bool,
    /// With `--archives`: the archives that are released.
    #[serde(skip_serializing_if = "Option::is_none")]
    archives: Option<u64>,
    /// Archives are held, and stay held.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    archives_held: bool,
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

pub(super) async fn run_resume(
    args: &ResumeArgs,
    config: &Config,
    database: &Database,
) -> anyhow::Result<CommandOutcome> {
    if args.archives {
        let released = changes::release_archives(database).await?;
        let result = ResumeResult { resumed: released > 0, archives: Some(released), archives_held: false };
        print_as(args.json, &result, |_| match released {
            0 => "no archive is pending".to_owned(),
            count => {
                format!("{} released", pluralize(i64::try_from(count).unwrap_or(i64::MAX), "archive"))
            }
        })?;
        return Ok(CommandOutcome::Success);
    }
    let limit = config.outbox.archive_limit;
    let resumed = pause::resume(database).await?;
    let archives_held = changes::count_held_archives(database, limit).await? > u64::from(limit);
    let result = ResumeResult { resumed, archives: None, archives_held };
    print_as(args.json, &result, |result| {
        if result.resumed { "resumed" } else { "there was no pause to end" }.to_owned()
    })?;
    if archives_held && !args.json {
        print_progress(&format!(
            "archives stay held: more than {limit} courses are withdrawn at once (outbox.archive_limit); if that is intended, \
             run `course-sync resume --archives`"
        ));
    }
    Ok(CommandOutcome::Success)
}
