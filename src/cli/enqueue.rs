//! `course-sync enqueue`: courses from a CSV or NDJSON file into the outbox.
//!
//! May touch: the file or stdin, and the outbox through [`crate::outbox::enqueue`]. A thread reads
//! and parses, this task inserts; between them a short queue of chunks, so a file of any size takes
//! little memory. What the file means is decided in [`plan`], without I/O.

mod csv;
mod input;
mod ndjson;
mod plan;
mod report;

use std::collections::HashSet;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::sync::mpsc;

use self::plan::{Parsed, Plan};
pub use self::report::{Refusal, Report};
use super::Outcome;
use crate::outbox::Reach;
use crate::outbox::enqueue::{NewCourse, enqueue};

/// The longest line, or CSV record, in bytes.
pub(crate) const MAX_LINE_BYTES: usize = 1024 * 1024;
/// Courses that one statement inserts at most.
const CHUNK_COURSES: usize = 1000;
/// Bytes of input after which a chunk is full.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Put courses from a CSV or NDJSON file into the outbox
///
/// A course whose key is already in the outbox, or earlier in the file, is left as it is, so a file
/// can be enqueued again safely. Good lines go in even if others are refused; each refused line is
/// reported with its number and the reason, and the exit code is then 1.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = HELP)]
pub struct Args {
    /// File in UTF-8, or - for stdin
    pub file: PathBuf,
    /// What the file holds [default: by its extension or, failing that, its first character]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Columns that make up a course's key [default: `course_key`]
    #[arg(long, value_name = "COLUMN[,COLUMN…]", value_delimiter = ',')]
    pub key: Vec<String>,
    /// What joins the columns of the key
    #[arg(long, value_name = "TEXT", default_value = "-")]
    pub key_separator: String,
    /// Send a column as a HubSpot property; may be given many times
    #[arg(long, value_name = "COLUMN=PROPERTY")]
    pub map: Vec<String>,
    /// Give every course a property of this value; may be given many times
    #[arg(long, value_name = "PROPERTY=VALUE")]
    pub set: Vec<String>,
    /// Decode HTML entities in values (`&amp;` becomes `&`)
    #[arg(long)]
    pub decode_entities: bool,
    /// What separates the columns of a CSV file: one ASCII character, or `tab` [default: a comma, in
    /// .tsv a tab]
    #[arg(long, value_name = "CHARACTER", value_parser = delimiter)]
    pub delimiter: Option<u8>,
    /// Read and check the file, and write nothing; needs no database
    #[arg(long)]
    pub dry_run: bool,
    /// Print the closing report as JSON
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
CSV needs a header row. With --map only the mapped columns are sent. Without it each column is sent as \
the property of its own name; columns whose names cannot be HubSpot's (lower-case letters, digits and \
underscores), and `course_key`, are left out. Empty cells are left out.

NDJSON has one object a line, of either shape:
  {\"course_key\": \"MATH-101\", \"properties\": {\"hs_course_name\": \"Algebra\"}, \"associations\": []}
  {\"course_key\": \"MATH-101\", \"hs_course_name\": \"Algebra\"}
To the second shape --key and --map apply as they do to columns; without --map every member is sent.

Example:
  course-sync enqueue courses.csv --key Subject,Number --map Name=hs_course_name --set term=2026-su --dry-run";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns, with a header row.
    Csv,
    /// One JSON object a line.
    Ndjson,
}

fn delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("expected one ASCII character, or `tab`".to_owned()),
    }
}

/// Runs the command and prints its report. A dry run needs no pool; without one, it is a dry run.
///
/// # Errors
/// [`UsageError`](crate::cli::UsageError) (exit code 2) for columns and options that do not fit the
/// file, with nothing inserted; others where the file or the database fails.
pub async fn run(args: Args, pool: Option<Reach<'_>>) -> anyhow::Result<Outcome> {
    let json = args.json;
    let (report, failure) = load(args, pool).await?;
    report.print(json, &mut std::io::stdout().lock(), &mut std::io::stderr().lock())?;
    match failure {
        Some(failure) => Err(failure
            .context("stopped before the end of the file; to go on, run the same command again: what is already in is left alone")),
        None if report.refused > 0 => Ok(Outcome::Failed),
        None => Ok(Outcome::Fine),
    }
}

/// Enqueues the file: the report, and what stopped it before the file's end, if anything did.
///
/// # Errors
/// As [`run`]; nothing was inserted then.
pub async fn load(args: Args, pool: Option<Reach<'_>>) -> anyhow::Result<(Report, Option<anyhow::Error>)> {
    let pool = pool.filter(|_| !args.dry_run);
    let plan = Plan::new(&args)?;
    let (chunks_in, mut chunks) = mpsc::channel(2);
    let is_dry = pool.is_none();
    let reading = tokio::task::spawn_blocking(move || read(&args, &plan, is_dry, &chunks_in));

    let mut stored = Report::default();
    let mut failure = None;
    while let Some(chunk) = chunks.recv().await {
        if let Some(pool) = pool
            && let Err(error) = store(pool, chunk, &mut stored).await
        {
            failure = Some(error);
            break;
        }
    }
    // Without a receiver the reader ends at its next chunk.
    drop(chunks);
    let (mut report, read_failure) = reading.await.context("the reader of the file ended early")??;
    report.add(stored);
    Ok((report, failure.or(read_failure)))
}

/// Courses with the lines they came from.
type Chunk = Vec<(u64, NewCourse)>;

async fn store(database: Reach<'_>, chunk: Chunk, report: &mut Report) -> anyhow::Result<()> {
    let (lines, courses): (Vec<_>, Vec<_>) = chunk.into_iter().unzip();
    let outcome = enqueue(database, &courses).await?;
    report.added += outcome.added;
    *report.already_there.get_or_insert(0) += outcome.already_there;
    for (index, reason) in outcome.refused {
        let line = lines.get(index).copied().unwrap_or_default();
        let key = courses.get(index).map(|course| course.key.to_string());
        report.refuse(Refusal { line, key, reason });
    }
    Ok(())
}

/// Reads the whole file. An error: nothing was sent on. The second of the pair: reading failed midway.
fn read(
    args: &Args,
    plan: &Plan,
    is_dry: bool,
    chunks: &mpsc::Sender<Chunk>,
) -> anyhow::Result<(Report, Option<anyhow::Error>)> {
    let progress = progress_bar();
    let input = input::open(args, &progress)?;
    let mut notes = std::io::stderr();
    let records: Box<dyn Iterator<Item = std::io::Result<Parsed>> + '_> = match input.format {
        Format::Csv => {
            let records = csv::Records::open(input.reader, input.delimiter, plan)?;
            if let Some(note) = records.note() {
                progress.suspend(|| writeln!(notes, "{note}"))?;
            }
            Box::new(records)
        }
        Format::Ndjson => Box::new(ndjson::Records::new(input.reader, plan)),
    };
    let read = gather(records, is_dry, chunks);
    progress.finish_and_clear();
    Ok(read)
}

fn gather(
    records: impl Iterator<Item = std::io::Result<Parsed>>,
    is_dry: bool,
    chunks: &mpsc::Sender<Chunk>,
) -> (Report, Option<anyhow::Error>) {
    let mut report = Report { dry_run: is_dry, ..Report::default() };
    let mut keys = HashSet::new();
    let mut chunk = Chunk::new();
    let mut bytes = 0;
    for record in records {
        let Parsed { line, size, course } = match record {
            Ok(parsed) => parsed,
            // What was read before the failure is whole and goes in.
            Err(error) => {
                report.added += send(chunk, is_dry, chunks).unwrap_or(0);
                return (report, Some(anyhow::Error::new(error).context("the file could not be read on")));
            }
        };
        match course {
            Err(refused) => report.refuse(Refusal { line, key: refused.key, reason: refused.reason }),
            Ok(course) if !keys.insert(course.key.clone()) => report.repeated += 1,
            Ok(course) => {
                chunk.push((line, course));
                bytes += size;
            }
        }
        if chunk.len() >= CHUNK_COURSES || bytes >= CHUNK_BYTES {
            bytes = 0;
            match send(std::mem::take(&mut chunk), is_dry, chunks) {
                Some(would_add) => report.added += would_add,
                // The database failed; its error is reported by whom it met.
                None => return (report, None),
            }
        }
    }
    report.added += send(chunk, is_dry, chunks).unwrap_or(0);
    (report, None)
}

/// Hands a chunk on, or in a dry run only counts it. `None` when nobody listens any more.
fn send(chunk: Chunk, is_dry: bool, chunks: &mpsc::Sender<Chunk>) -> Option<u64> {
    if is_dry {
        return Some(chunk.len() as u64);
    }
    if chunk.is_empty() {
        return Some(0);
    }
    chunks.blocking_send(chunk).ok().map(|()| 0)
}

/// On stderr, and only where that is a terminal.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} to go");
    ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
