//! Recognises a conflict over another unique value than the key, from HubSpot's message. Pure.

use crate::course::{CourseError, CourseKey, clip, fold_key};
use crate::hubspot::api::error::taken_value;

/// The conflict, if it is over the value of another unique property. A record of an earlier request would have been found
/// by the key, so another record has the value, and sending the course again would be refused again.
/// `unique`: the property that carries the key.
pub(super) fn over_another_value(
    error: &CourseError,
    unique: Option<&str>,
    key: &CourseKey,
) -> Option<CourseError> {
    let taken = taken_value(&error.message);
    let named = error.property.clone().or_else(|| taken.map(|(property, _)| clip(property, 255)));
    let is_other_property = named.is_some() && unique.is_some() && named.as_deref() != unique;
    let is_other_value = taken.is_some_and(|(_, value)| fold_key(value) != fold_key(key.as_str()));
    (is_other_property || is_other_value).then(|| CourseError { property: named, ..error.clone() })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::course::Category;

    fn taken(key: &str, property: &str, value: &str) -> Option<CourseError> {
        let message = format!(
            "Cannot set PropertyValueCoordinates{{propertyName={property}, value={value}}} on 1. 2 already has that value."
        );
        let error = CourseError::new(Category::Conflict, &message, Timestamp::UNIX_EPOCH);
        over_another_value(&error, Some("key"), &CourseKey::parse(key).unwrap())
    }

    #[test]
    fn a_conflict_over_another_value_names_its_property() {
        let error = taken("A", "code", "same").unwrap();
        assert_eq!((error.category, error.property.as_deref()), (Category::Conflict, Some("code")));
        for (key, value) in [("A", "A"), ("A}b ", "a}B"), (" A", " A")] {
            assert_eq!(taken(key, "key", value), None, "{key} {value}");
        }
        // The same text as the key, in another property.
        assert_eq!(taken("A", "code", "A").unwrap().property.as_deref(), Some("code"));
        let without_value = CourseError::new(Category::Conflict, "it is taken", Timestamp::UNIX_EPOCH);
        let key = CourseKey::parse("A").unwrap();
        assert_eq!(over_another_value(&without_value, Some("key"), &key), None);
        let of =
            |property: &str| CourseError { property: Some(property.to_owned()), ..without_value.clone() };
        assert_eq!(over_another_value(&of("key"), Some("key"), &key), None);
        assert_eq!(over_another_value(&of("code"), Some("key"), &key), Some(of("code")));
        assert_eq!(over_another_value(&of("code"), None, &key), None);
    }
}
