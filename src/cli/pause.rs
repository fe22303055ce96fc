//! `pause` and `resume`: a person's word, kept in the database.

use serde::Serialize;

use super::{Outcome, say_as};
use crate::config::redact;
use crate::outbox::{Database, pause};

/// Stop sending until resumed
///
/// Holds for every instance and after a restart. Courses may be enqueued meanwhile; what is under way is
/// finished.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Why, for whoever wonders
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    reason: String,
    /// Who says so [default: the variable USER]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Send again after a pause
///
/// Ends a person's pause, and that of a used-up day, should there be more of it before midnight.
#[derive(Debug, clap::Args)]
pub(super) struct ResumeArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Paused<'a> {
    message: &'a str,
    author: &'a str,
}

#[derive(Serialize)]
struct Resumed {
    /// False where there was no pause to end.
    resumed: bool,
}

pub(super) async fn pause(args: &Args, database: &Database) -> anyhow::Result<Outcome> {
    let user = std::env::var("USER").ok();
    let author = args.author.as_deref().or(user.as_deref()).unwrap_or("unknown");
    // It is shown to whoever may see the state.
    let message = redact(&args.reason);
    pause::pause(database, &message, author).await?;
    say_as(args.json, &Paused { message: &message, author }, |_| {
        "paused: nothing new is sent, also after a restart, until `course-sync resume`".to_owned()
    })?;
    Ok(Outcome::Fine)
}

pub(super) async fn resume(args: &ResumeArgs, database: &Database) -> anyhow::Result<Outcome> {
    let resumed = Resumed { resumed: pause::resume(database).await? };
    say_as(args.json, &resumed, |told| {
        if told.resumed { "resumed" } else { "nobody had paused" }.to_owned()
    })?;
    Ok(Outcome::Fine)
}
