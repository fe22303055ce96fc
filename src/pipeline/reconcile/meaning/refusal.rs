//! Recognises a conflict over another unique value than the key, from HubSpot's message. Pure.

use crate::course::{CourseError, CourseKey, clip, fold_key};
use crate::hubspot::api::error::taken_value;

/// The conflict, if it is over the value of another unique property. A record of an earlier request would have been found
/// by the key, so another record has the value, and sending the course again would be refused again.
pub(super) fn over_another_value(error: &CourseError, key: &CourseKey) -> Option<CourseError> {
    let (property, value) = taken_value(&error.message)?;
    let is_key = fold_key(value) == fold_key(key.as_str());
    let property = error.property.clone().or_else(|| Some(clip(property, 255)));
    (!is_key).then(|| CourseError { property, ..error.clone() })
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
        over_another_value(&error, &CourseKey::parse(key).unwrap())
    }

    #[test]
    fn a_conflict_over_another_value_names_its_property() {
        let error = taken("A", "code", "same").unwrap();
        assert_eq!((error.category, error.property.as_deref()), (Category::Conflict, Some("code")));
        for (key, value) in [("A", "A"), ("A}b ", "a}B"), (" A", " A")] {
            assert_eq!(taken(key, "key", value), None, "{key} {value}");
        }
        let without_value = CourseError::new(Category::Conflict, "it is taken", Timestamp::UNIX_EPOCH);
        assert_eq!(over_another_value(&without_value, &CourseKey::parse("A").unwrap()), None);
    }
}
