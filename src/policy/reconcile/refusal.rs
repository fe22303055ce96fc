//! A conflict over another unique value than the key, recognised by what HubSpot wrote. Pure.

use crate::course::{CourseError, CourseKey, clip, folded};
use crate::policy::answer::taken_value;

/// The conflict, if it is over a value of another unique property than the key. A record of the course's own
/// earlier self would have been found by the key, so the value is another record's, and sending it again would
/// meet the same refusal.
pub(super) fn over_another_value(error: &CourseError, key: &CourseKey) -> Option<CourseError> {
    let (property, value) = taken_value(&error.message)?;
    let is_key = folded(value) == folded(key.as_str());
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
    fn another_value_is_told_from_the_key_and_its_property_named() {
        let error = taken("A", "code", "same").unwrap();
        assert_eq!((error.category, error.property.as_deref()), (Category::Conflict, Some("code")));
        for (key, value) in [("A", "A"), ("A}b ", "a}B"), (" A", " A")] {
            assert_eq!(taken(key, "key", value), None, "{key} {value}");
        }
        let wordless = CourseError::new(Category::Conflict, "it is taken", Timestamp::UNIX_EPOCH);
        assert_eq!(over_another_value(&wordless, &CourseKey::parse("A").unwrap()), None);
    }
}
