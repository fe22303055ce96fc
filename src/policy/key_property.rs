//! Whether the unique property can carry the courses' keys, as its definition shows. Pure.

use super::schema::{Definitions, Schema};

/// What the account's list of properties shows about the unique property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProperty {
    /// It can carry the keys.
    Usable,
    /// There is none of that name.
    Missing,
    /// Two records may hold the same value, so nothing is proved by it.
    NotUnique,
    /// Its values cannot be set.
    ReadOnly,
}

/// The property that every course has: a list without it is not the list.
const NAME: &str = "hs_course_name";

/// What this list shows about the property `name`; `None` where it is not a list of the courses' properties.
#[must_use]
pub fn key_property(definitions: Definitions, name: &str) -> Option<KeyProperty> {
    let schema = Schema::of(definitions.listing(), None, None);
    schema.property(NAME)?;
    Some(match schema.property(name) {
        None => KeyProperty::Missing,
        Some(property) if !property.has_unique_value => KeyProperty::NotUnique,
        Some(property) if property.is_read_only => KeyProperty::ReadOnly,
        Some(_) => KeyProperty::Usable,
    })
}

impl KeyProperty {
    /// What is wrong with the property `name`, and what to do; `None` where nothing is.
    #[must_use]
    pub fn problem(self, name: &str) -> Option<String> {
        let (what, fix) = match self {
            Self::Usable => return None,
            Self::Missing => ("does not exist in HubSpot", "`course-sync check --fix` creates it"),
            Self::NotUnique => (
                "exists in HubSpot, but its values are not unique, and HubSpot cannot change that",
                "set hubspot.unique_property to a new name; `course-sync check --fix` creates it",
            ),
            Self::ReadOnly => (
                "exists in HubSpot, but its values are read-only",
                "set hubspot.unique_property to a new name; `course-sync check --fix` creates it",
            ),
        };
        Some(format!("the property {name:?} (hubspot.unique_property) {what}. Fix: {fix}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(definition: &str) -> Option<KeyProperty> {
        let list = format!(r#"{{"results":[{{"name":"hs_course_name","type":"string"}}{definition}]}}"#);
        key_property(serde_json::from_str(&list).unwrap(), "key")
    }

    #[test]
    fn what_a_definition_shows() {
        for (definition, expected) in [
            ("", KeyProperty::Missing),
            (r#",{"name":"key","type":"string","hasUniqueValue":true}"#, KeyProperty::Usable),
            (r#",{"name":"key","type":"string","hasUniqueValue":false}"#, KeyProperty::NotUnique),
            (r#",{"name":"key","type":"string"}"#, KeyProperty::NotUnique),
            (
                r#",{"name":"key","type":"string","hasUniqueValue":true,"archived":true}"#,
                KeyProperty::Missing,
            ),
            (
                r#",{"name":"key","type":"string","hasUniqueValue":true,"modificationMetadata":{"readOnlyValue":true}}"#,
                KeyProperty::ReadOnly,
            ),
            (
                r#",{"name":"key","type":"string","hasUniqueValue":true,"calculated":true}"#,
                KeyProperty::ReadOnly,
            ),
        ] {
            assert_eq!(found(definition), Some(expected), "{definition}");
        }
        let other = serde_json::from_str(r#"{"results":[]}"#).unwrap();
        assert_eq!(key_property(other, "key"), None, "a list of something else shows nothing");
    }
}
