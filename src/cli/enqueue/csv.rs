//! Reads courses from CSV: a header row, then one record per course.
//!
//! May touch: the reader it is given.

mod dialect;
mod head;
mod sample;
mod scanner;

use std::cmp::Ordering;
use std::io::{self, BufRead};

use anyhow::Context;
use serde_json::{Map, Value};

use self::dialect::{DelimiterOrigin, DetectedDialect, delimiter_name};
use self::scanner::{CsvRecord, RecordFault, RecordScanner};
use super::columns::{CsvColumns, list_names};
use super::encoding::SourceEncoding;
use super::input::FileHead;
use super::lines::LineEnds;
use super::plan::{EnqueuePlan, KeyedCourse, LineError, LineSpan, MAX_LINE_BYTES, ParsedLine};
use crate::cli::outcome::UsageError;
use crate::hubspot::api::request::COURSE_NAME;

/// What is to be read, and how.
pub(super) struct CsvSource {
    pub(super) reader: Box<dyn BufRead>,
    /// The beginning of what the reader reads.
    pub(super) head: FileHead,
    pub(super) encoding: SourceEncoding,
    pub(super) options: CsvOptions,
}

/// What options and the name of the file say about the dialect.
#[derive(Debug, Clone, Copy)]
pub(super) struct CsvOptions {
    /// `--delimiter`.
    pub(super) delimiter: Option<u8>,
    /// The delimiter that files with this extension usually have.
    pub(super) usual_delimiter: u8,
    /// Not `--no-quotes`.
    pub(super) has_quotes: bool,
}

/// The records of a file, each a course or the reason why it is refused.
pub(super) struct CsvRecords<'p> {
    scanner: RecordScanner<Box<dyn BufRead>>,
    plan: &'p EnqueuePlan,
    columns: CsvColumns,
    encoding: SourceEncoding,
    detected: DetectedDialect,
    header_line: u64,
    ends: LineEnds,
}

impl<'p> CsvRecords<'p> {
    /// Detects the dialect, reads the header and finds the plan's columns in it.
    ///
    /// # Errors
    /// [`UsageError`] if that is not possible, or if the first rows show that most of the file would be refused.
    pub(super) fn open(source: CsvSource, plan: &'p EnqueuePlan) -> anyhow::Result<Self> {
        let CsvSource { reader, head, encoding, options } = source;
        let detected = dialect::detect(&head, options, plan);
        let mut scanner = RecordScanner::new(reader, detected.dialect, head.lines.clone());
        if detected.has_separator_line {
            scanner.skip_line().context("failed to read the file")?;
        }
        let header = scanner
            .next_record()
            .context("failed to read the file")?
            .ok_or_else(|| UsageError("the file is empty; CSV needs a header row".to_owned()))?;
        let names = head::header_names(&header);
        if let Some(fault) = header.fault {
            let reason = explain_fault(fault, header.line, &names);
            return Err(UsageError(format!("the header row (line {}): {reason}", header.line)).into());
        }
        let columns = CsvColumns::find_in(plan, &names)
            .map_err(|error| sample::explain_missing(&head, detected, options, plan, &encoding, error))?;
        sample::check(&head, detected, &columns, &encoding)?;
        Ok(Self {
            scanner,
            plan,
            columns,
            encoding,
            detected,
            header_line: header.line,
            ends: head.lines.ends(),
        })
    }

    /// How the file is read, for the report.
    pub(super) fn description(&self) -> String {
        let origin = match self.detected.origin {
            DelimiterOrigin::Option => "as --delimiter states",
            DelimiterOrigin::SeparatorLine => "as the line \"sep=\" states",
            DelimiterOrigin::Detected => "detected; --delimiter overrides it",
        };
        format!(
            "CSV in {}, columns separated by {} ({origin}), header on line {}",
            self.encoding.name(),
            delimiter_name(self.delimiter()),
            self.header_line
        )
    }

    pub(super) fn delimiter(&self) -> u8 {
        self.detected.dialect.delimiter
    }

    /// What an operator has to know before courses are added.
    pub(super) fn notes(&self) -> Vec<String> {
        let ignored = &self.columns.ignored;
        let ignored = (!ignored.is_empty()).then(|| {
            format!(
                "columns not sent, because their names are not valid HubSpot property names (see --map): {}",
                list_names(ignored)
            )
        });
        ignored.into_iter().collect()
    }

    /// Whether courses of this file can have a name.
    pub(super) fn sends_names(&self) -> bool {
        self.columns.sends(COURSE_NAME) || self.plan.sets(COURSE_NAME)
    }

    fn parse_course(&self, record: &CsvRecord) -> Result<KeyedCourse, LineError> {
        if let Some(fault) = record.fault {
            return Err(LineError::new(explain_fault(fault, record.line, &self.columns.names)));
        }
        check_width(record, self.columns.names.len())?;
        let parts = self.columns.key.iter().map(|at| self.cell(record, *at));
        let parts = parts.collect::<Result<_, _>>().map_err(LineError::new)?;
        let key = self.plan.join_key(&self.columns.key_names, parts)?;
        let mut properties = Map::new();
        for (at, property) in &self.columns.properties {
            let text = self.cell(record, *at).map_err(|reason| LineError::of(&key.text, reason))?;
            if !text.trim().is_empty() {
                properties.insert(property.clone(), Value::String(text));
            }
        }
        self.plan.make_course(key, properties, None, None)
    }

    /// What is valid, but probably not meant.
    fn warning(&self, record: &CsvRecord) -> Option<String> {
        let (delimiter, names) = (self.delimiter(), &self.columns.names);
        let in_cell = |at: usize| {
            let column = names.get(at).map(String::as_str).unwrap_or_default();
            sample::suspicious_text(record.cell(at), delimiter, column)
        };
        let rows_in_cell = sample::suspicious_cell(record, delimiter, self.ends, names);
        rows_in_cell.or_else(|| self.columns.used().find_map(in_cell))
    }

    /// The text of a cell.
    fn cell(&self, record: &CsvRecord, at: usize) -> Result<String, String> {
        let cell = record.cell(at);
        let column = self.columns.names.get(at).map(String::as_str).unwrap_or_default();
        if sample::is_null_marker(cell) {
            return Err(format!(
                "column {column:?} holds \\N: {}; {}",
                sample::TEXT_FORMAT,
                sample::EXPORT_AS_CSV
            ));
        }
        self.encoding.decode(cell).map_err(|why| format!("column {column:?}: {why}"))
    }
}

impl Iterator for CsvRecords<'_> {
    type Item = io::Result<ParsedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.scanner.next_record() {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        Some(Ok(ParsedLine {
            span: LineSpan { first: record.line, last: record.last_line },
            size: record.size,
            course: self.parse_course(&record),
            warning: self.warning(&record),
        }))
    }
}

/// Refuses a row that has not as many cells as the header. Further cells without text are accepted: nothing is lost.
fn check_width(record: &CsvRecord, width: usize) -> Result<(), LineError> {
    let cells = record.width();
    let is_filled = |cell: &[u8]| !cell.trim_ascii().is_empty();
    let advice = match cells.cmp(&width) {
        Ordering::Equal => return Ok(()),
        Ordering::Greater if !record.cells().skip(width).any(is_filled) => return Ok(()),
        Ordering::Greater => "quote cells that contain the delimiter",
        Ordering::Less => "the row is incomplete, or it was divided at a line end that is not in quotes",
    };
    let plural = if cells == 1 { "" } else { "s" };
    Err(LineError::new(format!("the row has {cells} cell{plural} and the header has {width}; {advice}")))
}

/// Why a record is not valid CSV, and what to do. `line` is where the record begins.
fn explain_fault(fault: RecordFault, line: u64, names: &[String]) -> String {
    const NOT_QUOTED: &str = "if quotes are ordinary text in this file, use --no-quotes";
    let column = |at: usize| match names.get(at) {
        Some(name) => format!("column {name:?}"),
        None => format!("column {}", at + 1),
    };
    let here = |place: u64| if place == line { "here".to_owned() } else { format!("on line {place}") };
    match fault {
        RecordFault::OpenQuote(place) => format!(
            "the quote opened {} in {} is never closed, so the rest of the file is inside it; close it, or {NOT_QUOTED}",
            here(place.line),
            column(place.cell)
        ),
        RecordFault::TextAfterQuote { place, is_escaped: false } => format!(
            "the quoted cell that begins {} in {} has text after its closing quote; a quote inside quotes is written twice \
             (\"\"); {NOT_QUOTED}",
            here(place.line),
            column(place.cell)
        ),
        RecordFault::TextAfterQuote { place, is_escaped: true } => format!(
            "the quoted cell that begins {} in {} has a quote after a backslash; in CSV, a quote inside quotes is written \
             twice (\"\"), so export the file without backslash escapes",
            here(place.line),
            column(place.cell)
        ),
        RecordFault::SpaceBeforeQuote(place) => {
            format!("{} has a space before its opening quote; remove it; {NOT_QUOTED}", column(place.cell))
        }
        RecordFault::EscapedQuote(place) => format!(
            "{} has a quote after a backslash; in CSV, a cell with quotes is enclosed in quotes, and each quote inside it is \
             written twice (\"\"), so export the file without backslash escapes; {NOT_QUOTED}",
            column(place.cell)
        ),
        RecordFault::TooLong => format!("the record is longer than {MAX_LINE_BYTES} bytes"),
    }
}

#[cfg(test)]
mod tests;
