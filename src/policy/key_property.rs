//! Whether the unique property can carry the courses' keys, from its definition. Pure.

use crate::hubspot::api::properties::PropertiesResponse;
use crate::hubspot::api::request::COURSE_NAME;
use crate::policy::properties::AccountProperties;

/// The state of the unique property in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyProperty {
    /// It can carry the keys.
    Usable,
    /// There is no property of that name.
    Missing,
    /// Two records can have the same value, so a look-up proves nothing.
    NotUnique,
    /// Its values cannot be set.
    ReadOnly,
}

/// The state of the property `name` by this list; `None` where it is not a list of the courses' properties.
#[must_use]
pub fn key_property(response: PropertiesResponse, name: &str) -> Option<KeyProperty> {
    let properties = AccountProperties::new(response.into_list(), None, None);
    // Every course has this property. A list without it is not the list of the courses' properties.
    properties.property(COURSE_NAME)?;
    Some(match properties.property(name) {
        None => KeyProperty::Missing,
        Some(property) if !property.has_unique_value => KeyProperty::NotUnique,
        Some(property) if property.is_read_only => KeyProperty::ReadOnly,
        Some(_) => KeyProperty::Usable,
    })
}

impl KeyProperty {
    /// What is wrong with the property `name`, and how to fix it; `None` where it is usable.
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
    fn a_definition_shows_whether_the_property_is_usable() {
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
