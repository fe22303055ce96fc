//! Reads courses from CSV: a header row, then one record per course.
//!
//! May touch: the reader it is given. The size of a record is limited, so that a missing closing quote does not cause
//! the rest of a large file to be read into memory.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, Read};
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::plan::{CsvColumns, EnqueuePlan, LineError, MAX_LINE_BYTES, ParsedLine, list_names};
use crate::cli::outcome::UsageError;

/// The records of a file, each a course or the reason why it is refused.
pub(super) struct CsvRecords<'p> {
    reader: csv::Reader<LimitedReader<Box<dyn BufRead>>>,
    left: Rc<Cell<usize>>,
    plan: &'p EnqueuePlan,
    columns: CsvColumns,
    is_over: bool,
}

impl<'p> CsvRecords<'p> {
    /// Reads the header and finds the plan's columns in it.
    pub(super) fn open(
        reader: Box<dyn BufRead>,
        delimiter: u8,
        plan: &'p EnqueuePlan,
    ) -> anyhow::Result<Self> {
        let left = Rc::new(Cell::new(MAX_LINE_BYTES));
        let limited = LimitedReader { inner: reader, left: Rc::clone(&left) };
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(limited);
        let mut record = ByteRecord::new();
        let header = match reader.read_byte_record(&mut record) {
            Ok(true) => cells_as_text(&record)
                .map_err(|refused| UsageError(format!("the header row: {}", refused.reason)))?,
            Ok(false) => {
                return Err(UsageError("the file is empty; CSV needs a header row".to_owned()).into());
            }
            Err(error) => match record_too_long(error) {
                Ok(refused) => return Err(UsageError(format!("the header row: {}", refused.reason)).into()),
                Err(error) => return Err(anyhow::Error::new(error).context("failed to read the file")),
            },
        };
        let columns = CsvColumns::find_in(plan, &header)?;
        Ok(Self { reader, left, plan, columns, is_over: false })
    }

    /// A note about columns that are not sent.
    pub(super) fn ignored_columns_note(&self) -> Option<String> {
        let ignored = &self.columns.ignored;
        (!ignored.is_empty()).then(|| {
            format!(
                "columns not sent, because their names are not valid HubSpot property names (see --map): {}",
                list_names(ignored)
            )
        })
    }

    fn parse_course(&self, record: &ByteRecord) -> Result<crate::outbox::ops::enqueue::NewCourse, LineError> {
        let cells = cells_as_text(record)?;
        if cells.len() != self.columns.width {
            return Err(LineError::new(format!(
                "the row has {} cells and the header has {}; quote cells that contain the delimiter",
                cells.len(),
                self.columns.width
            )));
        }
        let parts: Vec<_> = self.columns.key.iter().map(|at| cell_at(&cells, *at)).collect();
        let key = self.plan.join_key(&parts)?;
        let filled =
            self.columns.properties.iter().map(|(at, property)| (property.clone(), cell_at(&cells, *at)));
        let properties: Map<_, _> = filled
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(property, text)| (property, Value::String(text)))
            .collect();
        self.plan.make_course(key, properties, None)
    }
}

impl Iterator for CsvRecords<'_> {
    type Item = io::Result<ParsedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over {
            return None;
        }
        let start = self.reader.position().clone();
        self.left.set(MAX_LINE_BYTES);
        let mut record = ByteRecord::new();
        let parsed = match self.reader.read_byte_record(&mut record) {
            Ok(false) => return None,
            Ok(true) => {
                let place = record.position().unwrap_or(&start);
                let size = self.reader.position().byte().saturating_sub(place.byte());
                ParsedLine {
                    line: place.line(),
                    size: usize::try_from(size).unwrap_or(usize::MAX),
                    course: self.parse_course(&record),
                }
            }
            Err(error) => {
                self.is_over = true;
                match record_too_long(error) {
                    Ok(refused) => ParsedLine { line: start.line(), size: 0, course: Err(refused) },
                    Err(error) => return Some(Err(error)),
                }
            }
        };
        Some(Ok(parsed))
    }
}

/// The cells as text.
fn cells_as_text(record: &ByteRecord) -> Result<Vec<String>, LineError> {
    record.iter().map(cell_as_text).collect()
}

fn cell_as_text(bytes: &[u8]) -> Result<String, LineError> {
    str::from_utf8(bytes).map(str::to_owned).map_err(|_| {
        let shown: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
        LineError::new(format!(
            "{shown:?} is not UTF-8; if the file is in Latin-1 or Windows-1252, save it as UTF-8"
        ))
    })
}

/// The text of this cell, empty if the row has fewer cells.
fn cell_at(cells: &[String], at: usize) -> String {
    cells.get(at).cloned().unwrap_or_default()
}

/// The refusal of an over-long record, or the reader's own error.
fn record_too_long(error: csv::Error) -> Result<LineError, io::Error> {
    let text = error.to_string();
    // The conversion that csv offers would hide the kind.
    let csv::ErrorKind::Io(error) = error.into_kind() else { return Err(io::Error::other(text)) };
    if error.kind() == ErrorKind::FileTooLarge {
        Ok(LineError::new(format!(
            "the record that starts here is longer than {MAX_LINE_BYTES} bytes; is a quote left open? The rest of the \
             file was not read"
        )))
    } else {
        Err(error)
    }
}

/// A reader that fails after `left` bytes; `left` is reset for each record.
struct LimitedReader<R> {
    inner: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for LimitedReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.get() == 0 {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let length = buffer.len().min(self.left.get());
        let read = self.inner.read(buffer.get_mut(..length).unwrap_or_default())?;
        self.left.set(self.left.get().saturating_sub(read));
        Ok(read)
    }
}
