//! Reads courses from NDJSON: one object per line, with nested or with flat properties.
//!
//! May touch: the reader it is given. Blank lines are skipped; a line over the size limit is refused without being
//! read into memory.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use super::plan::{DEFAULT_KEY, EnqueuePlan, LineError, MAX_LINE_BYTES, ParsedLine};
use crate::outbox::ops::enqueue::NewCourse;

const PROPERTIES: &str = "properties";
const ASSOCIATIONS: &str = "associations";
const ARCHIVED: &str = "archived";

/// The lines of a file, each a course or the reason why it is refused.
pub(super) struct NdjsonRecords<'p> {
    reader: Box<dyn BufRead>,
    plan: &'p EnqueuePlan,
    line: u64,
}

impl<'p> NdjsonRecords<'p> {
    pub(super) fn new(reader: Box<dyn BufRead>, plan: &'p EnqueuePlan) -> Self {
        Self { reader, plan, line: 0 }
    }

    /// The next line, without its end; `None` at the end of the file.
    fn read_line(&mut self) -> io::Result<Option<Result<Vec<u8>, LineError>>> {
        let mut line = Vec::new();
        let cap = MAX_LINE_BYTES as u64 + 1;
        if self.reader.by_ref().take(cap).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() != Some(&b'\n') && line.len() > MAX_LINE_BYTES {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Err(LineError::new(format!("the line is longer than {MAX_LINE_BYTES} bytes")))));
        }
        Ok(Some(Ok(line)))
    }
}

impl Iterator for NdjsonRecords<'_> {
    type Item = io::Result<ParsedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (size, course) = match self.read_line() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some(Err(refused))) => (0, Err(refused)),
                Ok(Some(Ok(line))) if line.trim_ascii().is_empty() => continue,
                Ok(Some(Ok(line))) => (line.len(), parse_course(self.plan, &line)),
            };
            return Some(Ok(ParsedLine { line: self.line, size, course }));
        }
    }
}

fn parse_course(plan: &EnqueuePlan, line: &[u8]) -> Result<NewCourse, LineError> {
    let text = str::from_utf8(line).map_err(|_| {
        LineError::new("the line is not UTF-8; if the file is in Latin-1 or Windows-1252, save it as UTF-8")
    })?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // The parser sees one line only; its number would be wrong.
        LineError::new(format!(
            "not JSON: {}",
            error.to_string().replace(" at line 1 column ", " at column ")
        ))
    })?;
    let Value::Object(mut members) = value else {
        return Err(LineError::new("not a JSON object"));
    };
    let associations = members.remove(ASSOCIATIONS);
    match (members.contains_key(DEFAULT_KEY), members.remove(PROPERTIES)) {
        (true, Some(Value::Object(properties))) => parse_nested(plan, members, properties, associations),
        (_, Some(other)) => {
            members.insert(PROPERTIES.to_owned(), other);
            parse_flat(plan, members, associations)
        }
        (_, None) => parse_flat(plan, members, associations),
    }
}

fn parse_nested(
    plan: &EnqueuePlan,
    mut members: Map<String, Value>,
    properties: Map<String, Value>,
    associations: Option<Value>,
) -> Result<NewCourse, LineError> {
    let key = key_as_text(DEFAULT_KEY, members.remove(DEFAULT_KEY))?;
    let archived = match members.remove(ARCHIVED) {
        None => None,
        Some(Value::Bool(archived)) => Some(archived),
        Some(_) => {
            let reason = format!("the member {ARCHIVED:?} is neither true nor false");
            return Err(LineError { key: Some(key), reason });
        }
    };
    if let Some(unknown) = members.keys().next() {
        return Err(LineError {
            key: Some(key),
            reason: format!(
                "unknown member {unknown:?}; with {PROPERTIES:?}, only {DEFAULT_KEY:?}, {ASSOCIATIONS:?} and {ARCHIVED:?} are \
                 allowed"
            ),
        });
    }
    plan.make_course(key, properties, associations).map(|course| NewCourse { archived, ..course })
}

fn parse_flat(
    plan: &EnqueuePlan,
    mut members: Map<String, Value>,
    associations: Option<Value>,
) -> Result<NewCourse, LineError> {
    let parts = plan
        .key_columns()
        .map(|name| key_as_text(name, members.get(name).cloned()))
        .collect::<Result<Vec<_>, _>>()?;
    let key = plan.join_key(&parts)?;
    let properties = if plan.map.is_empty() {
        members.remove(DEFAULT_KEY);
        members
    } else {
        let value =
            |(column, property): &(String, String)| Some((property.clone(), members.get(column)?.clone()));
        plan.map.iter().filter_map(value).collect()
    };
    plan.make_course(key, properties, associations)
}

fn key_as_text(name: &str, value: Option<Value>) -> Result<String, LineError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(LineError::new(format!("the key member {name:?} is neither a string nor a number"))),
        None => Err(LineError::new(format!("the key member {name:?} is missing (see --key)"))),
    }
}
