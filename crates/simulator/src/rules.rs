//! Validation: property values, required properties, associations. Pure. Error messages are HubSpot's where they are
//! known.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::Serialize;
use serde_json::Value;

use super::behaviour::{Behaviour, Normalise};
use super::markup;
use super::schema::{Property, PropertyType, Schema};
use super::spelling;
use super::wire::{Association, iso};

/// Maximum number of characters of a text value.
const TEXT_MAX: usize = 65_536;
/// The property that every account requires.
const REQUIRED: &str = "hs_course_name";
/// HubSpot's own association types from a course: contact, company, deal, ticket, call, email, meeting,
/// note, task, communication, postal mail, project.
const ASSOCIATION_TYPES: [u32; 12] = [860, 862, 866, 870, 872, 874, 876, 878, 880, 938, 940, 1323];

/// An invalid value, in the format that HubSpot embeds in its message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ValueProblem {
    is_valid: bool,
    pub(super) message: String,
    #[serde(rename = "error")]
    pub(super) code: &'static str,
    pub(super) name: String,
    localized_error_message: String,
    portal_id: u64,
}

impl ValueProblem {
    fn new(name: &str, code: &'static str, message: String, portal_id: u64) -> Self {
        let localized_error_message = message.clone();
        Self { is_valid: false, message, code, name: name.to_owned(), localized_error_message, portal_id }
    }
}

/// Why an input was rejected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Values that are invalid for their property.
    Values(Vec<ValueProblem>),
    /// Missing required properties.
    Missing(Vec<String>),
    /// Associations with unknown records or types.
    Associations,
    /// A unique value that another record has.
    Taken { property: String, value: String, half_made: u64, holder: u64 },
    /// No record has this ID.
    NotFound(String),
    /// The record with this ID was merged into another. The input is dropped without an error.
    MergedAway(String),
    /// The record limit is reached.
    Full(u64),
    /// The error of a fault.
    Injected(Value),
}

/// Checks and normalises all values of one input.
///
/// # Errors
/// All invalid values.
pub(super) fn values(
    given: &BTreeMap<String, String>,
    schema: &Schema,
    behaviour: &Behaviour,
    portal: u64,
) -> Result<BTreeMap<String, String>, Problem> {
    let mut accepted = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in given {
        match check(name, value, schema, behaviour) {
            Ok(value) => {
                accepted.insert(name.clone(), value);
            }
            Err((code, message)) => problems.push(ValueProblem::new(name, code, message, portal)),
        }
    }
    if problems.is_empty() { Ok(accepted) } else { Err(Problem::Values(problems)) }
}

type Fault = (&'static str, String);

fn check(name: &str, value: &str, schema: &Schema, behaviour: &Behaviour) -> Result<String, Fault> {
    let Some(property) = schema.live(name) else {
        return Err(("PROPERTY_DOESNT_EXIST", format!("Property \"{name}\" does not exist")));
    };
    if property.modification_metadata.read_only_value {
        let message = format!("\"{name}\" is a read only property; its value cannot be set.");
        return Err(("READ_ONLY_VALUE", message));
    }
    if value.is_empty() {
        return Ok(String::new());
    }
    let normalise = behaviour.normalise;
    match property.kind {
        PropertyType::String if property.has_unique_value => {
            Ok(spelling::stored(&text(name, value, normalise)?, behaviour.keys))
        }
        PropertyType::String => text(name, value, normalise),
        PropertyType::Number => number(name, value),
        PropertyType::Date => date(value, normalise),
        PropertyType::Datetime => datetime(value, normalise),
        PropertyType::Enumeration | PropertyType::Bool => option(property, value),
    }
}

fn text(name: &str, value: &str, normalise: Normalise) -> Result<String, Fault> {
    if value.chars().count() > TEXT_MAX {
        let message =
            format!("Property value for \"{name}\" is too long; the maximum is {TEXT_MAX} characters");
        return Err(("INVALID_LENGTH", message));
    }
    Ok(match normalise {
        Normalise::Off | Normalise::Dates | Normalise::EpochMs => value.to_owned(),
        Normalise::DatesAndText => value.trim().to_owned(),
        Normalise::Html => markup::sanitised(value),
    })
}

fn number(name: &str, value: &str) -> Result<String, Fault> {
    match value.trim().parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(value.trim().to_owned()),
        _ => Err(("INVALID_INTEGER", format!("{name} was not a valid number"))),
    }
}

fn date(value: &str, normalise: Normalise) -> Result<String, Fault> {
    let day = if let Ok(day) = value.parse::<Date>() {
        day
    } else {
        let at = milliseconds(value)?.to_zoned(TimeZone::UTC);
        if at.time() != Time::midnight() {
            return Err(("INVALID_DATE", format!("{value} is at {} UTC, not midnight!", at.time())));
        }
        at.date()
    };
    Ok(match normalise {
        Normalise::Off => value.to_owned(),
        Normalise::EpochMs => day
            .to_zoned(TimeZone::UTC)
            .map_or_else(|_| value.to_owned(), |midnight| midnight.timestamp().as_millisecond().to_string()),
        Normalise::Dates | Normalise::DatesAndText | Normalise::Html => day.to_string(),
    })
}

fn datetime(value: &str, normalise: Normalise) -> Result<String, Fault> {
    let at = match value.parse::<Timestamp>() {
        Ok(at) => at,
        Err(_) => milliseconds(value)?,
    };
    Ok(match normalise {
        Normalise::Off => value.to_owned(),
        Normalise::EpochMs => at.as_millisecond().to_string(),
        Normalise::Dates | Normalise::DatesAndText | Normalise::Html => iso(at),
    })
}

fn milliseconds(value: &str) -> Result<Timestamp, Fault> {
    value
        .parse()
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .ok_or_else(|| ("INVALID_LONG", format!("{value} was not a valid long.")))
}

fn option(property: &Property, value: &str) -> Result<String, Fault> {
    let allowed: Vec<&str> = property.options.iter().map(|option| option.value.as_str()).collect();
    let several = property.field_type == "checkbox";
    let chosen: Vec<&str> = if several { value.split(';').collect() } else { vec![value] };
    if chosen.iter().all(|one| allowed.contains(one)) {
        Ok(value.to_owned())
    } else {
        let list = allowed.join(", ");
        Err(("INVALID_OPTION", format!("{value} was not one of the allowed options: [{list}]")))
    }
}

/// Checks that a new record has a name and the `further` required properties. From 2026-09 on, the API reports missing
/// properties with a code.
///
/// # Errors
/// The missing properties.
pub(super) fn required(
    values: &BTreeMap<String, String>,
    further: &BTreeSet<String>,
    with_code: bool,
    portal: u64,
) -> Result<(), Problem> {
    let further = further.iter().map(String::as_str).filter(|name| *name != REQUIRED);
    let lacking = std::iter::once(REQUIRED)
        .chain(further)
        .filter(|name| values.get(*name).is_none_or(String::is_empty));
    if with_code {
        let problems: Vec<ValueProblem> = lacking.map(|name| missing_value(name, portal)).collect();
        if problems.is_empty() { Ok(()) } else { Err(Problem::Values(problems)) }
    } else {
        let names: Vec<String> = lacking.map(str::to_owned).collect();
        if names.is_empty() { Ok(()) } else { Err(Problem::Missing(names)) }
    }
}

/// Checks that no required property is cleared.
///
/// # Errors
/// The required properties that would be cleared.
pub(super) fn keeps_required(
    values: &BTreeMap<String, String>,
    further: &BTreeSet<String>,
    portal: u64,
) -> Result<(), Problem> {
    let cleared = values.iter().filter(|(_, value)| value.is_empty()).map(|(name, _)| name);
    let problems: Vec<ValueProblem> = cleared
        .filter(|name| *name == REQUIRED || further.contains(*name))
        .map(|name| missing_value(name, portal))
        .collect();
    if problems.is_empty() { Ok(()) } else { Err(Problem::Values(problems)) }
}

fn missing_value(name: &str, portal: u64) -> ValueProblem {
    let message = format!("A value for {name} must be provided");
    ValueProblem::new(name, "MISSING_REQUIRED_PROPERTY", message, portal)
}

/// Checks that associations have a numeric ID, which must be one of `targets` if given, and a type that starts at
/// courses.
pub(super) fn associations(given: &[Association], targets: Option<&BTreeSet<String>>) -> Result<(), Problem> {
    let good = given.iter().all(|association| {
        let id = &association.to.id;
        let numeric = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
        let exists = targets.is_none_or(|known| known.contains(id));
        let known_types = association.types.iter().all(|kind| match kind.association_category.as_str() {
            "HUBSPOT_DEFINED" => ASSOCIATION_TYPES.contains(&kind.association_type_id),
            "USER_DEFINED" | "INTEGRATOR_DEFINED" | "WORK" => true,
            _ => false,
        });
        numeric && exists && known_types && !association.types.is_empty()
    });
    if good { Ok(()) } else { Err(Problem::Associations) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AssociationTarget, AssociationType};

    fn one(kind: PropertyType, value: &str) -> Result<String, &'static str> {
        let mut schema = Schema::of_hubspot(Timestamp::UNIX_EPOCH);
        schema.put(Property::new("p", kind, Timestamp::UNIX_EPOCH));
        check("p", value, &schema, &Behaviour::default()).map_err(|(code, _)| code)
    }

    #[test]
    fn values_are_validated_by_type() {
        use PropertyType::{Bool, Date, Datetime, Number, String};
        let cases = [
            (String, "anything", Ok("anything")),
            (Number, "50", Ok("50")),
            (Number, "fifty", Err("INVALID_INTEGER")),
            (Number, "NaN", Err("INVALID_INTEGER")),
            (Date, "2026-03-01", Ok("2026-03-01")),
            (Date, "1772323200000", Ok("2026-03-01")),
            (Date, "1772323200001", Err("INVALID_DATE")),
            (Date, "asd000", Err("INVALID_LONG")),
            (Datetime, "2026-03-01T10:00:00+01:00", Ok("2026-03-01T09:00:00.000Z")),
            (Datetime, "soon", Err("INVALID_LONG")),
            (Bool, "true", Ok("true")),
            (Bool, "yes", Err("INVALID_OPTION")),
            (Number, "", Ok("")),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(one(kind, value).as_deref().map_err(|code| *code), expected, "{kind:?} {value}");
        }
        assert_eq!(one(String, &"ä".repeat(TEXT_MAX)).map(|_| ()), Ok(()));
        assert_eq!(one(String, &"ä".repeat(TEXT_MAX + 1)), Err("INVALID_LENGTH"));
    }

    fn associations_to(id: &str, kind: u32) -> Vec<Association> {
        vec![Association {
            to: AssociationTarget { id: id.to_owned() },
            types: vec![AssociationType {
                association_category: "HUBSPOT_DEFINED".to_owned(),
                association_type_id: kind,
            }],
        }]
    }

    #[test]
    fn associations_need_a_numeric_id_and_a_type_from_courses() {
        let known = BTreeSet::from(["101".to_owned()]);
        assert_eq!(associations(&associations_to("101", 860), None), Ok(()));
        assert_eq!(associations(&associations_to("101", 860), Some(&known)), Ok(()));
        assert_eq!(associations(&associations_to("102", 860), Some(&known)), Err(Problem::Associations));
        assert_eq!(associations(&associations_to("abc", 860), None), Err(Problem::Associations));
        assert_eq!(associations(&associations_to("101", 1), None), Err(Problem::Associations));
    }
}
