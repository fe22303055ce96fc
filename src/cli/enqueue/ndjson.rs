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

    /// The next line that is not blank, without its end, and its number; `None` at the end of the file.
    fn read_line(&mut self) -> io::Result<Option<(u64, Result<Vec<u8>, LineError>)>> {
        let mut line = Vec::new();
        let mut number = self.lines.line();
        let mut size = 0;
        loop {
            let buffer = match self.reader.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let is_last = buffer.is_empty();
            let end = memchr::memchr(self.lines.ends().byte(), buffer);
            let part = buffer.get(..end.unwrap_or(buffer.len())).unwrap_or_default();
            if size + part.len() <= MAX_LINE_BYTES {
                line.extend_from_slice(part);
            }
            size += part.len();
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                self.lines.advance(self.lines.ends().byte());
            }
            if end.is_none() && !is_last {
                continue;
            }
            if size > MAX_LINE_BYTES {
                let reason = format!("the line is longer than {MAX_LINE_BYTES} bytes");
                return Ok(Some((number, Err(LineError::new(reason)))));
            }
            if !line.trim_ascii().is_empty() {
                return Ok(Some((number, Ok(line))));
            }
            if is_last {
                return Ok(None);
            }
            line.clear();
            size = 0;
            number = self.lines.line();
        }
    }
}

impl Iterator for NdjsonRecords<'_> {
    type Item = io::Result<ParsedLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let (line, text) = match self.read_line() {
            Ok(line) => line?,
            Err(error) => return Some(Err(error)),
        };
        let size = text.as_ref().map(Vec::len).unwrap_or_default();
        let course = text.and_then(|text| parse_course(self.plan, self.encoding, &mut self.members, &text));
        Some(Ok(ParsedLine { span: LineSpan::single(line), size, course, warning: None }))
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
