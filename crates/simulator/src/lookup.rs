//! Finds the record that a request names, by its ID or by a unique value. IDs of merged records find the survivor.

use super::behaviour::ArchivedRead;
use super::refusal;
use super::spelling;
use super::state::{Call, State};
use super::store::Record;
use super::wire::Reply;

/// Finds a record by ID, or by the value of a unique property.
///
/// # Errors
/// The reply to a request that names a property without unique values.
pub(super) fn find<'a>(
    state: &'a State,
    call: &Call,
    id: &str,
    key: Option<&str>,
    archived: bool,
) -> Result<Option<&'a Record>, Reply> {
    let lookup = state.reading(archived);
    let Some(key) = key.filter(|name| *name != "hs_object_id") else {
        let id = id.parse().ok().map(|id| state.store.resolve(id));
        return Ok(id.and_then(|id| state.store.get(id, lookup.archived)));
    };
    if !state.schema.is_unique(key) {
        return Err(Reply::refusal(400, refusal::not_unique(key), &call.correlation));
    }
    if archived && state.behaviour.archived_read == ArchivedRead::Misses {
        return Ok(None);
    }
    let respelled = state.behaviour.lookups_respell.then(|| spelling::stored(id, state.behaviour.keys));
    let value = respelled.as_deref().unwrap_or(id);
    let found = state.store.holder(key, value, lookup);
    Ok(found.or_else(|| state.survivor_with(key, value, lookup.archived)))
}

/// Whether `id` is not the ID of the `record` that it found: the ID of a record that was merged into it.
pub(super) fn is_merged_id(record: &Record, id: &str, key: Option<&str>) -> bool {
    key.is_none_or(|name| name == "hs_object_id") && id.parse() != Ok(record.id)
}
