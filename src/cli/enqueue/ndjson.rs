//! Courses out of NDJSON: one object a line, in the outbox's own shape or flat.
//!
//! May touch: the reader it is given. Blank lines are passed over; a line over the cap is refused
//! without being kept.

use std::io::{self, BufRead, Read};

use serde_json::{Map, Value};

use super::MAX_LINE_BYTES;
use super::plan::{DEFAULT_KEY, Parsed, Plan, Refused};
use crate::outbox::enqueue::NewCourse;

const PROPERTIES: &str = "properties";
const ASSOCIATIONS: &str = "associations";

/// The lines of a file, each a course or the reason why not.
pub(super) struct Records<'p> {
    reader: Box<dyn BufRead>,
    plan: &'p Plan,
    line: u64,
}

impl<'p> Records<'p> {
    pub(super) fn new(reader: Box<dyn BufRead>, plan: &'p Plan) -> Self {
        Self { reader, plan, line: 0 }
    }

    /// The next line, without its end; `None` at the end of the file.
    fn read_line(&mut self) -> io::Result<Option<Result<Vec<u8>, Refused>>> {
        let mut line = Vec::new();
        let cap = MAX_LINE_BYTES as u64 + 1;
        if self.reader.by_ref().take(cap).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        self.line += 1;
        if line.last() != Some(&b'\n') && line.len() > MAX_LINE_BYTES {
            self.reader.skip_until(b'\n')?;
            return Ok(Some(Err(Refused::new(format!("the line is longer than {MAX_LINE_BYTES} bytes")))));
        }
        Ok(Some(Ok(line)))
    }
}

impl Iterator for Records<'_> {
    type Item = io::Result<Parsed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (size, course) = match self.read_line() {
                Err(error) => return Some(Err(error)),
                Ok(None) => return None,
                Ok(Some(Err(refused))) => (0, Err(refused)),
                Ok(Some(Ok(line))) if line.trim_ascii().is_empty() => continue,
                Ok(Some(Ok(line))) => (line.len(), course(self.plan, &line)),
            };
            return Some(Ok(Parsed { line: self.line, size, course }));
        }
    }
}

fn course(plan: &Plan, line: &[u8]) -> Result<NewCourse, Refused> {
    let text = str::from_utf8(line).map_err(|_| {
        Refused::new("the line is not UTF-8; if the file is in Latin-1 or Windows-1252, save it as UTF-8")
    })?;
    let value: Value = serde_json::from_str(text).map_err(|error| {
        // The parser sees one line only; its number would be wrong.
        Refused::new(format!("not JSON: {}", error.to_string().replace(" at line 1 column ", " at column ")))
    })?;
    let Value::Object(mut members) = value else {
        return Err(Refused::new("not a JSON object"));
    };
    let associations = members.remove(ASSOCIATIONS).unwrap_or_else(|| Value::Array(Vec::new()));
    match (members.contains_key(DEFAULT_KEY), members.remove(PROPERTIES)) {
        (true, Some(Value::Object(properties))) => own_shape(plan, members, properties, associations),
        (_, Some(other)) => {
            members.insert(PROPERTIES.to_owned(), other);
            flat(plan, members, associations)
        }
        (_, None) => flat(plan, members, associations),
    }
}

fn own_shape(
    plan: &Plan,
    mut members: Map<String, Value>,
    properties: Map<String, Value>,
    associations: Value,
) -> Result<NewCourse, Refused> {
    let key = key_text(DEFAULT_KEY, members.remove(DEFAULT_KEY))?;
    if let Some(unknown) = members.keys().next() {
        return Err(Refused {
            key: Some(key),
            reason: format!("{unknown:?} stands beside {PROPERTIES:?}; only {ASSOCIATIONS:?} may"),
        });
    }
    plan.course(key, properties, associations)
}

fn flat(plan: &Plan, mut members: Map<String, Value>, associations: Value) -> Result<NewCourse, Refused> {
    let parts = plan
        .key_columns()
        .map(|name| key_text(name, members.get(name).cloned()))
        .collect::<Result<Vec<_>, _>>()?;
    let key = plan.key(&parts)?;
    let properties = if plan.map.is_empty() {
        members.remove(DEFAULT_KEY);
        members
    } else {
        let value =
            |(column, property): &(String, String)| Some((property.clone(), members.get(column)?.clone()));
        plan.map.iter().filter_map(value).collect()
    };
    plan.course(key, properties, associations)
}

fn key_text(name: &str, value: Option<Value>) -> Result<String, Refused> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => {
            Err(Refused::new(format!("{name:?}, a part of the key, is neither a string nor a number")))
        }
        None => Err(Refused::new(format!("there is no {name:?}, a part of the key (see --key)"))),
    }
}
