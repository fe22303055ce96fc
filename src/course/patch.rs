//! The difference between what HubSpot holds of a course and what its row says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Properties, PropertyValue};

/// What HubSpot is known to hold of a course: property name → value. `None` as a value: it may hold any value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HeldProperties(BTreeMap<String, Option<PropertyValue>>);

impl HeldProperties {
    /// As the outbox stores them. A value that is not flat counts as not known.
    #[must_use]
    pub fn parse(value: Value) -> Self {
        let Value::Object(members) = value else { return Self::default() };
        let value = |value: Value| match value {
            Value::String(text) => Some(PropertyValue::Text(text)),
            Value::Number(number) => Some(PropertyValue::Number(number)),
            Value::Bool(truth) => Some(PropertyValue::Bool(truth)),
            Value::Null | Value::Array(_) | Value::Object(_) => None,
        };
        Self(members.into_iter().map(|(name, member)| (name, value(member))).collect())
    }

    /// The names of the properties.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// What HubSpot holds after these properties were written.
    #[must_use]
    pub fn of(properties: &Properties) -> Self {
        let value = |(name, value): (&str, std::borrow::Cow<'_, str>)| {
            (name.to_owned(), Some(PropertyValue::Text(value.into_owned())))
        };
        Self(properties.sent_values().map(value).collect())
    }

    /// Properties whose values are not known.
    #[must_use]
    pub fn unknown(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| (name, None)).collect())
    }

    /// The names, and the values as text where they are known.
    pub fn values(&self) -> impl Iterator<Item = (&str, Option<String>)> {
        self.0.iter().map(|(name, value)| {
            (name.as_str(), value.as_ref().map(|value| value.to_sent().unwrap_or_default().into_owned()))
        })
    }

    /// What either of both says: a property with different values may hold any.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        for (name, value) in other.0 {
            let value = match self.0.get(&name) {
                Some(own) if *own != value => None,
                _ => value,
            };
            self.0.insert(name, value);
        }
        self
    }

    /// The same with these values, also empty ones.
    #[must_use]
    pub fn with_all(mut self, values: &Patch) -> Self {
        let text =
            |(name, value): (&String, &String)| (name.clone(), Some(PropertyValue::Text(value.clone())));
        self.0.extend(values.iter().map(text));
        self
    }

    /// These properties have these values now; an empty value: HubSpot holds none.
    #[must_use]
    pub fn with(mut self, values: impl IntoIterator<Item = (String, String)>) -> Self {
        for (name, value) in values {
            if value.is_empty() {
                self.0.remove(&name);
            } else {
                self.0.insert(name, Some(PropertyValue::Text(value)));
            }
        }
        self
    }

    /// As the outbox stores them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let json = |value: &Option<PropertyValue>| value.as_ref().map_or(Value::Null, PropertyValue::to_json);
        Value::Object(self.0.iter().map(|(name, value)| (name.clone(), json(value))).collect())
    }
}

/// The properties that a record needs to match its row: name → value. An empty value clears the property.
pub type Patch = BTreeMap<String, String>;

/// What must be sent so that HubSpot holds `wanted`. `held` is what it holds; `None`: nothing is known, so everything is sent.
///
/// A property that became null or was removed is cleared. Properties that course-sync never wrote are not touched.
#[must_use]
pub fn patch(held: Option<&HeldProperties>, wanted: &Properties) -> Patch {
    let nothing = BTreeMap::new();
    let held = held.map_or(&nothing, |held| &held.0);
    let names: BTreeSet<&str> = held.keys().map(String::as_str).chain(wanted.names()).collect();
    let mut patch = Patch::new();
    for name in names {
        let value = wanted.get(name).unwrap_or_default();
        let is_held = match held.get(name) {
            Some(Some(held)) => held.to_sent().unwrap_or_default() == value,
            Some(None) => false,
            None => value.is_empty(),
        };
        if !is_held {
            patch.insert(name.to_owned(), value.into_owned());
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties(json: &str) -> Properties {
        Properties::parse(serde_json::from_str(json).unwrap()).unwrap()
    }

    fn held(json: &str) -> HeldProperties {
        HeldProperties::parse(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_patch_holds_what_differs_and_clears_what_is_gone() {
        for (held_json, wanted, expected) in [
            (r#"{"a":"x","b":1}"#, r#"{"a":"x","b":1}"#, "{}"),
            (r#"{"a":"x","b":1}"#, r#"{"a":"y","b":1}"#, r#"{"a":"y"}"#),
            (r#"{"a":"x","b":1}"#, r#"{"a":"x"}"#, r#"{"b":""}"#),
            (r#"{"a":"x","b":1}"#, r#"{"a":"x","b":null,"c":null}"#, r#"{"b":""}"#),
            (r#"{"a":"x"}"#, r#"{"a":"x","c":true}"#, r#"{"c":"true"}"#),
            // The same text, whatever the JSON type.
            (r#"{"a":50,"b":true}"#, r#"{"a":"50","b":"true"}"#, "{}"),
            (r#"{"a":""}"#, "{}", "{}"),
            // A value that is not known is sent, or cleared.
            (r#"{"a":null,"b":null}"#, r#"{"a":"x"}"#, r#"{"a":"x","b":""}"#),
        ] {
            let sent = patch(Some(&held(held_json)), &properties(wanted));
            assert_eq!(serde_json::to_string(&sent).unwrap(), expected, "{held_json} → {wanted}");
        }
        assert_eq!(patch(None, &properties(r#"{"a":"x","b":null}"#)).into_keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn what_was_read_replaces_what_was_known() {
        let known = held(r#"{"a":"x","b":null}"#)
            .with([("b".to_owned(), "y".to_owned()), ("a".to_owned(), String::new())]);
        assert_eq!(known.to_json().to_string(), r#"{"b":"y"}"#);
    }
}
