//! The format of records and batches in responses.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::state::State;
use super::store::{Record, Store};
use super::wire::{BatchError, BatchOut, ObjectOut, Reply, iso};

/// The response to a batch with these results and errors.
pub(super) fn batch(
    state: &mut State,
    status: u16,
    mut results: Vec<ObjectOut>,
    errors: Vec<BatchError>,
    started: Timestamp,
    completed: Timestamp,
) -> Reply {
    if state.behaviour.shuffle_results {
        state.rng.shuffle(&mut results);
    }
    let num_errors = (!errors.is_empty()).then_some(errors.len());
    let (started_at, completed_at) = (iso(started), iso(completed));
    Reply::json(
        status,
        &BatchOut { status: "COMPLETE", results, num_errors, errors, started_at, completed_at },
    )
}

/// A record in a response: the given properties, and the computed ones.
pub(super) fn object(store: &Store, record: &Record, names: &[String]) -> ObjectOut {
    let mut properties: BTreeMap<String, Option<String>> =
        names.iter().map(|name| (name.clone(), record.properties.get(name).cloned())).collect();
    properties.insert("hs_createdate".to_owned(), Some(iso(record.created_at)));
    properties.insert("hs_lastmodifieddate".to_owned(), Some(iso(record.updated_at)));
    properties.insert("hs_object_id".to_owned(), Some(record.id.to_string()));
    ObjectOut {
        id: record.id.to_string(),
        properties,
        created_at: iso(record.created_at),
        updated_at: iso(record.updated_at),
        archived: record.archived,
        archived_at: store.archived_at(record.id).map(iso),
        new: None,
        object_write_trace_id: None,
    }
}

/// The properties of a record in a response: those requested, or HubSpot's defaults.
pub(super) fn properties_or_default(names: Vec<String>) -> Vec<String> {
    if names.is_empty() { vec!["hs_course_name".to_owned()] } else { names }
}

/// A page of records.
#[derive(Serialize)]
pub(super) struct Collection {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    results: Vec<ObjectOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    paging: Option<Paging>,
}

#[derive(Serialize)]
struct Paging {
    next: Next,
}

#[derive(Serialize)]
struct Next {
    after: String,
}

impl Collection {
    /// A page, and the cursor of the next one.
    pub(super) fn new(total: Option<usize>, results: Vec<ObjectOut>, next: Option<String>) -> Self {
        Self { total, results, paging: next.map(|after| Paging { next: Next { after } }) }
    }
}
