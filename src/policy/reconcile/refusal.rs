//! What HubSpot refused for good, where the key turns out to be nobody's. Pure.

use super::Doubted;
use crate::course::{Category, CourseError, CourseKey, clip, folded};

/// The refusal of a course that was only looked up because an earlier sending was in doubt, or might be what
/// it collided with. `None`: it was not refused, or over its key.
pub(super) fn of(course: &Doubted) -> Option<CourseError> {
    let error = course.error.as_ref()?;
    match error.category {
        Category::Validation | Category::Refused | Category::TooLarge => Some(error.clone()),
        Category::Conflict => over_another_value(error, &course.key),
        Category::KeyCollision | Category::InvalidRow | Category::UnknownOutcome => None,
    }
}

/// The conflict, if it is over a value of another unique property than the key. A record of the course's own
/// earlier self would have been found by the key, so the value is somebody else's, and sending it again would
/// meet the same refusal.
fn over_another_value(error: &CourseError, key: &CourseKey) -> Option<CourseError> {
    let (_, said) = error.message.split_once("propertyName=")?;
    let (property, value) = said.split_once(", value=")?;
    let is_key = value.starts_with(&format!("{key}}}"))
        || folded(value).starts_with(&format!("{}}}", folded(key.as_str())));
    let property = error.property.clone().or_else(|| Some(clip(property, 255)));
    (!is_key).then(|| CourseError { property, ..error.clone() })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn taken(key: &str, property: &str, value: &str) -> Option<CourseError> {
        let message =
            format!("Cannot set X{{propertyName={property}, value={value}}} on 1. 2 already has that value.");
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
