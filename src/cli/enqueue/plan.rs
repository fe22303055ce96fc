//! Applies the options to a line: which columns form the key, and which become which property. Pure.

use serde_json::{Map, Value};

use super::args::EnqueueArgs;
use crate::cli::outcome::UsageError;
use crate::course::{Associations, CourseKey, Properties};
use crate::outbox::ops::enqueue::NewCourse;

/// The longest line, or CSV record, in bytes.
pub(super) const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The column or member that is the key if no other is named.
pub(super) const DEFAULT_KEY: &str = "course_key";
/// The largest number of columns.
const MAX_COLUMNS: usize = 1000;
/// How similar a name must be to be suggested (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.75;

/// One line of the file, parsed.
#[derive(Debug, PartialEq)]
pub(super) struct ParsedLine {
    /// The line at which it begins, from 1.
    pub(super) line: u64,
    /// Its size in bytes.
    pub(super) size: usize,
    /// The course, or why the line is refused.
    pub(super) course: Result<NewCourse, LineError>,
}

/// Why a line is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct LineError {
    pub(super) key: Option<String>,
    pub(super) reason: String,
}

impl LineError {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { key: None, reason: reason.into() }
    }
}

/// The parsed options.
#[derive(Debug)]
pub(super) struct EnqueuePlan {
    /// Columns of the key; empty for the default.
    key: Vec<String>,
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
        if args.key.iter().any(String::is_empty) {
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

    /// The names of the key's columns.
    pub(super) fn key_columns(&self) -> impl Iterator<Item = &str> {
        let default = self.key.is_empty().then_some(DEFAULT_KEY);
        self.key.iter().map(String::as_str).chain(default)
    }

    /// Joins the parts of a key, in the order of [`key_columns`](Self::key_columns).
    pub(super) fn join_key(&self, parts: &[String]) -> Result<String, LineError> {
        match self.key_columns().zip(parts).find(|(_, part)| part.trim().is_empty()) {
            Some((column, _)) => Err(LineError::new(format!("the key column {column:?} is empty"))),
            None => Ok(parts.join(&self.separator)),
        }
    }

    /// Makes the course: decodes entities, adds the constants, and checks it.
    pub(super) fn make_course(
        &self,
        key: String,
        mut properties: Map<String, Value>,
        associations: Option<Value>,
    ) -> Result<NewCourse, LineError> {
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
        let parsed = CourseKey::parse_new(key.as_str()).and_then(|key| {
            Ok(NewCourse {
                key,
                properties: Properties::parse(Value::Object(properties))?,
                associations: associations.map(Associations::parse_new).transpose()?,
                archived: None,
            })
        });
        parsed.map_err(|invalid| LineError { key: Some(key), reason: invalid.to_string() })
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

/// A plan applied to a CSV header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvColumns {
    /// The number of cells in a row.
    pub(super) width: usize,
    /// The positions of the key columns.
    pub(super) key: Vec<usize>,
    /// The positions of the columns that are sent, with their properties.
    pub(super) properties: Vec<(usize, String)>,
    /// Columns that are not sent, because their names are not valid property names.
    pub(super) ignored: Vec<String>,
}

impl CsvColumns {
    /// Finds the columns of the plan in the header.
    pub(super) fn find_in(plan: &EnqueuePlan, header: &[String]) -> Result<Self, UsageError> {
        if header.len() > MAX_COLUMNS {
            return Err(UsageError(format!(
                "the header has {} columns, the limit is {MAX_COLUMNS}; check --delimiter",
                header.len()
            )));
        }
        let key =
            plan.key_columns().map(|name| find_column(header, name, "--key")).collect::<Result<_, _>>()?;
        let (properties, ignored) = if plan.map.is_empty() {
            columns_by_own_name(header)?
        } else {
            let mapped = plan.map.iter().map(|(column, property)| {
                find_column(header, column, "--map").map(|at| (at, property.clone()))
            });
            (mapped.collect::<Result<_, _>>()?, Vec::new())
        };
        if properties.is_empty() && plan.constants.is_empty() {
            return Err(UsageError(format!(
                "no column name is a valid HubSpot property name; choose columns with --map COLUMN=PROPERTY. \
                 The columns are {}",
                list_names(header)
            )));
        }
        Ok(Self { width: header.len(), key, properties, ignored })
    }
}

type SentAndIgnored = (Vec<(usize, String)>, Vec<String>);

fn columns_by_own_name(header: &[String]) -> Result<SentAndIgnored, UsageError> {
    let (mut properties, mut ignored) = (Vec::new(), Vec::new());
    for name in header.iter().filter(|name| *name != DEFAULT_KEY) {
        if is_property_name(name) {
            properties.push((find_column(header, name, "--map")?, name.clone()));
        } else {
            ignored.push(name.clone());
        }
    }
    Ok((properties, ignored))
}

/// Whether HubSpot accepts the name for a property.
fn is_property_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn find_column(header: &[String], name: &str, option: &str) -> Result<usize, UsageError> {
    let mut places = header.iter().enumerate().filter(|(_, column)| *column == name).map(|(at, _)| at);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(UsageError(format!(
            "the header has column {name:?} twice; rename one, or choose columns with --map"
        ))),
        (None, _) => {
            let option =
                if option == "--key" && name == DEFAULT_KEY { "the key (see --key)" } else { option };
            Err(UsageError(match find_similar(header, name) {
                Some(similar) => {
                    format!("there is no column {name:?} for {option}; did you mean {similar:?}?")
                }
                None => {
                    format!(
                        "there is no column {name:?} for {option}; the columns are {}",
                        list_names(header)
                    )
                }
            }))
        }
    }
}

fn find_similar<'h>(header: &'h [String], name: &str) -> Option<&'h str> {
    let wanted = name.to_lowercase();
    header
        .iter()
        .map(|column| (strsim::jaro_winkler(&column.to_lowercase(), &wanted), column.as_str()))
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, column)| column)
}

/// Lists names for a message; of many names only the first ones.
pub(super) fn list_names(names: &[String]) -> String {
    const SHOWN: usize = 30;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
