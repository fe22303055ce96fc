//! Applies the options to a line: which parts form the key, and which become which property. Pure.

use serde_json::{Map, Value};

use super::args::EnqueueArgs;
use crate::cli::outcome::{UsageError, unknown_property};
use crate::course::{Associations, CourseKey, Properties, is_property_name};
use crate::outbox::ops::enqueue::NewCourse;

/// The longest line, or CSV record, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The column or member that is the key if no other is named.
pub(super) const DEFAULT_KEY: &str = "course_key";

/// The lines of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct LineSpan {
    /// The line at which it begins, from 1.
    pub(super) first: u64,
    /// The line at which it ends.
    pub(super) last: u64,
}

impl LineSpan {
    /// A record of one line.
    pub(super) fn single(line: u64) -> Self {
        Self { first: line, last: line }
    }

    /// A reason to refuse the record. The report names its first line; where there are more, this adds the last one.
    pub(super) fn explain(self, reason: &str) -> String {
        if self.last > self.first {
            format!("{reason} (the record spans lines {} to {})", self.first, self.last)
        } else {
            reason.to_owned()
        }
    }
}

/// One record of the file, parsed.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedLine {
    pub(super) span: LineSpan,
    /// Its size in bytes.
    pub(super) size: usize,
    /// The course, or why the record is refused.
    pub(super) course: Result<KeyedCourse, LineError>,
    /// What is valid, but probably not meant.
    pub(super) warning: Option<String>,
}

/// A course, and what its key was made of.
#[derive(Debug, PartialEq)]
pub(super) struct KeyedCourse {
    pub(super) course: NewCourse,
    pub(super) key: JoinedKey,
}

/// A key made of one part or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JoinedKey {
    pub(super) text: String,
    pub(super) parts: Vec<String>,
    /// A part contains the separator, so other parts can have the same text.
    pub(super) is_ambiguous: bool,
}

impl JoinedKey {
    pub(super) fn single(text: String) -> Self {
        Self { parts: vec![text.clone()], text, is_ambiguous: false }
    }
}

/// Why a record is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineError {
    pub(super) key: Option<String>,
    pub(super) reason: String,
}

impl LineError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { key: None, reason: reason.into() }
    }

    pub(super) fn of(key: &str, reason: impl Into<String>) -> Self {
        Self { key: Some(key.to_owned()), reason: reason.into() }
    }
}

/// The parsed options.
#[derive(Debug)]
pub(super) struct EnqueuePlan {
    /// What each `--key` names: a column, or several. Empty for the default.
    pub(super) key: Vec<String>,
    separator: String,
    /// Column → property; empty if each column is sent under its own name.
    pub(super) map: Vec<(String, String)>,
    constants: Vec<(String, String)>,
    decode_entities: bool,
}

impl EnqueuePlan {
    /// Parses the options. Refuses pairs without `=`, and a property that is set twice.
    pub(super) fn new(args: &EnqueueArgs) -> Result<Self, UsageError> {
        let map = args
            .map
            .iter()
            // Split at the last `=`: the name of a column may contain `=`, that of a property cannot.
            .map(|text| parse_pair("--map", "COLUMN=PROPERTY", text, text.rsplit_once('=')))
            .collect::<Result<Vec<_>, _>>()?;
        let constants = args
            .set
            .iter()
            .map(|text| parse_pair("--set", "PROPERTY=VALUE", text, text.split_once('=')))
            .collect::<Result<Vec<_>, _>>()?;
        for (option, property) in map
            .iter()
            .map(|(_, property)| ("--map", property))
            .chain(constants.iter().map(|(property, _)| ("--set", property)))
        {
            if !is_property_name(property) {
                return Err(unknown_property(option, property));
            }
        }
        let mut given: Vec<_> =
            map.iter().map(|(_, property)| property).chain(constants.iter().map(|(name, _)| name)).collect();
        given.sort_unstable();
        if let Some(twice) = given.windows(2).find_map(|two| match two {
            [one, other] if one == other => Some(*one),
            _ => None,
        }) {
            return Err(UsageError(format!(
                "property {twice:?} is set twice by --map and --set; remove one"
            )));
        }
        if args.key.iter().any(|key| key.split(',').any(|name| name.trim().is_empty())) {
            return Err(UsageError("--key names an empty column".to_owned()));
        }
        Ok(Self {
            key: args.key.clone(),
            separator: args.key_separator.clone(),
            map,
            constants,
            decode_entities: args.decode_entities,
        })
    }

    /// Whether options select columns. They do not apply to lines in the nested form.
    pub(super) fn selects_columns(&self) -> bool {
        !self.key.is_empty() || !self.map.is_empty()
    }

    /// Whether every course gets this property from `--set`.
    pub(super) fn sets(&self, property: &str) -> bool {
        self.constants.iter().any(|(name, value)| name == property && !value.trim().is_empty())
    }

    /// Whether `--set` gives courses at least one property.
    pub(super) fn has_constants(&self) -> bool {
        !self.constants.is_empty()
    }

    /// Joins the parts of a key. `names` are the names of their columns.
    pub(super) fn join_key(&self, names: &[String], parts: Vec<String>) -> Result<JoinedKey, LineError> {
        match names.iter().zip(&parts).find(|(_, part)| part.trim().is_empty()) {
            Some((column, _)) => Err(LineError::new(format!("the key column {column:?} is empty"))),
            None => Ok(JoinedKey {
                text: parts.join(&self.separator),
                is_ambiguous: parts.len() > 1 && parts.iter().any(|part| part.contains(&self.separator)),
                parts,
            }),
        }
    }

    /// Makes the course: decodes entities, adds the constants, and checks it.
    pub(super) fn make_course(
        &self,
        key: JoinedKey,
        mut properties: Map<String, Value>,
        associations: Option<Value>,
        archived: Option<bool>,
    ) -> Result<KeyedCourse, LineError> {
        if self.decode_entities {
            for value in properties.values_mut() {
                if let Value::String(text) = value {
                    *text = htmlize::unescape(text.as_str()).into_owned();
                }
            }
        }
        let constants =
            self.constants.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        properties.extend(constants);
        let parsed = CourseKey::parse_new(key.text.as_str()).and_then(|key| {
            Ok(NewCourse {
                key,
                properties: Properties::parse(Value::Object(properties))?,
                associations: associations.map(Associations::parse_new).transpose()?,
                archived,
            })
        });
        match parsed {
            Ok(course) => Ok(KeyedCourse { course, key }),
            Err(invalid) => Err(LineError { key: Some(key.text), reason: invalid.to_string() }),
        }
    }
}

fn parse_pair(
    option: &str,
    form: &str,
    text: &str,
    halves: Option<(&str, &str)>,
) -> Result<(String, String), UsageError> {
    match halves {
        Some((left, right)) if !left.is_empty() && (option == "--set" || !right.is_empty()) => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(UsageError(format!("{option} {text:?} does not have the form {form}"))),
    }
}

#[cfg(test)]
mod tests;
