//! Whether HubSpot certainly refuses a value of a property.

use std::collections::BTreeSet;

use super::listing::{Kind, Property};
use super::nearest;
use crate::course::clip;

/// The most characters that HubSpot keeps of a text.
const TEXT_MAX: usize = 65_536;
/// How much of a value is repeated, in bytes.
const VALUE_BYTES: usize = 100;
/// How many of the allowed values are listed.
const OPTIONS_LISTED: usize = 20;

/// HubSpot's code and words for what is certainly wrong with a value that is not empty.
pub(super) fn objection(name: &str, property: &Property, value: &str) -> Option<(&'static str, String)> {
    let shown = clip(value, VALUE_BYTES);
    match &property.kind {
        Kind::Text if value.chars().count() > TEXT_MAX => {
            let text =
                format!("Property value for {name:?} is too long; the maximum is {TEXT_MAX} characters");
            Some(("INVALID_LENGTH", text))
        }
        Kind::Number if is_no_number(value) => {
            Some(("INVALID_INTEGER", format!("{name} was not a valid number: {shown}")))
        }
        Kind::Time if is_no_time(value) => Some(("INVALID_LONG", format!("{shown} was not a valid long"))),
        Kind::Choice(options) if is_no_choice(value, options) => Some(no_option(&shown, value, options)),
        Kind::Truth(options) if is_no_truth(value, options) => Some(no_option(&shown, value, options)),
        Kind::Text | Kind::Number | Kind::Time | Kind::Choice(_) | Kind::Truth(_) | Kind::Other => None,
    }
}

/// Whether no way to write numbers, from `1e5` to `0x1F` and `NaN`, makes this one.
fn is_no_number(value: &str) -> bool {
    let of_numbers = |letter: char| matches!(letter.to_ascii_lowercase(), 'a'..='f' | 'l' | 'p' | 'x');
    let words = ["nan", "inf", "infinity"];
    let is_word = words.contains(&value.trim().trim_start_matches(['+', '-']).to_lowercase().as_str());
    let has_digit = value.chars().any(char::is_numeric);
    !is_word && (!has_digit || value.chars().any(|c| c.is_alphabetic() && !of_numbers(c)))
}

/// Whether nothing in it can be a day: neither milliseconds nor a date can do without a digit.
fn is_no_time(value: &str) -> bool {
    !value.chars().any(char::is_numeric)
}

/// Whether a part of it is none of the options. What is one up to case and spaces is left to HubSpot.
fn is_no_choice(value: &str, options: &BTreeSet<String>) -> bool {
    let is_option = |part: &str| options.iter().any(|option| same(option, part));
    !is_option(value) && value.split(';').any(|part| !part.trim().is_empty() && !is_option(part))
}

fn is_no_truth(value: &str, options: &BTreeSet<String>) -> bool {
    const USUAL: [&str; 8] = ["true", "false", "yes", "no", "y", "n", "t", "f"];
    let is_usual = USUAL.iter().any(|usual| same(usual, value));
    !is_usual && !value.chars().any(char::is_numeric) && is_no_choice(value, options)
}

fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn no_option(shown: &str, value: &str, options: &BTreeSet<String>) -> (&'static str, String) {
    let listed: Vec<&str> = options.iter().take(OPTIONS_LISTED).map(String::as_str).collect();
    let more = if options.len() > OPTIONS_LISTED { ", …" } else { "" };
    let near = nearest(&value.to_lowercase(), options.iter().map(String::as_str));
    let hint = near.map(|near| format!("; did you mean {near:?}?")).unwrap_or_default();
    let list = listed.join(", ");
    ("INVALID_OPTION", format!("{shown} was not one of the allowed options: [{list}{more}]{hint}"))
}
