//! What HubSpot itself does to records later or as a consequence of something else: it moves modification dates, and
//! clears values whose option was removed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::lifecycle::RemovedOptions;
use super::schema::PropertyOption;
use super::state::State;
use super::versions::Cause;

impl State {
    /// Notes that the modification date of a record that was just written will move, if it does.
    pub(super) fn plan_touch(&mut self, record: u64, now: Timestamp) {
        if let Some(after_ms) = self.behaviour.lifecycle.background_touch_ms
            && let Ok(due) = now.checked_add(Duration::from_millis(after_ms))
        {
            self.touches.insert((due, record));
        }
    }

    /// Moves the modification dates that are due. Called before records are read or written.
    pub(super) fn apply_due_touches(&mut self, now: Timestamp, now_us: u64) {
        while let Some((due, record)) = self.touches.first().copied().filter(|(due, _)| *due <= now) {
            self.touches.pop_first();
            self.store.touch(record, Cause { request: None, now: due, now_us });
        }
    }

    /// Clears the stored values of a property that are no longer one of its options, if HubSpot does so.
    pub(super) fn clear_removed_options(&mut self, property: &str, cause: Cause) {
        if self.behaviour.lifecycle.removed_options == RemovedOptions::Kept {
            return;
        }
        let Some(definition) = self.schema.live(property).filter(|it| !it.options.is_empty()) else { return };
        let left = |held: &str| remaining(held, &definition.options, definition.field_type == "checkbox");
        let changed: Vec<(u64, String)> = self
            .store
            .all()
            .filter_map(|record| {
                let held = record.properties.get(property)?;
                Some((record.id, left(held))).filter(|(_, left)| left != held)
            })
            .collect();
        for (record, value) in changed {
            let values = BTreeMap::from([(property.to_owned(), value)]);
            self.store.change(record, values, false, self.schema.unique_names(), cause);
        }
    }
}

/// The part of a value that consists of existing options.
fn remaining(held: &str, options: &[PropertyOption], several: bool) -> String {
    let exists = |value: &str| options.iter().any(|option| option.value == value);
    if several {
        held.split(';').filter(|value| exists(value)).collect::<Vec<_>>().join(";")
    } else if exists(held) {
        held.to_owned()
    } else {
        String::new()
    }
}
