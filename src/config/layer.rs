//! One layer of settings: what a file or the environment sets, before any value is checked. Pure.

use std::collections::BTreeMap;

use config::ValueKind;

/// A value as it was written.
pub(super) struct Setting {
    pub(super) value: ValueKind,
    /// Such as `course-sync.toml:12`, or the name of a variable.
    pub(super) source: String,
}

/// Settings by key. Every key is a known one.
pub(super) type Layer = BTreeMap<String, Setting>;
