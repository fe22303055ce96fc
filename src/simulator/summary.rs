//! What a simulator saw and holds, counted: the figures that tests and the demo judge by. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::quota::worst_window;
use super::route::Operation;
use super::state::State;

/// What a simulator saw and holds, counted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Requests journalled.
    pub requests: usize,
    /// The same by operation.
    pub by_operation: BTreeMap<Operation, usize>,
    /// The same by status of the answer; 0: none.
    pub by_status: BTreeMap<u16, usize>,
    /// Requests whose client got no whole answer (those still open included).
    pub unanswered: usize,
    /// Records, those in the recycle bin aside.
    pub records: usize,
    /// Records in the recycle bin.
    pub archived: usize,
    /// Unique values that more than one record has, over all unique properties.
    pub duplicates_by_unique: usize,
    /// Values of `hs_course_name` that more than one record has.
    pub duplicates_by_name: usize,
    /// The most requests that any rolling interval saw, of those that count.
    pub worst_window: usize,
    /// Requests that the interval allows.
    pub limit: u64,
    /// Requests that count, as a share of what the whole intervals since the first would have allowed.
    pub quota_share: f64,
    /// Requests counted since the account's midnight.
    pub used_today: u64,
    /// Requests open at this moment.
    pub open: usize,
    /// The most requests open at once.
    pub max_open: usize,
}

impl Summary {
    pub(super) fn of(state: &State) -> Self {
        let limits = state.behaviour.limits;
        let per_us = limits.per_ms.saturating_mul(1_000);
        let counted: Vec<u64> =
            state.journal.entries().filter(|entry| entry.counted).map(|entry| entry.received_us).collect();
        let mut by_operation = BTreeMap::new();
        let mut by_status = BTreeMap::new();
        for entry in state.journal.entries() {
            *by_operation.entry(entry.operation).or_default() += 1;
            *by_status.entry(entry.status.unwrap_or_default()).or_default() += 1;
        }
        let archived = state.store.all().filter(|record| record.archived).count();
        Self {
            requests: state.journal.entries().count(),
            by_operation,
            by_status,
            unanswered: state.journal.entries().filter(|entry| !entry.answered).count(),
            records: state.store.all().count() - archived,
            archived,
            duplicates_by_unique: state.schema.unique_names().map(|name| state.store.duplicates(name)).sum(),
            duplicates_by_name: state.store.duplicates("hs_course_name"),
            worst_window: worst_window(counted.iter().copied(), per_us),
            limit: limits.requests,
            quota_share: quota_share(&counted, limits.requests, per_us),
            used_today: state.quota.used_today(),
            open: state.open,
            max_open: state.max_open,
        }
    }
}

/// The share of the quota that was used: over the whole intervals from the first request on, or over the
/// first one if it did not end.
#[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
fn quota_share(counted: &[u64], requests: u64, per_us: u64) -> f64 {
    let (Some(first), Some(last)) = (counted.first(), counted.last()) else { return 0.0 };
    let windows = ((last - first) / per_us.max(1)).max(1);
    let end = first.saturating_add(windows.saturating_mul(per_us));
    let used = counted.iter().filter(|at| **at < end).count();
    used as f64 / (windows.saturating_mul(requests).max(1)) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_whole_intervals() {
        let cases: [(&[u64], f64); 5] = [
            (&[], 0.0),
            (&[0], 0.5),
            (&[0, 1, 10, 11], 1.0),
            (&[0, 5, 10, 15, 20], 1.0),
            (&[0, 1, 10, 19, 20], 1.0),
        ];
        for (counted, share) in cases {
            assert!((quota_share(counted, 2, 10) - share).abs() < 1e-9, "{counted:?}");
        }
    }
}
