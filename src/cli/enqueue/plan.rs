//! What the options make of a line: which columns are the key, which become which property.
//!
//! Pure: no I/O.

use serde_json::{Map, Value};

use super::Args;
use crate::cli::UsageError;
use crate::course::{Associations, CourseKey, Properties};
use crate::outbox::enqueue::NewCourse;

/// The column or member that is the key where no other is named.
pub(super) const DEFAULT_KEY: &str = "course_key";
/// More columns than any catalogue has.
const MAX_COLUMNS: usize = 1000;
/// How alike a name must be to be offered instead of an unknown one (Jaro-Winkler).
const ALIKE: f64 = 0.75;

/// One line, read.
#[derive(Debug, PartialEq)]
pub(super) struct Parsed {
    /// Where it begins, from 1.
    pub(super) line: u64,
    /// Its bytes in the file.
    pub(super) size: usize,
    /// What it holds.
    pub(super) course: Result<NewCourse, Refused>,
}

/// Why a line is no course.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) key: Option<String>,
    pub(super) reason: String,
}

impl Refused {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { key: None, reason: reason.into() }
    }
}

/// The options, taken apart.
#[derive(Debug)]
pub(super) struct Plan {
    /// Columns of the key; empty: the default one.
    key: Vec<String>,
    separator: String,
    /// Column → property; empty: each as itself.
    pub(super) map: Vec<(String, String)>,
    constants: Vec<(String, String)>,
    decode_entities: bool,
}

impl Plan {
    /// Refuses pairs without `=` and a property that is given twice.
    pub(super) fn new(args: &Args) -> Result<Self, UsageError> {
        let map = args
            .map
            .iter()
            // At the last `=`: a column's name may hold one, a property's cannot.
            .map(|text| pair("--map", "COLUMN=PROPERTY", text, text.rsplit_once('=')))
            .collect::<Result<Vec<_>, _>>()?;
        let constants = args
            .set
            .iter()
            .map(|text| pair("--set", "PROPERTY=VALUE", text, text.split_once('=')))
            .collect::<Result<Vec<_>, _>>()?;
        let mut given: Vec<_> =
            map.iter().map(|(_, property)| property).chain(constants.iter().map(|(name, _)| name)).collect();
        given.sort_unstable();
        if let Some(twice) = given.windows(2).find_map(|two| match two {
            [one, other] if one == other => Some(*one),
            _ => None,
        }) {
            return Err(UsageError(format!(
                "property {twice:?} is given twice by --map and --set; keep one"
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

    /// The key made of its parts, in the order of [`key_columns`](Self::key_columns).
    pub(super) fn key(&self, parts: &[String]) -> Result<String, Refused> {
        match self.key_columns().zip(parts).find(|(_, part)| part.trim().is_empty()) {
            Some((column, _)) => Err(Refused::new(format!("{column:?}, a part of the key, is empty"))),
            None => Ok(parts.join(&self.separator)),
        }
    }

    /// The course, with constants added and entities decoded, or the reason why it is none.
    pub(super) fn course(
        &self,
        key: String,
        mut properties: Map<String, Value>,
        associations: Value,
    ) -> Result<NewCourse, Refused> {
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
                associations: Associations::parse_new(associations)?,
            })
        });
        parsed.map_err(|invalid| Refused { key: Some(key), reason: invalid.to_string() })
    }
}

fn pair(
    option: &str,
    form: &str,
    text: &str,
    halves: Option<(&str, &str)>,
) -> Result<(String, String), UsageError> {
    match halves {
        Some((left, right)) if !left.is_empty() && (option == "--set" || !right.is_empty()) => {
            Ok((left.to_owned(), right.to_owned()))
        }
        _ => Err(UsageError(format!("{option} {text:?} is not of the form {form}"))),
    }
}

/// A plan applied to a CSV header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Columns {
    /// How many cells a row has.
    pub(super) width: usize,
    /// Where the parts of the key are.
    pub(super) key: Vec<usize>,
    /// Which columns become which property.
    pub(super) properties: Vec<(usize, String)>,
    /// Columns that go nowhere because HubSpot has no such names.
    pub(super) left_out: Vec<String>,
}

impl Columns {
    /// Finds the columns that the plan names.
    pub(super) fn resolve(plan: &Plan, header: &[String]) -> Result<Self, UsageError> {
        if header.len() > MAX_COLUMNS {
            return Err(UsageError(format!(
                "the header has {} columns; at most {MAX_COLUMNS} are read. Is the delimiter right?",
                header.len()
            )));
        }
        let key = plan.key_columns().map(|name| position(header, name, "--key")).collect::<Result<_, _>>()?;
        let (properties, left_out) = if plan.map.is_empty() {
            by_own_name(header)?
        } else {
            let mapped = plan
                .map
                .iter()
                .map(|(column, property)| position(header, column, "--map").map(|at| (at, property.clone())));
            (mapped.collect::<Result<_, _>>()?, Vec::new())
        };
        if properties.is_empty() && plan.constants.is_empty() {
            return Err(UsageError(format!(
                "no column has the name of a HubSpot property; say which ones to send with --map COLUMN=PROPERTY. \
                 The columns are {}",
                listed(header)
            )));
        }
        Ok(Self { width: header.len(), key, properties, left_out })
    }
}

type Chosen = (Vec<(usize, String)>, Vec<String>);

fn by_own_name(header: &[String]) -> Result<Chosen, UsageError> {
    let (mut properties, mut left_out) = (Vec::new(), Vec::new());
    for name in header.iter().filter(|name| *name != DEFAULT_KEY) {
        if is_property_name(name) {
            properties.push((position(header, name, "--map")?, name.clone()));
        } else {
            left_out.push(name.clone());
        }
    }
    Ok((properties, left_out))
}

/// Whether HubSpot would accept it as a property's internal name.
fn is_property_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn position(header: &[String], name: &str, option: &str) -> Result<usize, UsageError> {
    let mut places = header.iter().enumerate().filter(|(_, column)| *column == name).map(|(at, _)| at);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(UsageError(format!(
            "the header has column {name:?} twice; rename one, or leave it out by --map"
        ))),
        (None, _) => {
            let option =
                if option == "--key" && name == DEFAULT_KEY { "the key (see --key)" } else { option };
            Err(UsageError(match nearest(header, name) {
                Some(near) => {
                    format!("there is no column {name:?} for {option}; did you mean {near:?}?")
                }
                None => {
                    format!("there is no column {name:?} for {option}; the columns are {}", listed(header))
                }
            }))
        }
    }
}

fn nearest<'h>(header: &'h [String], name: &str) -> Option<&'h str> {
    let wanted = name.to_lowercase();
    header
        .iter()
        .map(|column| (strsim::jaro_winkler(&column.to_lowercase(), &wanted), column.as_str()))
        .filter(|(alike, _)| *alike >= ALIKE)
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, column)| column)
}

/// Names for a message, the first few of many.
pub(super) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 30;
    let mut shown: Vec<_> = names.iter().take(SHOWN).map(|name| format!("{name:?}")).collect();
    if names.len() > SHOWN {
        shown.push(format!("and {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

#[cfg(test)]
mod tests;
