//! Reads courses from NDJSON: one object per line, with nested or with flat properties.
//!
//! May touch: the reader it is given. Blank lines are skipped; a line over the size limit is refused without being
//! read into memory.

mod sample;

use std::io::{self, BufRead, ErrorKind};

use serde_json::{Map, Value};

use self::sample::Members;
use super::encoding::SourceEncoding;
use super::input::FileHead;
use super::lines::LineCounter;
use super::plan::{
    DEFAULT_KEY, EnqueuePlan, JoinedKey, KeyedCourse, LineError, LineSpan, MAX_LINE_BYTES, ParsedLine,
};
use crate::cli::outcome::UsageError;

const PROPERTIES: &str = "properties";
const ASSOCIATIONS: &str = "associations";
const ARCHIVED: &str = "archived";

/// The lines of a file, each a course or the reason why it is refused.
pub(super) struct NdjsonRecords<'p> {
    reader: Box<dyn BufRead>,
    encoding: SourceEncoding,
    plan: &'p EnqueuePlan,
    members: Members,
    lines: LineCounter,
}

impl<'p> NdjsonRecords<'p> {
    /// Examines the first lines.
    ///
    /// # Errors
    /// If they show that the file is no NDJSON, or has not the members of the plan.
    pub(super) fn open(
        reader: Box<dyn BufRead>,
        head: &FileHead,
        encoding: SourceEncoding,
        plan: &'p EnqueuePlan,
    ) -> Result<Self, UsageError> {
        let members = sample::check(head, encoding, plan)?;
        Ok(Self { reader, encoding, plan, members, lines: head.lines.clone() })
    }

    /// How the file is read, for the report.
    pub(super) fn description(&self) -> String {
        format!("NDJSON in {}", self.encoding.name())
    }

    /// Whether a course among the first lines has a name.
    pub(super) fn sends_names(&self) -> bool {
        self.members.sends_names
    }

    /// The members that `--map` names and that no line had so far.
    pub(super) fn missing_members(&self) -> Vec<String> {
        self.members.missing(self.plan)
    }

    /// The next line that is not blank; `None` at the end of the file.
    fn read_line(&mut self) -> io::Result<Option<RawLine>> {
        let mut line = RawLine::at(self.lines.line());
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let is_last = buffer.is_empty();
            let end = memchr::memchr(self.lines.ends().byte(), buffer);
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            line.push(part);
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                self.lines.advance(self.lines.ends().byte());
            } else if !is_last {
                continue;
            }
            match (line.is_blank(), is_last) {
                (false, _) => return Ok(Some(line)),
                (true, true) => return Ok(None),
                (true, false) => line = RawLine::at(self.lines.line()),
            }
        }
    }
}

/// A line, without its end.
struct RawLine {
    number: u64,
    size: usize,
    /// As far as the line is within the limit.
    text: Vec<u8>,
}

impl RawLine {
    fn at(number: u64) -> Self {
        Self { number, size: 0, text: Vec::new() }
    }

    fn push(&mut self, part: &[u8]) {
        self.size += part.len();
        if self.size <= MAX_LINE_BYTES {
            self.text.extend_from_slice(part);
        }
    }

    fn is_blank(&self) -> bool {
        self.size <= MAX_LINE_BYTES && self.text.trim_ascii().is_empty()
    }
}

impl Iterator for NdjsonRecords<'_> {
    type Item = io::Result<ParsedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let line = match self.read_line() {
            Ok(line) => line?,
            Err(error) => return Some(Err(error)),
        };
        let course = if line.size > MAX_LINE_BYTES {
            Err(LineError::new(format!("the line is longer than {MAX_LINE_BYTES} bytes")))
        } else {
            parse_course(self.plan, self.encoding, &mut self.members, &line.text)
        };
        let span = LineSpan::single(line.number);
        Some(Ok(ParsedLine { span, size: line.text.len(), course, warning: None }))
    }
}

fn parse_course(
    plan: &EnqueuePlan,
    encoding: SourceEncoding,
    members: &mut Members,
    line: &[u8],
) -> Result<KeyedCourse, LineError> {
    let text = String::from_utf8_lossy(line);
    let keyed = match parse_object(&text)? {
        ObjectForm::Nested { members, properties } => parse_nested(plan, members, properties)?,
        ObjectForm::Flat(object) => {
            members.note(plan, &object);
            parse_flat(plan, members.key_names(), object)?
        }
    };
    // Bytes that are not valid matter only in what is sent.
    let course = &keyed.course;
    let is_replaced = |value: &str| value.contains(char::REPLACEMENT_CHARACTER);
    if matches!(text, std::borrow::Cow::Owned(_))
        && let Err(why) = encoding.decode(line)
        && (is_replaced(course.key.as_str()) || is_replaced(&course.properties.to_json().to_string()))
    {
        return Err(LineError::new(why));
    }
    Ok(keyed)
}

/// A line that holds an object.
pub(super) enum ObjectForm {
    /// The properties are in a member of their own.
    Nested { members: Map<String, Value>, properties: Map<String, Value> },
    /// The members are the properties.
    Flat(Map<String, Value>),
}

fn parse_object(text: &str) -> Result<ObjectForm, LineError> {
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
    Ok(match (members.contains_key(DEFAULT_KEY), members.remove(PROPERTIES)) {
        (true, Some(Value::Object(properties))) => ObjectForm::Nested { members, properties },
        (_, Some(other)) => {
            members.insert(PROPERTIES.to_owned(), other);
            ObjectForm::Flat(members)
        }
        (_, None) => ObjectForm::Flat(members),
    })
}

fn parse_nested(
    plan: &EnqueuePlan,
    mut members: Map<String, Value>,
    properties: Map<String, Value>,
) -> Result<KeyedCourse, LineError> {
    let key = key_as_text(DEFAULT_KEY, members.remove(DEFAULT_KEY))?;
    if plan.selects_columns() {
        return Err(LineError::of(
            &key,
            format!("the line has {PROPERTIES:?}; --key and --map apply only to lines without it"),
        ));
    }
    let associations = members.remove(ASSOCIATIONS);
    let archived = match members.remove(ARCHIVED) {
        None => None,
        Some(Value::Bool(archived)) => Some(archived),
        Some(_) => {
            let reason = format!("the member {ARCHIVED:?} is neither true nor false");
            return Err(LineError::of(&key, reason));
        }
    };
    if let Some(unknown) = members.keys().next() {
        let reason = format!(
            "unknown member {unknown:?}; with {PROPERTIES:?}, only {DEFAULT_KEY:?}, {ASSOCIATIONS:?} and {ARCHIVED:?} are \
             allowed"
        );
        return Err(LineError::of(&key, reason));
    }
    plan.make_course(JoinedKey::single(key), properties, associations, archived)
}

fn parse_flat(
    plan: &EnqueuePlan,
    key_names: &[String],
    mut members: Map<String, Value>,
) -> Result<KeyedCourse, LineError> {
    let associations = members.remove(ASSOCIATIONS);
    let parts = key_names
        .iter()
        .map(|name| key_as_text(name, members.get(name).cloned()))
        .collect::<Result<Vec<_>, _>>()?;
    let key = plan.join_key(key_names, parts)?;
    let properties = if plan.map.is_empty() {
        members.remove(DEFAULT_KEY);
        members
    } else {
        let value = |(column, property): &(String, String)| {
            Some((property.clone(), members.get(column.trim())?.clone()))
        };
        plan.map.iter().filter_map(value).collect()
    };
    plan.make_course(key, properties, associations, None)
}

fn key_as_text(name: &str, value: Option<Value>) -> Result<String, LineError> {
    match value {
        Some(Value::String(text)) => Ok(text),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(LineError::new(format!("the key member {name:?} is neither a string nor a number"))),
        None => Err(LineError::new(format!("the key member {name:?} is missing (see --key)"))),
    }
}

#[cfg(test)]
mod tests;
