//! `enqueue`: adds courses from a CSV or NDJSON file to the outbox, or changes them.
//!
//! May touch: the file or stdin, and the outbox. A thread reads and parses, this task inserts. Between them is a short
//! queue of chunks, so a file of any size needs little memory. `plan` decides what a line means, without I/O.

mod args;
mod csv;
mod input;
mod ndjson;
mod plan;
mod report;

use std::collections::HashSet;
use std::io::Write;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

pub use self::args::{EnqueueArgs, Format};
use self::plan::{EnqueuePlan, ParsedLine};
pub use self::report::{EnqueueReport, RefusedLine};
use super::outcome::CommandOutcome;
use crate::outbox::DatabaseRef;
use crate::outbox::ops::enqueue::{Existing, NewCourse, enqueue};

/// The largest number of courses that one statement writes.
const CHUNK_COURSES: usize = 1000;
/// The size of the input after which a chunk is full.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Runs the command and prints its report. Without a database it is a dry run.
///
/// # Errors
/// [`UsageError`](crate::cli::UsageError) (exit code 2) if the options do not fit the file; then nothing was inserted.
/// Other errors if reading the file or writing to the database fails.
pub async fn run(args: EnqueueArgs, database: Option<DatabaseRef<'_>>) -> anyhow::Result<CommandOutcome> {
    let json = args.json;
    let (report, failure) = enqueue_file(args, database).await?;
    report.print_report(json, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())?;
    match failure {
        Some(failure) => Err(failure
            .context(
                "stopped before the end of the file; run the same command again to continue (courses that were written are skipped)",
            )),
        None if report.refused > 0 => Ok(CommandOutcome::Failure),
        None => Ok(CommandOutcome::Success),
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
    let database = database.filter(|_| !args.dry_run);
    let plan = EnqueuePlan::new(&args)?;
    let (chunks_in, mut chunks) = mpsc::channel(2);
    let is_dry = database.is_none();
    let existing = if args.update { Existing::Update } else { Existing::Keep };
    let reading = tokio::task::spawn_blocking(move || read_file(&args, &plan, is_dry, &chunks_in));

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
type Chunk = Vec<(u64, NewCourse)>;

async fn store_chunk(
    database: DatabaseRef<'_>,
    chunk: Chunk,
    existing: Existing,
    report: &mut EnqueueReport,
) -> anyhow::Result<()> {
    let (lines, courses): (Vec<_>, Vec<_>) = chunk.into_iter().unzip();
    let outcome = enqueue(database, &courses, existing).await?;
    report.added += outcome.added;
    report.updated += outcome.updated;
    *report.already_there.get_or_insert(0) += outcome.already_there;
    for (index, reason) in outcome.refused {
        let line = lines.get(index).copied().unwrap_or_default();
        let key = courses.get(index).map(|course| course.key.to_string());
        report.add_refused(RefusedLine { line, key, reason });
    }
    Ok(())
}

/// Reads the whole file. An error means that no chunk was sent. If reading fails midway, the error is returned with the
/// report.
fn read_file(
    args: &EnqueueArgs,
    plan: &EnqueuePlan,
    is_dry: bool,
    chunks: &mpsc::Sender<Chunk>,
) -> anyhow::Result<(EnqueueReport, Option<anyhow::Error>)> {
    let progress = progress_bar();
    let input = input::open_input(args, &progress)?;
    let mut notes = std::io::stderr();
    let records: Box<dyn Iterator<Item = std::io::Result<ParsedLine>> + '_> = match input.format {
        Format::Csv => {
            let records = csv::CsvRecords::open(input.reader, input.delimiter, plan)?;
            if let Some(note) = records.ignored_columns_note() {
                progress.suspend(|| writeln!(notes, "{note}"))?;
            }
            Box::new(records)
        }
        Format::Ndjson => Box::new(ndjson::NdjsonRecords::new(input.reader, plan)),
    };
    let report = EnqueueReport { dry_run: is_dry, is_update: args.update, ..EnqueueReport::default() };
    let result = send_courses(records, report, chunks);
    progress.finish_and_clear();
    Ok(result)
}

fn send_courses(
    records: impl Iterator<Item = std::io::Result<ParsedLine>>,
    mut report: EnqueueReport,
    chunks: &mpsc::Sender<Chunk>,
) -> (EnqueueReport, Option<anyhow::Error>) {
    let is_dry = report.dry_run;
    let mut keys = HashSet::new();
    let mut chunk = Chunk::new();
    let mut bytes = 0;
    for record in records {
        let ParsedLine { line, size, course } = match record {
            Ok(parsed) => parsed,
            // The courses read before the failure are complete and are added.
            Err(error) => {
                report.added += send_chunk(chunk, is_dry, chunks).unwrap_or(0);
                return (
                    report,
                    Some(anyhow::Error::new(error).context("failed to read the rest of the file")),
                );
            }
        };
        match course {
            Err(refused) => {
                report.add_refused(RefusedLine { line, key: refused.key, reason: refused.reason });
            }
            Ok(course) if !keys.insert(course.key.clone()) => report.repeated += 1,
            Ok(course) => {
                chunk.push((line, course));
                bytes += size;
            }
        }
        if chunk.len() >= CHUNK_COURSES || bytes >= CHUNK_BYTES {
            bytes = 0;
            match send_chunk(std::mem::take(&mut chunk), is_dry, chunks) {
                Some(would_add) => report.added += would_add,
                // The database failed; `enqueue_file` returns its error.
                None => return (report, None),
            }
        }
    }
    report.added += send_chunk(chunk, is_dry, chunks).unwrap_or(0);
    (report, None)
}

/// Sends a chunk to the database task, or only counts it in a dry run. `None` if the receiver is closed.
fn send_chunk(chunk: Chunk, is_dry: bool, chunks: &mpsc::Sender<Chunk>) -> Option<u64> {
    if is_dry {
        return Some(chunk.len() as u64);
    }
    if chunk.is_empty() {
        return Some(0);
    }
    chunks.blocking_send(chunk).ok().map(|()| 0)
}

/// The progress bar; shown on stderr if it is a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
