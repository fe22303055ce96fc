//! The journal: what came in, when, and what became of it. The oracle of tests, so it records facts of the
//! server's side only. Touches nothing else.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::route::Operation;
use super::wire::iso;

/// The most entries kept; the oldest go first.
const KEPT: usize = 200_000;

/// One request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Counts from 0 in the order of arrival.
    pub seq: u64,
    /// Arrival of the request's head, in microseconds since the simulator's start (monotonic).
    pub received_us: u64,
    /// The same by the wall clock.
    #[serde(serialize_with = "as_iso")]
    pub received_at: Timestamp,
    /// When the answer was handed to the connection, or the connection was given up.
    pub finished_us: Option<u64>,
    /// HTTP method.
    pub method: String,
    /// Path without its query, and without the token where it would hold one.
    pub path: String,
    /// What was asked.
    pub operation: Operation,
    /// Status of the answer, if one was given.
    pub status: Option<u16>,
    /// What a batch (or single) request was about, in request order.
    pub inputs: Vec<Input>,
    /// A hash of the bearer token, if there was one.
    pub token: Option<String>,
    /// Whether it counted towards the rolling interval.
    pub counted: bool,
    /// Whether the whole answer was handed to the connection. False for one that hung, was cut or reset, or
    /// whose client had gone.
    pub answered: bool,
    /// Whether a fault was injected.
    pub faulted: bool,
}

/// One input of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Input {
    /// Its `objectWriteTraceId`.
    pub trace_id: Option<String>,
    /// The value of the unique property that it carried, or the id that it asked for.
    pub unique_value: Option<String>,
    /// Its `hs_course_name`.
    pub name: Option<String>,
    /// Id of the record that it made or changed.
    pub id: Option<u64>,
}

/// All requests since the start or the last reset.
#[derive(Debug, Default)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    next: u64,
}

impl Journal {
    /// Adds an entry and gives it its number.
    pub(super) fn begin(&mut self, mut entry: Entry) -> u64 {
        let seq = self.next;
        entry.seq = seq;
        self.next += 1;
        if self.entries.len() == KEPT {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        seq
    }

    /// An entry that is still kept.
    pub(super) fn get_mut(&mut self, seq: u64) -> Option<&mut Entry> {
        let first = self.entries.front()?.seq;
        self.entries.get_mut(usize::try_from(seq.checked_sub(first)?).ok()?)
    }

    /// All entries kept, in the order of arrival.
    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets the entries; the numbers go on.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }
}

/// What is shown in place of a token.
pub(super) fn token_hash(token: &str) -> String {
    let mut hasher = DefaultHasher::new();
    token.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Serialises a time as HubSpot writes it.
pub(super) fn as_iso<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&iso(*at))
}
