//! The HubSpot properties of a course: property name → value.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::InvalidValue;

/// Whether HubSpot allows these characters in the name of a property. Its length is limited as well.
#[must_use]
pub fn is_property_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// One value as the catalogue wrote it. HubSpot accepts only strings; see [`Properties::sent_values`].
#[derive(Debug, Clone, PartialEq)]
pub enum PropertyValue {
    /// A JSON string.
    Text(String),
    /// A JSON number, its digits kept as written (`19.90` stays `19.90`).
    Number(serde_json::Number),
    /// A JSON boolean.
    Bool(bool),
    /// JSON null: not sent.
    Null,
}

impl PropertyValue {
    /// The value as it is sent to HubSpot; `None` if it is not sent.
    pub(super) fn to_sent(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Bool(true) => Some(Cow::Borrowed("true")),
            Self::Bool(false) => Some(Cow::Borrowed("false")),
            Self::Null => None,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Null => Value::Null,
        }
    }
}

/// A flat object of property values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties(BTreeMap<String, PropertyValue>);

impl Properties {
    /// Parses a JSON object without nested values.
    pub fn parse(value: Value) -> Result<Self, InvalidValue> {
        let Value::Object(members) = value else {
            return Err(InvalidValue::new("properties must be a JSON object of property name → value"));
        };
        members.into_iter().map(parse_member).collect::<Result<_, _>>().map(Self)
    }

    /// The properties as they are sent to HubSpot: values as strings, nulls omitted, in order of name.
    pub fn sent_values(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.0.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_sent()?)))
    }

    /// The names, also of properties that are null.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The value that is sent under `name`, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).and_then(PropertyValue::to_sent)
    }

    /// The properties as the JSON object that the outbox stores.
    #[must_use]
    pub fn to_json(&self) -> Value {
        Value::Object(self.0.iter().map(|(name, value)| (name.clone(), value.to_json())).collect())
    }
}

impl FromIterator<(String, PropertyValue)> for Properties {
    fn from_iter<I: IntoIterator<Item = (String, PropertyValue)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

fn parse_member((name, value): (String, Value)) -> Result<(String, PropertyValue), InvalidValue> {
    let name = parse_name(name)?;
    let value = parse_value(&name, value)?;
    Ok((name, value))
}

fn parse_name(name: String) -> Result<String, InvalidValue> {
    if name.is_empty() {
        return Err(InvalidValue::new("a property has an empty name"));
    }
    if name.contains('\0') {
        return Err(InvalidValue::new(
            "a property name contains a NUL character, which Postgres cannot store",
        ));
    }
    Ok(name)
}

fn parse_value(name: &str, value: Value) -> Result<PropertyValue, InvalidValue> {
    match value {
        Value::String(text) if text.contains('\0') => Err(InvalidValue::new(format!(
            "property {name:?} contains a NUL character, which Postgres cannot store"
        ))),
        Value::String(text) => Ok(PropertyValue::Text(text)),
        Value::Number(number) => Ok(PropertyValue::Number(number)),
        Value::Bool(truth) => Ok(PropertyValue::Bool(truth)),
        Value::Null => Ok(PropertyValue::Null),
        Value::Array(_) | Value::Object(_) => Err(InvalidValue::new(format!(
            "property {name:?} holds a nested value; HubSpot takes strings, numbers, booleans or null"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Properties, InvalidValue> {
        Properties::parse(serde_json::from_str(text).unwrap())
    }

    #[test]
    fn values_are_sent_as_strings_and_nulls_are_omitted() {
        let properties =
            parse(r#"{"b":true,"n":19.90,"big":123456789012345678901234567890,"s":"x","z":null}"#).unwrap();
        let sent: Vec<_> = properties.sent_values().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(sent, ["b=true", "big=123456789012345678901234567890", "n=19.90", "s=x"]);
        assert_eq!(properties.get("z"), None);
    }

    #[test]
    fn nested_values_and_other_shapes_are_refused() {
        for bad in
            [r#"{"a":{}}"#, r#"{"a":["x"]}"#, "[]", "\"x\"", "null", r#"{"":"x"}"#, "{\"a\":\"\\u0000\"}"]
        {
            assert!(parse(bad).is_err(), "{bad} passed");
        }
    }

    #[test]
    fn the_stored_form_equals_the_parsed_one() {
        let text = r#"{"b":false,"n":1.50,"s":"x","z":null}"#;
        assert_eq!(parse(text).unwrap().to_json().to_string(), text);
    }
}
