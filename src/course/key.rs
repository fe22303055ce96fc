//! The catalogue's own identifier of a course.

use std::fmt;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use super::InvalidValue;

/// The catalogue's own identifier of a course: not blank, at most 255 characters, no NUL.
///
/// The outbox table refuses the same values by a check of its own. It also refuses new rows whose key HubSpot would
/// change; older rows may still hold such a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CourseKey(String);

impl CourseKey {
    /// The longest key, in characters.
    pub const MAX_CHARS: usize = 255;

    /// Parses a key as it is: surrounding spaces are part of it.
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidValue> {
        let text = text.into();
        if text.trim_matches(' ').is_empty() {
            return Err(InvalidValue::new("the course key is blank"));
        }
        let chars = text.chars().count();
        if chars > Self::MAX_CHARS {
            return Err(InvalidValue::new(format!(
                "the course key has {chars} characters; at most {} are allowed",
                Self::MAX_CHARS
            )));
        }
        if text.contains('\0') {
            return Err(InvalidValue::new(
                "the course key contains a NUL character, which Postgres cannot store",
            ));
        }
        Ok(Self(text))
    }

    /// Parses a key for a new row: one that HubSpot stores unchanged. The table's triggers refuse other keys as well.
    pub fn parse_new(text: impl Into<String>) -> Result<Self, InvalidValue> {
        let key = Self::parse(text)?;
        if let Some(stripped) = key.0.chars().find(|c| is_stripped(*c)) {
            return Err(InvalidValue::new(format!(
                "the course key contains the invisible or control character U+{:04X}, which HubSpot strips; remove it",
                u32::from(stripped)
            )));
        }
        if !is_nfc(&key.0) {
            return Err(InvalidValue::new(
                "the course key is not in Unicode NFC, so HubSpot would store a different key; normalize it",
            ));
        }
        Ok(key)
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

/// Whether HubSpot strips this character from a key. The same characters as in migration 0010.
fn is_stripped(c: char) -> bool {
    matches!(
        c,
        '\u{1}'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{feff}'
    )
}

/// The key as HubSpot may compare it: without regard to case, surrounding white space, runs of white space, invisible
/// characters and Unicode form. Most keys are plain ASCII and take the short path.
#[must_use]
pub fn fold_key(key: &str) -> String {
    if key.is_ascii() && !key.contains(|c: char| c.is_ascii_control()) && !key.contains("  ") {
        return key.trim().to_ascii_lowercase();
    }
    let visible: String = key.chars().filter(|c| c.is_whitespace() || !is_stripped(*c)).nfc().collect();
    visible.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_neither_blank_nor_too_long_nor_contains_nul() {
        for good in ["A", "AAS-201-40507", " x ", "ümlaut", &"é".repeat(255)] {
            assert_eq!(CourseKey::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "   ", "a\0b", &"x".repeat(256)] {
            assert!(CourseKey::parse(bad).is_err(), "{bad:?} passed");
            assert!(CourseKey::parse_new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn keys_that_hubspot_may_treat_as_equal_are_folded_alike() {
        for (one, other) in [
            ("A-1", " a-1 "),
            ("a b", "A  b"),
            ("a\u{200b}b", "ab"),
            ("e\u{301}", "\u{c9}"),
            ("\u{feff}x", "X"),
            ("a\tb", "a b"),
        ] {
            assert_eq!(fold_key(one), fold_key(other), "{one:?} {other:?}");
        }
        assert_ne!(fold_key("A-1"), fold_key("A-2"));
        assert_ne!(fold_key("a b"), fold_key("ab"));
    }

    #[test]
    fn a_new_key_is_one_that_hubspot_stores_unchanged() {
        for good in
            ["A", " x ", "a  b", "\u{e9}", "a\u{a0}b", "\u{1f600}", "\u{200a}", "\u{2027}", "\u{202f}"]
        {
            assert_eq!(CourseKey::parse_new(good).unwrap().as_str(), good);
        }
        for (bad, named) in [
            ("a\tb", "U+0009"),
            ("a\u{1}", "U+0001"),
            ("\u{7f}", "U+007F"),
            ("\u{9f}a", "U+009F"),
            ("a\u{ad}", "U+00AD"),
            ("a\u{200b}b", "U+200B"),
            ("\u{202e}a", "U+202E"),
            ("a\u{2060}", "U+2060"),
            ("\u{feff}a", "U+FEFF"),
            ("e\u{301}", "NFC"),
            ("\u{212b}", "NFC"),
            ("\u{1100}\u{1161}", "NFC"),
        ] {
            let why = CourseKey::parse_new(bad).unwrap_err().to_string();
            assert!(why.contains(named), "{bad:?}: {why}");
            // A row that is older than the check.
            assert!(CourseKey::parse(bad).is_ok(), "{bad:?}");
        }
    }
}
