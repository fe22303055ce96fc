//! The catalogue's own identifier of a course.

use std::fmt;

use super::Invalid;

/// The catalogue's own identifier of a course: not blank, at most 255 characters, no NUL.
///
/// The outbox table refuses the same values by a check of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CourseKey(String);

impl CourseKey {
    /// The longest key, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Accepts a key as it stands: surrounding spaces are part of it.
    pub fn parse(text: impl Into<String>) -> Result<Self, Invalid> {
        let text = text.into();
        if text.trim_matches(' ').is_empty() {
            return Err(Invalid::new("the course key is blank"));
        }
        let chars = text.chars().count();
        if chars > Self::MAX_CHARS {
            return Err(Invalid::new(format!(
                "the course key has {chars} characters; at most {} are allowed",
                Self::MAX_CHARS
            )));
        }
        if text.contains('\0') {
            return Err(Invalid::new("the course key contains a NUL character, which Postgres cannot store"));
        }
        Ok(Self(text))
    }

    /// The key's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CourseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text of a key as HubSpot may compare it: without regard to case and surrounding spaces.
#[must_use]
pub fn folded(key: &str) -> String {
    key.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_key() {
        for good in ["A", "AAS-201-40507", " x ", "ümlaut", &"é".repeat(255)] {
            assert_eq!(CourseKey::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "   ", "a\0b", &"x".repeat(256)] {
            assert!(CourseKey::parse(bad).is_err(), "{bad:?} passed");
        }
    }
}
