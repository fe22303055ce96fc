//! Reads the whole file: refuses, warns and counts, and passes the courses on in chunks.
//!
//! May touch: the file or stdin, and stderr for notes. Blocks; runs on a thread of its own.

use std::io::{self, Write};

use indicatif::ProgressBar;
use tokio::sync::mpsc;

use super::Chunk;
use super::account::{AccountCheck, ExpectedRefusals};
use super::args::{EnqueueArgs, Format};
use super::csv::{CsvOptions, CsvRecords, CsvSource};
use super::input::open_input;
use super::ndjson::NdjsonRecords;
use super::plan::{EnqueuePlan, KeyedCourse, LineError, LineSpan, ParsedLine};
use super::repeats::{Repeat, SeenKeys};
use super::report::{EnqueueReport, RefusedLine, quote_key};

/// The largest number of courses that one statement writes.
const CHUNK_COURSES: usize = 1000;
/// The size of the input after which a chunk is full.
const CHUNK_BYTES: usize = 1024 * 1024;
/// So many courses without a name are listed.
const MAX_NAMELESS_LISTED: u64 = 10;

/// What reading needs beside the file.
pub(super) struct ReadingContext {
    pub(super) plan: EnqueuePlan,
    pub(super) account: AccountCheck,
    /// Courses are only counted.
    pub(super) is_dry: bool,
    pub(super) progress: ProgressBar,
    /// Takes what an operator has to know before courses are added.
    pub(super) print_note: fn(&ProgressBar, &str),
}

/// Reads the whole file. An error means that no chunk was sent. If reading fails midway, the error is returned with the
/// report.
pub(super) fn read_file(
    args: &EnqueueArgs,
    context: &ReadingContext,
    chunks: &mpsc::Sender<Chunk>,
) -> anyhow::Result<(EnqueueReport, Option<anyhow::Error>)> {
    let ReadingContext { plan, account, progress, is_dry, print_note } = context;
    let is_dry = *is_dry;
    let mut records = FileRecords::open(args, plan, progress)?;
    let lists_nameless = records.sends_names();
    for note in records.notes() {
        print_note(progress, &note);
    }
    let report = EnqueueReport {
        dry_run: is_dry,
        is_update: args.update,
        input: records.description(),
        delimiter: records.delimiter(),
        hubspot: account.properties.as_ref().filter(|_| is_dry).map(|_| ExpectedRefusals::default()),
        ..EnqueueReport::default()
    };
    let mut reading = Reading {
        context,
        chunks,
        report,
        seen: SeenKeys::new(),
        chunk: Chunk::new(),
        chunk_bytes: 0,
        lists_nameless,
    };
    let failure = reading.read_all(&mut records);
    let mut report = reading.report;
    report.missing_members = records.missing_members();
    progress.finish_and_clear();
    Ok((report, failure))
}

/// Prints a note to stderr, beside the progress bar.
pub(super) fn print_note(progress: &ProgressBar, note: &str) {
    // A closed stderr is not an error.
    progress.suspend(|| writeln!(io::stderr(), "{note}").ok());
}

/// The records of a file of either format.
enum FileRecords<'p> {
    Csv(Box<CsvRecords<'p>>),
    Ndjson(NdjsonRecords<'p>),
}

impl<'p> FileRecords<'p> {
    fn open(args: &EnqueueArgs, plan: &'p EnqueuePlan, progress: &ProgressBar) -> anyhow::Result<Self> {
        let input = open_input(args, progress)?;
        Ok(match input.format {
            Format::Csv => {
                let options = CsvOptions {
                    delimiter: args.delimiter,
                    usual_delimiter: input.usual_delimiter,
                    has_quotes: !args.no_quotes,
                };
                let source =
                    CsvSource { reader: input.reader, head: input.head, encoding: input.encoding, options };
                Self::Csv(Box::new(CsvRecords::open(source, plan)?))
            }
            Format::Ndjson => {
                Self::Ndjson(NdjsonRecords::open(input.reader, &input.head, input.encoding, plan)?)
            }
        })
    }

    fn description(&self) -> String {
        match self {
            Self::Csv(records) => records.description(),
            Self::Ndjson(records) => records.description(),
        }
    }

    fn delimiter(&self) -> Option<char> {
        match self {
            Self::Csv(records) => Some(char::from(records.delimiter())),
            Self::Ndjson(_) => None,
        }
    }

    fn sends_names(&self) -> bool {
        match self {
            Self::Csv(records) => records.sends_names(),
            Self::Ndjson(records) => records.sends_names(),
        }
    }

    /// What is shown before courses are added.
    fn notes(&self) -> Vec<String> {
        let mut notes = vec![self.description()];
        if let Self::Csv(records) = self {
            notes.extend(records.notes());
        }
        if !self.sends_names() {
            notes.push(
                "nothing is sent as hs_course_name, without which HubSpot refuses to create a course; use --map \
                 COLUMN=hs_course_name"
                    .to_owned(),
            );
        }
        notes
    }

    fn missing_members(&self) -> Vec<String> {
        match self {
            Self::Csv(_) => Vec::new(),
            Self::Ndjson(records) => records.missing_members(),
        }
    }
}

impl Iterator for FileRecords<'_> {
    type Item = io::Result<ParsedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Csv(records) => records.next(),
            Self::Ndjson(records) => records.next(),
        }
    }
}

/// The database failed, and no chunk is taken any more.
struct ReceiverClosed;

/// The state of reading a file.
struct Reading<'r> {
    context: &'r ReadingContext,
    chunks: &'r mpsc::Sender<Chunk>,
    report: EnqueueReport,
    seen: SeenKeys,
    chunk: Chunk,
    chunk_bytes: usize,
    /// Single courses without a name are listed; not if no course has one.
    lists_nameless: bool,
}

impl Reading<'_> {
    /// Reads all records. Returns the error that ended it early.
    fn read_all(&mut self, records: &mut FileRecords<'_>) -> Option<anyhow::Error> {
        let mut failure = None;
        for record in records {
            match record {
                Ok(record) => self.add_record(record),
                // The courses read before the failure are complete and are added.
                Err(error) => {
                    failure = Some(anyhow::Error::new(error).context("failed to read the rest of the file"));
                    break;
                }
            }
            let is_full = self.chunk.len() >= CHUNK_COURSES || self.chunk_bytes >= CHUNK_BYTES;
            if is_full && self.send_chunk().is_err() {
                // `enqueue_checked` returns the database's error.
                return None;
            }
        }
        self.send_chunk().ok();
        failure
    }

    fn add_record(&mut self, record: ParsedLine) {
        let ParsedLine { span, size, course, warning } = record;
        if let Some(warning) = warning {
            let warning = format!("line {}: {warning}", span.first);
            self.report.add_warning(warning);
        }
        match course {
            Err(refused) => self.refuse(span, refused),
            Ok(keyed) => match self.seen.add(&keyed, span.first) {
                Some(Repeat::Exact) => self.report.repeated += 1,
                Some(Repeat::Differs { first_line }) => {
                    self.refuse(span, differing_repeat(&keyed, first_line));
                }
                None => self.add_course(span, size, keyed),
            },
        }
    }

    fn refuse(&mut self, span: LineSpan, LineError { key, reason }: LineError) {
        self.report.add_refused(RefusedLine { line: span.first, key, reason: span.explain(&reason) });
    }

    fn add_course(&mut self, span: LineSpan, size: usize, KeyedCourse { course, .. }: KeyedCourse) {
        if self.context.account.lacks_name(&course) {
            self.report.without_name += 1;
            if self.lists_nameless && self.report.without_name <= MAX_NAMELESS_LISTED {
                let key = quote_key(course.key.as_str());
                let note = format!(
                    "line {}, course {key}: no hs_course_name, without which HubSpot refuses to create a course",
                    span.first
                );
                (self.context.print_note)(&self.context.progress, &note);
            }
        }
        if self.context.is_dry {
            self.report.show_course(span.first, &course);
        }
        if let Some(hubspot) = &mut self.report.hubspot {
            hubspot.add(span.first, course.key.as_str(), self.context.account.problems(&course));
        }
        self.chunk.push((span, course));
        self.chunk_bytes += size;
    }

    /// Sends the chunk to the database task, or only counts it in a dry run.
    fn send_chunk(&mut self) -> Result<(), ReceiverClosed> {
        let chunk = std::mem::take(&mut self.chunk);
        self.chunk_bytes = 0;
        if self.context.is_dry {
            self.report.added += chunk.len() as u64;
            return Ok(());
        }
        if chunk.is_empty() {
            return Ok(());
        }
        self.chunks.blocking_send(chunk).map_err(|_| ReceiverClosed)
    }
}

fn differing_repeat(keyed: &KeyedCourse, first_line: u64) -> LineError {
    let advice = if keyed.key.is_ambiguous {
        "with other values or from other key columns; choose a --key-separator that the columns do not contain"
    } else {
        "with other values; remove one of the two rows, or add a column to --key"
    };
    LineError::of(&keyed.key.text, format!("the key is already on line {first_line}, {advice}"))
}
