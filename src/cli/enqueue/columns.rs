//! Finds the columns that the options name: in the header of CSV, or among the members of NDJSON. Pure.

use super::plan::{DEFAULT_KEY, EnqueuePlan};
use crate::cli::outcome::UsageError;
use crate::course::is_property_name;

/// The largest number of columns.
const MAX_COLUMNS: usize = 1000;
/// How similar a name must be to be suggested (Jaro-Winkler).
const MIN_SIMILARITY: f64 = 0.75;

/// A plan applied to a CSV header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CsvColumns {
    /// The header's names.
    pub(super) names: Vec<String>,
    /// The names of the key columns.
    pub(super) key_names: Vec<String>,
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
        let key_names = key_columns(plan, header);
        let key =
            key_names.iter().map(|name| find_column(header, name, "--key")).collect::<Result<_, _>>()?;
        let (properties, ignored) = if plan.map.is_empty() {
            columns_by_own_name(header)?
        } else {
            let mapped = plan.map.iter().map(|(column, property)| {
                find_column(header, column, "--map").map(|at| (at, property.clone()))
            });
            (mapped.collect::<Result<_, _>>()?, Vec::new())
        };
        if properties.is_empty() && !plan.has_constants() {
            return Err(UsageError(format!(
                "no column name is a valid HubSpot property name; choose columns with --map COLUMN=PROPERTY. \
                 The columns are {}",
                list_names(header)
            )));
        }
        Ok(Self { names: header.to_vec(), key_names, key, properties, ignored })
    }

    /// Whether a column is sent as this property.
    pub(super) fn sends(&self, property: &str) -> bool {
        self.properties.iter().any(|(_, name)| name == property)
    }

    /// The positions of all columns that are used.
    pub(super) fn used(&self) -> impl Iterator<Item = usize> {
        self.key.iter().copied().chain(self.properties.iter().map(|(at, _)| *at))
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

/// The columns of the key. A `--key` may name several columns, separated by commas, and the name of a column may contain
/// commas as well: at each place, the longest name that exists is taken.
pub(super) fn key_columns(plan: &EnqueuePlan, names: &[String]) -> Vec<String> {
    if plan.key.is_empty() {
        return vec![DEFAULT_KEY.to_owned()];
    }
    plan.key.iter().flat_map(|text| split_key(text, names)).collect()
}

fn split_key(text: &str, names: &[String]) -> Vec<String> {
    let parts: Vec<&str> = text.split(',').collect();
    let trimmed = || parts.iter().map(|part| part.trim().to_owned()).collect();
    divide(&parts, names).unwrap_or_else(trimmed)
}

/// Divides the parts into names that exist, longest first; `None` if that is not possible.
fn divide(parts: &[&str], names: &[String]) -> Option<Vec<String>> {
    if parts.is_empty() {
        return Some(Vec::new());
    }
    (1..=parts.len()).rev().find_map(|count| {
        let (first, rest) = parts.split_at(count);
        let name = first.join(",").trim().to_owned();
        if !names.contains(&name) {
            return None;
        }
        let mut divided = divide(rest, names)?;
        divided.insert(0, name);
        Some(divided)
    })
}

fn find_column(header: &[String], name: &str, option: &str) -> Result<usize, UsageError> {
    let mut places = header.iter().enumerate().filter(|(_, column)| *column == name.trim()).map(|(at, _)| at);
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (Some(_), Some(_)) => Err(UsageError(format!(
            "the header has column {name:?} twice; rename one, or choose columns with --map"
        ))),
        (None, _) => Err(missing_column("column", name, option, header)),
    }
}

/// The error for a name that an option uses and that does not exist. `what` is what it would be.
pub(super) fn missing_column(what: &str, name: &str, option: &str, names: &[String]) -> UsageError {
    let option = if option == "--key" && name == DEFAULT_KEY { "the key (see --key)" } else { option };
    UsageError(match find_similar(names, name) {
        Some(similar) => format!("there is no {what} {name:?} for {option}; did you mean {similar:?}?"),
        None => format!("there is no {what} {name:?} for {option}; the {what}s are {}", list_names(names)),
    })
}

/// The name that is most similar, if one is similar enough.
pub(super) fn find_similar<'h>(names: &'h [String], name: &str) -> Option<&'h str> {
    let wanted = name.to_lowercase();
    names
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
