//! What users do to records in HubSpot's interface, between two requests of a client. Rules and quotas do not apply.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::handle::Handle;
use super::schema::PropertyOption;
use super::state::State;
use super::versions::{Cause, Version};

impl Handle {
    /// Changes values of a record that is not archived; an empty value clears one. Returns whether the record exists.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn edit_record(&self, id: u64, properties: BTreeMap<String, String>) -> bool {
        self.act(|State { store, schema, .. }, cause| {
            store.change(id, properties, false, schema.unique_names(), cause)
        })
    }

    /// Archives a record. Returns whether it existed and was not archived.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn archive_record(&self, id: u64) -> bool {
        self.act(|state, cause| state.store.archive(id, cause))
    }

    /// Restores an archived record with its old values. Returns whether it was restored: it is not if another record
    /// has one of its unique values by now.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn restore_record(&self, id: u64) -> bool {
        self.act(|State { store, schema, behaviour, .. }, cause| {
            store.restore(id, schema.unique_names(), behaviour.unique_compare, cause)
        })
    }

    /// Deletes a record permanently, archived or not. Returns whether it existed.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn purge_record(&self, id: u64) -> bool {
        self.act(|State { store, schema, .. }, cause| store.purge(id, schema.unique_names(), cause))
    }

    /// Merges `other` into `primary`. Returns the ID of the surviving record, or nothing if they are not two records
    /// that exist and are not archived.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn merge_records(&self, primary: u64, other: u64) -> Option<u64> {
        self.act(|state, cause| state.merge(primary, other, cause))
    }

    /// Moves the modification date of a record without changing a value, as HubSpot itself does at times. Returns
    /// whether the record exists.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn touch_record(&self, id: u64) -> bool {
        self.act(|state, cause| state.store.touch(id, cause))
    }

    /// Replaces the options of a property. Returns whether the property exists.
    #[expect(clippy::must_use_candidate, reason = "the effect is what it is called for")]
    pub fn set_options(&self, property: &str, options: &[&str]) -> bool {
        self.act(|state, cause| {
            let Some(definition) = state.schema.any_mut(property) else { return false };
            definition.options = options.iter().copied().map(PropertyOption::of_value).collect();
            state.clear_removed_options(property, cause);
            true
        })
    }

    /// The ledger: all changes of all records, in the order in which they took effect.
    #[must_use]
    pub fn versions(&self) -> Vec<Version> {
        self.act(|state, _| state.store.versions.all())
    }

    /// The changes of one record in their order, also after it was merged into another or deleted.
    #[must_use]
    pub fn versions_of(&self, record: u64) -> Vec<Version> {
        self.act(|state, _| state.store.versions.of(record).cloned().collect())
    }

    /// The IDs of the records that were merged into another, each with its survivor.
    #[must_use]
    pub fn merged_records(&self) -> BTreeMap<u64, u64> {
        self.act(|state, _| state.store.merged_records().collect())
    }

    /// Does something to the records that no request asked for.
    pub(super) fn act<T>(&self, action: impl FnOnce(&mut State, Cause) -> T) -> T {
        let mut state = self.shared.lock();
        let cause = Cause { request: None, now: Timestamp::now(), now_us: self.shared.now_us() };
        state.apply_due_touches(cause.now, cause.now_us);
        action(&mut state, cause)
    }
}
