//! Reads the first records of a CSV file, before any course is added, and recognises a file that is not read as it was
//! written. Pure.

use super::dialect::{DetectedDialect, candidates, delimiter_argument, delimiter_name};
use super::head::{header_names, read_records};
use super::scanner::{CsvRecord, Dialect};
use super::{CsvOptions, DelimiterOrigin, explain_fault};
use crate::cli::enqueue::columns::CsvColumns;
use crate::cli::enqueue::encoding::SourceEncoding;
use crate::cli::enqueue::input::FileHead;
use crate::cli::enqueue::lines::{LineCounter, LineEnds, filled_lines};
use crate::cli::enqueue::plan::EnqueuePlan;
use crate::cli::outcome::UsageError;

/// The largest number of lines above the header.
const MAX_PREAMBLE: usize = 50;
/// The lines among which a drawn one is found.
const MAX_DRAWN: usize = 3;
pub(super) const EXPORT_AS_CSV: &str =
    "export it as CSV or NDJSON (psql: \\copy … to … with (format csv, header); others: see docs/files.md)";
pub(super) const TEXT_FORMAT: &str = "this is the text format of PostgreSQL and MySQL, in which \\N is null and a backslash escapes characters";
/// So many rows with the same fault are taken as a sign that the whole file is meant otherwise.
const MANY_NOT_UTF8: usize = 3;
const MANY_FAULTS: usize = 3;
const MANY_WIDTHS: usize = 5;

/// Refuses a file of which most rows would be refused for the same reason, and says what to do.
pub(super) fn check(
    head: &FileHead,
    detected: DetectedDialect,
    columns: &CsvColumns,
    encoding: &SourceEncoding,
) -> Result<(), UsageError> {
    let records = read_records(head, detected.dialect, detected.has_separator_line);
    let rows = records.get(1..).unwrap_or_default();
    if let Some(row) = rows.iter().take(MAX_DRAWN).find(|row| is_drawn_record(row)) {
        return Err(UsageError(format!(
            "line {} is a drawn line: the file is a table drawn for reading, with spaces added to its cells; {EXPORT_AS_CSV}",
            row.line
        )));
    }
    if let Some(row) = rows.iter().find(|row| row.cells().any(is_null_marker)) {
        return Err(UsageError(format!(
            "line {} has \\N in a cell: {TEXT_FORMAT}; {EXPORT_AS_CSV}",
            row.line
        )));
    }
    check_encoding(rows, columns, encoding)?;
    let is_most = |count: usize| count * 2 > rows.len();
    let faulty: Vec<_> = rows.iter().filter_map(|row| Some((row.line, row.fault?))).collect();
    if let Some((line, fault)) = faulty.first()
        && faulty.len() >= MANY_FAULTS
        && is_most(faulty.len())
    {
        return Err(UsageError(format!(
            "most rows are not valid CSV; line {line}: {}",
            explain_fault(*fault, *line, &columns.names)
        )));
    }
    let width = columns.names.len();
    let misfits: Vec<_> = rows.iter().filter(|row| row.fault.is_none() && row.width() != width).collect();
    let misfits: Vec<_> = misfits.into_iter().filter(|row| super::check_width(row, width).is_err()).collect();
    match misfits.first() {
        Some(first) if misfits.len() >= MANY_WIDTHS && is_most(misfits.len()) => Err(UsageError(format!(
            "the header has {width} columns, separated by {}, but most rows do not (line {} has {}); check --delimiter, \
             --skip-lines and --no-quotes",
            delimiter_name(detected.dialect.delimiter),
            first.line,
            first.width()
        ))),
        _ => Ok(()),
    }
}

/// Refuses a file in another encoding: several rows are not UTF-8, and none has a character that shows that it is.
fn check_encoding(
    rows: &[CsvRecord],
    columns: &CsvColumns,
    encoding: &SourceEncoding,
) -> Result<(), UsageError> {
    let cells = rows.iter().flat_map(|row| columns.used().map(|at| (row.line, at, row.cell(at))));
    let (valid, invalid): (Vec<_>, Vec<_>) =
        cells.filter(|(.., cell)| !cell.is_ascii()).partition(|(.., cell)| str::from_utf8(cell).is_ok());
    match invalid.first() {
        Some((line, at, cell)) if invalid.len() >= MANY_NOT_UTF8 && valid.is_empty() => {
            let why = encoding.decode(cell).err().unwrap_or_default();
            let column = columns.names.get(*at).map(String::as_str).unwrap_or_default();
            Err(UsageError(format!(
                "the file is not in {}: line {line}, column {column:?}: {why}",
                encoding.name()
            )))
        }
        _ => Ok(()),
    }
}

/// Explains why the columns of the plan are not in the header, if the beginning of the file shows the reason.
pub(super) fn explain_missing(
    head: &FileHead,
    detected: DetectedDialect,
    options: CsvOptions,
    plan: &EnqueuePlan,
    encoding: &SourceEncoding,
    error: UsageError,
) -> UsageError {
    let has_columns = |row: &CsvRecord| CsvColumns::find_in(plan, &header_names(row)).is_ok();
    let is_stated = detected.origin != DelimiterOrigin::Detected;
    for delimiter in std::iter::once(detected.dialect.delimiter).chain(candidates(options)) {
        let dialect = Dialect { delimiter, ..detected.dialect };
        let records = read_records(head, dialect, detected.has_separator_line);
        let is_other = is_stated && delimiter != detected.dialect.delimiter;
        let found = records.iter().take(MAX_PREAMBLE).position(has_columns);
        let next_is_drawn = found.and_then(|at| records.get(at + 1)).is_some_and(is_drawn_record);
        match found {
            Some(0) if is_other => {
                let (name, argument) = (delimiter_name(delimiter), delimiter_argument(delimiter));
                return UsageError(format!(
                    "{error} (with {name}, all columns are found: use --delimiter {argument})"
                ));
            }
            Some(at) if at > 0 && !next_is_drawn => {
                let line = records.get(at).map(|record| record.line).unwrap_or_default();
                let other = format!(" and --delimiter {}", delimiter_argument(delimiter));
                return UsageError(format!(
                    "the header is on line {line}, after other lines; use --skip-lines {}{}",
                    line.saturating_sub(1),
                    if is_other { other.as_str() } else { "" }
                ));
            }
            _ => {}
        }
    }
    explain_by_content(head, detected, encoding, error)
}

fn explain_by_content(
    head: &FileHead,
    detected: DetectedDialect,
    encoding: &SourceEncoding,
    error: UsageError,
) -> UsageError {
    let lines: Vec<_> = filled_lines(&head.text, &head.lines).map(|(_, line)| line).take(MAX_DRAWN).collect();
    let is_json = lines.first().is_some_and(|first| first.starts_with(b"{") || first.starts_with(b"["));
    let records = read_records(head, detected.dialect, detected.has_separator_line);
    let header = records.first();
    let not_decoded = header.and_then(|header| header.cells().find_map(|cell| encoding.decode(cell).err()));
    if is_json {
        UsageError(
            "the file looks like JSON, not CSV; if it has one object per line, use --format ndjson"
                .to_owned(),
        )
    } else if lines.iter().any(|line| is_drawn(line)) {
        UsageError(format!("the file is a table drawn for reading; {EXPORT_AS_CSV}"))
    } else if let Some(why) = not_decoded {
        UsageError(format!("the header is not in {}, so the columns are not found: {why}", encoding.name()))
    } else if lines.first().is_some_and(|first| first.starts_with(b"\""))
        && header.is_some_and(is_quoted_as_a_whole)
    {
        UsageError(
            "the whole header is one quoted cell: the file was quoted twice; export it again".to_owned(),
        )
    } else {
        error
    }
}

/// Whether the only cell holds the delimiter of other columns.
fn is_quoted_as_a_whole(header: &CsvRecord) -> bool {
    header.width() == 1 && header.cell(0).iter().any(|byte| matches!(byte, b',' | b';' | b'\t'))
}

fn is_drawn_record(record: &CsvRecord) -> bool {
    is_drawn(&record.cells().collect::<Vec<_>>().concat())
}

/// Whether a line is drawn between rows, such as `----+----`.
fn is_drawn(line: &[u8]) -> bool {
    let has_rule = line.windows(3).any(|three| matches!(three, b"---" | b"==="));
    let is_rule = has_rule && line.iter().all(|byte| matches!(byte, b'-' | b'=' | b'+' | b'|' | b':' | b' '));
    // The characters U+2500 to U+257F, which are made for drawing.
    is_rule || line.starts_with(b"\xE2\x94") || line.starts_with(b"\xE2\x95")
}

/// The null of the databases' text format.
pub(super) fn is_null_marker(cell: &[u8]) -> bool {
    cell == br"\N"
}

/// A warning about a cell that an exporter probably means otherwise: the word NULL, or, where tabs separate columns and
/// cannot be quoted, escaped characters.
pub(super) fn suspicious_text(cell: &[u8], delimiter: u8, column: &str) -> Option<String> {
    let escapes: [&[u8]; 4] = [br"\t", br"\n", br"\r", br"\\"];
    let has_escape = || escapes.iter().any(|escape| memchr::memmem::find(cell, escape).is_some());
    if cell == b"NULL" {
        Some(format!(
            "column {column:?} holds the word NULL, which is stored as text; leave the cell empty instead"
        ))
    } else if delimiter == b'\t' && has_escape() {
        Some(format!(
            "column {column:?} holds a backslash sequence, which is stored as it is; if the export escapes characters, see \
             docs/files.md"
        ))
    } else {
        None
    }
}

/// A warning about a cell of several lines, each of which would be a complete row by itself: it was probably opened by a
/// stray quote, and closed by another one.
pub(super) fn suspicious_cell(
    record: &CsvRecord,
    delimiter: u8,
    ends: LineEnds,
    names: &[String],
) -> Option<String> {
    if record.last_line <= record.line || record.fault.is_some() {
        return None;
    }
    let lines = LineCounter::new(ends);
    let (at, cell) = record.cells().enumerate().find(|(_, cell)| filled_lines(cell, &lines).count() > 1)?;
    let count = |line: &[u8]| memchr::memchr_iter(delimiter, line).count();
    let counts: Vec<_> = filled_lines(cell, &lines).map(|(_, line)| count(line)).collect();
    let (first, others) = counts.split_first()?;
    let (last, inner) = others.split_last()?;
    let delimiters = names.len().checked_sub(1).filter(|count| *count > 0)?;
    let is_row = at + first == delimiters && *last == at && inner.iter().all(|count| *count == delimiters);
    is_row.then(|| {
        format!(
            "column {:?} spans lines {} to {}, and each of them looks like a row of its own; check the quotes",
            names.get(at).map(String::as_str).unwrap_or_default(),
            record.line,
            record.last_line
        )
    })
}
