//! Whether HubSpot certainly refuses a value of a property. Pure.

use std::collections::BTreeSet;

use super::suggestion;
use crate::course::clip;
use crate::hubspot::api::properties::{PropertyDefinition, PropertyKind};

/// The maximum number of characters of a text.
const TEXT_MAX: usize = 65_536;
/// How much of a value a message repeats, in bytes.
const VALUE_BYTES: usize = 100;
/// How many of the allowed options a message lists.
const OPTIONS_LISTED: usize = 20;

/// HubSpot's code and message for a value that it certainly refuses. The value is not empty.
pub(super) fn problem(
    name: &str,
    definition: &PropertyDefinition,
    value: &str,
) -> Option<(&'static str, String)> {
    let shown = clip(value, VALUE_BYTES);
    match &definition.kind {
        PropertyKind::Text if value.chars().count() > TEXT_MAX => {
            let text =
                format!("Property value for {name:?} is too long; the maximum is {TEXT_MAX} characters");
            Some(("INVALID_LENGTH", text))
        }
        PropertyKind::Number if is_never_a_number(value) => {
            Some(("INVALID_INTEGER", format!("{name} was not a valid number: {shown}")))
        }
        PropertyKind::Date if is_never_a_date(value) => {
            Some(("INVALID_LONG", format!("{shown} was not a valid long")))
        }
        PropertyKind::Enumeration(options) if has_unknown_option(value, options) => {
            Some(invalid_option(&shown, value, options))
        }
        PropertyKind::Boolean(options) if is_never_a_boolean(value, options) => {
            Some(invalid_option(&shown, value, options))
        }
        PropertyKind::Text
        | PropertyKind::Number
        | PropertyKind::Date
        | PropertyKind::Enumeration(_)
        | PropertyKind::Boolean(_)
        | PropertyKind::Other => None,
    }
}

/// Whether no notation of numbers, from `1e5` to `0x1F` and `NaN`, allows this text.
fn is_never_a_number(value: &str) -> bool {
    let words = ["nan", "inf", "infinity"];
    let is_word = words.contains(&value.trim().trim_start_matches(['+', '-']).to_lowercase().as_str());
    let has_digit = value.chars().any(char::is_numeric);
    !is_word && (!has_digit || value.chars().any(|c| c.is_alphabetic() && !may_be_in_number(c)))
}

/// Whether a letter may be part of a number: an exponent, a hexadecimal digit or a suffix.
fn may_be_in_number(letter: char) -> bool {
    matches!(letter.to_ascii_lowercase(), 'a'..='f' | 'l' | 'p' | 'x')
}

/// Whether this text has no digit: milliseconds and dates both need one.
fn is_never_a_date(value: &str) -> bool {
    !value.chars().any(char::is_numeric)
}

/// Whether a part of the value is none of the options. Differences in case and spaces are left to HubSpot.
fn has_unknown_option(value: &str, options: &BTreeSet<String>) -> bool {
    !is_option(value, options)
        && value.split(';').any(|part| !part.trim().is_empty() && !is_option(part, options))
}

fn is_option(value: &str, options: &BTreeSet<String>) -> bool {
    options.iter().any(|option| is_same(option, value))
}

fn is_never_a_boolean(value: &str, options: &BTreeSet<String>) -> bool {
    const COMMON: [&str; 8] = ["true", "false", "yes", "no", "y", "n", "t", "f"];
    let is_common = COMMON.iter().any(|common| is_same(common, value));
    !is_common && !value.chars().any(char::is_numeric) && has_unknown_option(value, options)
}

fn is_same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn invalid_option(shown: &str, value: &str, options: &BTreeSet<String>) -> (&'static str, String) {
    let listed: Vec<&str> = options.iter().take(OPTIONS_LISTED).map(String::as_str).collect();
    let more = if options.len() > OPTIONS_LISTED { ", …" } else { "" };
    let near = suggestion::closest(value, options.iter().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let list = listed.join(", ");
    ("INVALID_OPTION", format!("{shown} was not one of the allowed options: [{list}{more}]{hint}"))
}
