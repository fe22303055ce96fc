//! `enqueue`: adds courses from a CSV or NDJSON file to the outbox, or changes them.
//!
//! May touch: the file or stdin, the outbox, and for a dry run HubSpot's list of properties. A thread reads and parses,
//! this task inserts. Between them is a short queue of chunks, so a file of any size needs little memory. `plan` decides
//! what a line means, without I/O.

mod account;
mod args;
mod columns;
mod csv;
mod encoding;
mod foreign;
mod input;
mod lines;
mod ndjson;
mod plan;
mod reading;
mod repeats;
mod report;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

pub use self::account::{AccountCheck, ExpectedRefusal, ExpectedRefusals};
pub use self::args::{EnqueueArgs, Format};
use self::plan::{EnqueuePlan, LineSpan};
use self::reading::{ReadingContext, print_note, read_file};
pub use self::report::{EnqueueReport, RefusedLine};
use super::account_properties::read_account_properties;
use super::connections::open_client;
use super::outcome::CommandOutcome;
use super::output::print_progress;
use crate::account::rate_limiter::RateLimiter;
use crate::config::Config;
use crate::outbox::DatabaseRef;
use crate::outbox::ops::enqueue::{Existing, NewCourse, enqueue};
use crate::policy::properties::AccountProperties;

/// Runs the command and prints its report. Without a database it is a dry run.
///
/// # Errors
/// [`UsageError`](crate::cli::UsageError) (exit code 2) if the options do not fit the file; then nothing was inserted.
/// Other errors if reading the file or writing to the database fails.
pub async fn run(
    args: EnqueueArgs,
    database: Option<DatabaseRef<'_>>,
    config: &Config,
) -> anyhow::Result<CommandOutcome> {
    let json = args.json;
    let properties = if args.dry_run { read_properties(config).await } else { None };
    let account = AccountCheck { unique: config.hubspot.unique_property.clone(), properties };
    let (report, failure) = enqueue_checked(args, database, account).await?;
    report.print_report(json, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())?;
    match failure {
        Some(failure) => Err(failure
            .context(
                "stopped before the end of the file; run the same command again to continue (courses that were written are skipped)",
            )),
        None if report.has_failures() => Ok(CommandOutcome::Failure),
        None => Ok(CommandOutcome::Success),
    }
}

/// The properties of the account, if access to one is configured. A dry run works without them.
async fn read_properties(config: &Config) -> Option<AccountProperties> {
    let client = open_client(config)?;
    let read = async {
        let limiter = RateLimiter::new(config.rate_limit, 1);
        read_account_properties(&client?, &limiter).await
    };
    match read.await {
        Ok(Some(properties)) => Some(properties),
        Ok(None) => {
            print_progress("not checked against HubSpot: the token may not read the account's properties");
            None
        }
        Err(error) => {
            print_progress(&format!("not checked against HubSpot: {error:#}"));
            None
        }
    }
}

/// Enqueues the file. Returns the report, and the error that stopped it before the end of the file, if there was one.
///
/// # Errors
/// As [`run`]; then nothing was inserted.
pub async fn enqueue_file(
    args: EnqueueArgs,
    database: Option<DatabaseRef<'_>>,
) -> anyhow::Result<(EnqueueReport, Option<anyhow::Error>)> {
    enqueue_checked(args, database, AccountCheck::default()).await
}

/// Enqueues the file, and checks its courses against an account.
async fn enqueue_checked(
    args: EnqueueArgs,
    database: Option<DatabaseRef<'_>>,
    account: AccountCheck,
) -> anyhow::Result<(EnqueueReport, Option<anyhow::Error>)> {
    let database = database.filter(|_| !args.dry_run);
    let plan = EnqueuePlan::new(&args)?;
    let (chunks_in, mut chunks) = mpsc::channel(2);
    let is_dry = database.is_none();
    let existing = if args.update { Existing::Update } else { Existing::Keep };
    let context = ReadingContext { plan, account, is_dry, progress: progress_bar(), print_note };
    let reading = tokio::task::spawn_blocking(move || read_file(&args, &context, &chunks_in));

    let mut stored = EnqueueReport::default();
    let mut failure = None;
    while let Some(chunk) = chunks.recv().await {
        if let Some(database) = database
            && let Err(error) = store_chunk(database, chunk, existing, &mut stored).await
        {
            failure = Some(error);
            break;
        }
    }
    // Without a receiver the reader stops at its next chunk.
    drop(chunks);
    let (mut report, read_failure) = reading.await.context("reading the file was interrupted")??;
    report.merge(stored);
    Ok((report, failure.or(read_failure)))
}

/// Courses with the lines they came from.
type Chunk = Vec<(LineSpan, NewCourse)>;

async fn store_chunk(
    database: DatabaseRef<'_>,
    chunk: Chunk,
    existing: Existing,
    report: &mut EnqueueReport,
) -> anyhow::Result<()> {
    let (spans, courses): (Vec<_>, Vec<_>) = chunk.into_iter().unzip();
    let outcome = enqueue(database, &courses, existing).await?;
    report.added += outcome.added;
    report.updated += outcome.updated;
    *report.already_there.get_or_insert(0) += outcome.already_there;
    for (index, reason) in outcome.refused {
        let span = spans.get(index).copied().unwrap_or_default();
        let key = courses.get(index).map(|course| course.key.to_string());
        report.add_refused(RefusedLine { line: span.first, key, reason: span.explain(&reason) });
    }
    Ok(())
}

/// The progress bar; shown on stderr if it is a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

#[cfg(test)]
mod tests;
