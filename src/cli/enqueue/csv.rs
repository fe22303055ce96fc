//! Courses out of CSV: a header row, then one record a course.
//!
//! May touch: the reader it is given. A record is capped, so that one quote left open cannot draw
//! the rest of a large file into memory.

use std::cell::Cell;
use std::io::{self, BufRead, ErrorKind, Read};
use std::rc::Rc;

use csv::{ByteRecord, ReaderBuilder};
use serde_json::{Map, Value};

use super::MAX_LINE_BYTES;
use super::plan::{Columns, Parsed, Plan, Refused, listed};
use crate::cli::UsageError;

/// The records of a file, each a course or the reason why not.
pub(super) struct Records<'p> {
    reader: csv::Reader<Capped<Box<dyn BufRead>>>,
    left: Rc<Cell<usize>>,
    plan: &'p Plan,
    columns: Columns,
    is_over: bool,
}

impl<'p> Records<'p> {
    /// Reads the header and finds the plan's columns in it.
    pub(super) fn open(reader: Box<dyn BufRead>, delimiter: u8, plan: &'p Plan) -> anyhow::Result<Self> {
        let left = Rc::new(Cell::new(MAX_LINE_BYTES));
        let capped = Capped { inner: reader, left: Rc::clone(&left) };
        let mut reader =
            ReaderBuilder::new().delimiter(delimiter).has_headers(false).flexible(true).from_reader(capped);
        let mut record = ByteRecord::new();
        let header = match reader.read_byte_record(&mut record) {
            Ok(true) => {
                texts(&record).map_err(|refused| UsageError(format!("the header: {}", refused.reason)))?
            }
            Ok(false) => {
                return Err(UsageError("the file is empty; CSV needs a header row".to_owned()).into());
            }
            Err(error) => match too_long(error) {
                Ok(refused) => return Err(UsageError(format!("the header: {}", refused.reason)).into()),
                Err(error) => return Err(anyhow::Error::new(error).context("the file could not be read")),
            },
        };
        let columns = Columns::resolve(plan, &header)?;
        Ok(Self { reader, left, plan, columns, is_over: false })
    }

    /// What a person should know before the records.
    pub(super) fn note(&self) -> Option<String> {
        let left_out = &self.columns.left_out;
        (!left_out.is_empty()).then(|| {
            format!("left out, being no names of HubSpot properties (see --map): {}", listed(left_out))
        })
    }

    fn course(&self, record: &ByteRecord) -> Result<crate::outbox::enqueue::NewCourse, Refused> {
        let cells = texts(record)?;
        let cell = |at: usize| cells.get(at).cloned().unwrap_or_default();
        if cells.len() != self.columns.width {
            return Err(Refused::new(format!(
                "{} cells where the header has {}; a cell with the delimiter in it needs quotes",
                cells.len(),
                self.columns.width
            )));
        }
        let parts: Vec<_> = self.columns.key.iter().map(|at| cell(*at)).collect();
        let key = self.plan.key(&parts)?;
        let filled = self.columns.properties.iter().map(|(at, property)| (property.clone(), cell(*at)));
        let properties: Map<_, _> = filled
            .filter(|(_, text)| !text.trim().is_empty())
            .map(|(property, text)| (property, Value::String(text)))
            .collect();
        self.plan.course(key, properties, Value::Array(Vec::new()))
    }
}

impl Iterator for Records<'_> {
    type Item = io::Result<Parsed>;

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
                Parsed {
                    line: place.line(),
                    size: usize::try_from(size).unwrap_or(usize::MAX),
                    course: self.course(&record),
                }
            }
            Err(error) => {
                self.is_over = true;
                match too_long(error) {
                    Ok(refused) => Parsed { line: start.line(), size: 0, course: Err(refused) },
                    Err(error) => return Some(Err(error)),
                }
            }
        };
        Some(Ok(parsed))
    }
}

/// The cells as text.
fn texts(record: &ByteRecord) -> Result<Vec<String>, Refused> {
    let cell = |bytes: &[u8]| {
        str::from_utf8(bytes).map(str::to_owned).map_err(|_| {
            let shown: String = String::from_utf8_lossy(bytes).chars().take(40).collect();
            Refused::new(format!(
                "{shown:?} is not UTF-8; if the file is in Latin-1 or Windows-1252, save it as UTF-8"
            ))
        })
    };
    record.iter().map(cell).collect()
}

/// The refusal of an over-long record, or the reader's own error.
fn too_long(error: csv::Error) -> Result<Refused, io::Error> {
    let text = error.to_string();
    // The conversion that csv offers would hide the kind.
    let csv::ErrorKind::Io(error) = error.into_kind() else { return Err(io::Error::other(text)) };
    if error.kind() == ErrorKind::FileTooLarge {
        Ok(Refused::new(format!(
            "a record of more than {MAX_LINE_BYTES} bytes begins here; is a quote left open? Nothing after it was read"
        )))
    } else {
        Err(error)
    }
}

/// A reader that fails once as many bytes were read as `left` says; `left` is renewed for each record.
struct Capped<R> {
    inner: R,
    left: Rc<Cell<usize>>,
}

impl<R: Read> Read for Capped<R> {
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
