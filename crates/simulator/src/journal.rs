//! The journal: which requests arrived, when, and how they ended. Tests compare the client with it, so it records
//! only what the server observed. Touches nothing else.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::route::Operation;
use super::wire::iso;

/// Maximum number of entries; the oldest are removed first.
const MAX_ENTRIES: usize = 200_000;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Number of the request, from 0 in order of arrival.
    pub seq: u64,
    /// Arrival of the request's head, in microseconds since the simulator's start (monotonic).
    pub received_us: u64,
    /// The same as wall-clock time.
    #[serde(serialize_with = "as_iso")]
    pub received_at: Timestamp,
    /// When the response was written or the connection was lost.
    pub finished_us: Option<u64>,
    /// HTTP method.
    pub method: String,
    /// Path without the query; a token in the path is replaced by its hash.
    pub path: String,
    /// The operation.
    pub operation: Operation,
    /// Status of the response, if there was one.
    pub status: Option<u16>,
    /// The inputs of the request, in order.
    pub inputs: Vec<Input>,
    /// A hash of the bearer token, if any.
    pub token: Option<String>,
    /// Whether it counted towards the rolling interval.
    pub counted: bool,
    /// Whether the complete response was written. False if the request hung, the response was cut, or the
    /// connection was reset or closed by the client.
    pub answered: bool,
    /// Whether a fault was injected.
    pub faulted: bool,
}

/// One input of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Its `objectWriteTraceId`.
    pub trace_id: Option<String>,
    /// Its value of the unique property, or the ID by which it names a record.
    pub unique_value: Option<String>,
    /// Its `hs_course_name`.
    pub name: Option<String>,
    /// ID of the record that was created, changed or archived; for a merged record, the ID of the survivor.
    pub id: Option<u64>,
}

/// All requests since the start or the last reset.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    next: u64,
}

impl Journal {
    /// Adds an entry and returns its number.
    pub(super) fn begin(&mut self, mut entry: Entry) -> u64 {
        let seq = self.next;
        entry.seq = seq;
        self.next += 1;
        if self.entries.len() == MAX_ENTRIES {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        seq
    }

    /// An entry, unless it was removed.
    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.seq;
        self.entries.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// All entries in order of arrival.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Removes all entries; numbering continues.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// The hash that is shown instead of a token.
pub(super) fn token_hash(token: &str) -> String {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Serialises a time as HubSpot writes it.
pub(super) fn as_iso<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso(*at))
}
