//! Deserializers for HubSpot's JSON: a field of an unexpected type reads as absent instead of making the whole
//! response unreadable. Pure.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::course::clip;

/// Reads a field of the wrong type as absent.
pub(super) fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned + Default>(
    from: D,
) -> Result<T, D::Error> {
    let value = Value::deserialize(from)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

/// Reads an identifier that is stored and shown: limited in length, without NUL.
pub(super) fn identifier<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text: Option<String> = lenient(from)?;
    Ok(text.map(|text| clip(&text, 100)))
}

/// Reads each item of a list on its own, so that one unreadable item does not lose the others.
pub(super) fn items<'de, D: Deserializer<'de>, T: DeserializeOwned>(
    from: D,
) -> Result<Vec<Option<T>>, D::Error> {
    let Value::Array(list) = Value::deserialize(from)? else { return Ok(Vec::new()) };
    Ok(list.into_iter().map(|item| serde_json::from_value(item).ok()).collect())
}

/// Reads property values, each on its own. A value that is not a string reads as null.
pub(super) fn property_values<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Option<String>>, D::Error> {
    let Value::Object(members) = Value::deserialize(from)? else { return Ok(BTreeMap::new()) };
    Ok(members.into_iter().map(|(name, value)| (name, string(value))).collect())
}

/// Reads a context: name → list of strings. A single string counts as a list of one.
pub(super) fn lists_by_name<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, Vec<String>>, D::Error> {
    let Value::Object(members) = Value::deserialize(from)? else { return Ok(BTreeMap::new()) };
    Ok(members.into_iter().map(|(name, value)| (name, strings(value))).collect())
}

/// Reads a list of strings. A single string counts as a list of one.
pub(super) fn string_list<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    Ok(strings(Value::deserialize(from)?))
}

fn string(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn strings(value: Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.into_iter().filter_map(|item| item.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    }
}
