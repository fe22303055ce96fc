//! Remembers which keys the file has had, and at which line, in 17 bytes of memory or a few more for each. Pure.
//!
//! Keys and contents are remembered as hashes. Two different keys with the same hash are possible in theory (once in
//! about 400,000 files of ten million courses). The second is then refused by name, and not lost in silence.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

use super::plan::KeyedCourse;

/// Small tables grow one after the other, so growing never needs the memory of all keys twice.
const TABLES: usize = 256;

/// A key that the file has had before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// With the same content.
    Exact,
    /// With other content, at this line.
    Differs { first_line: u64 },
}

/// The keys of a file.
pub(super) struct SeenKeys {
    hashes: RandomState,
    /// Hash of the key → hash of the content, and line. A line that does not fit is stored as the largest number.
    tables: Vec<HashMap<u64, (u32, u32), BuildHasherDefault<KeepHash>>>,
}

impl SeenKeys {
    pub(super) fn new() -> Self {
        let tables = std::iter::repeat_with(HashMap::default).take(TABLES).collect();
        Self { hashes: RandomState::new(), tables }
    }

    /// Adds a course; `None` if its key is new.
    pub(super) fn add(&mut self, keyed: &KeyedCourse, line: u64) -> Option<Repeat> {
        let key = self.hashes.hash_one(keyed.course.key.as_str());
        let content = self.content_hash(keyed);
        let line = u32::try_from(line).unwrap_or(u32::MAX);
        let place = usize::try_from(key >> 32).unwrap_or_default() % TABLES;
        let table = self.tables.get_mut(place)?;
        match table.get(&key) {
            Some((seen, _)) if *seen == content => Some(Repeat::Exact),
            Some((_, first_line)) => Some(Repeat::Differs { first_line: u64::from(*first_line) }),
            None => {
                table.insert(key, (content, line));
                None
            }
        }
    }

    /// The parts of the key are content, too: other parts can form the same key.
    fn content_hash(&self, keyed: &KeyedCourse) -> u32 {
        let course = &keyed.course;
        let mut hasher = self.hashes.build_hasher();
        keyed.key.parts.hash(&mut hasher);
        course.properties.to_json().to_string().hash(&mut hasher);
        course.associations.as_ref().map(|it| it.to_json().to_string()).hash(&mut hasher);
        course.archived.hash(&mut hasher);
        let hash = hasher.finish();
        u32::try_from(hash & u64::from(u32::MAX)).unwrap_or_default()
    }
}

/// Uses a hash as it is.
#[derive(Debug, Default)]
struct KeepHash(u64);

impl Hasher for KeepHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::enqueue::plan::JoinedKey;
    use crate::course::{CourseKey, Properties};
    use crate::outbox::ops::enqueue::NewCourse;

    fn keyed(parts: &[&str], properties: serde_json::Value) -> KeyedCourse {
        let text = parts.join("-");
        let course = NewCourse {
            key: CourseKey::parse(text.as_str()).unwrap(),
            properties: Properties::parse(properties).unwrap(),
            associations: None,
            archived: None,
        };
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        KeyedCourse { course, key: JoinedKey { text, parts, is_ambiguous: true } }
    }

    #[test]
    fn equal_repeats_differ_from_others() {
        let mut seen = SeenKeys::new();
        let name = |name: &str| serde_json::json!({ "n": name });
        assert_eq!(seen.add(&keyed(&["A"], name("x")), 2), None);
        assert_eq!(seen.add(&keyed(&["B"], name("x")), 3), None);
        assert_eq!(seen.add(&keyed(&["A"], name("x")), 4), Some(Repeat::Exact));
        assert_eq!(seen.add(&keyed(&["B"], name("y")), 5), Some(Repeat::Differs { first_line: 3 }));
        assert_eq!(seen.add(&keyed(&["A-1", "2"], name("x")), 6), None);
        assert_eq!(seen.add(&keyed(&["A", "1-2"], name("x")), 7), Some(Repeat::Differs { first_line: 6 }));
    }

    #[test]
    fn many_keys_are_distinguished() {
        let mut seen = SeenKeys::new();
        for round in 0..2 {
            for at in 0..20_000_u64 {
                let repeat = seen.add(&keyed(&[&format!("K{at}")], serde_json::json!({})), at);
                assert_eq!(repeat.is_some(), round == 1, "{at}");
            }
        }
    }
}
