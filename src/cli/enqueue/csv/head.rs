//! The first records of a CSV file, before any course is added. Pure.

use super::scanner::{CsvRecord, Dialect, RecordScanner};
use crate::cli::enqueue::input::FileHead;

/// The largest number of records.
const MAX_RECORDS: usize = 1000;

/// The records at the beginning of the file, the header included.
pub(super) fn read_records(head: &FileHead, dialect: Dialect, has_separator_line: bool) -> Vec<CsvRecord> {
    let mut scanner = RecordScanner::new(head.text.as_slice(), dialect, head.lines.clone());
    if has_separator_line {
        scanner.skip_line().ok();
    }
    let records = std::iter::from_fn(|| scanner.next_record().ok().flatten());
    let mut records: Vec<_> = records.take(MAX_RECORDS).collect();
    // The last one may continue after the head.
    if !head.is_whole && records.len() < MAX_RECORDS {
        records.pop();
    }
    records
}

/// The names of the columns. White space around a name is no part of it.
pub(super) fn header_names(header: &CsvRecord) -> Vec<String> {
    header.cells().map(|cell| String::from_utf8_lossy(cell).trim().to_owned()).collect()
}
