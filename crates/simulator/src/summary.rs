//! Counts of requests and records, used by tests and the demo. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::quota::worst_window;
use super::route::Operation;
use super::state::State;

/// Counts of requests and records.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// Requests in the journal.
    pub requests: usize,
    /// Requests by operation.
    pub by_operation: BTreeMap<Operation, usize>,
    /// Requests by status of the response; 0: no response.
    pub by_status: BTreeMap<u16, usize>,
    /// Requests without a complete response, including open ones.
    pub unanswered: usize,
    /// Records that are not archived.
    pub records: usize,
    /// Archived records.
    pub archived: usize,
    /// Values that more than one record has, of all unique properties.
    pub duplicates_by_unique: usize,
    /// Values of `hs_course_name` that more than one record has.
    pub duplicates_by_name: usize,
    /// The highest number of counted requests in any rolling interval.
    pub worst_window: usize,
    /// Requests allowed per interval.
    pub limit: u64,
    /// Counted requests, as a fraction of those allowed in the complete intervals since the first request.
    pub quota_share: f64,
    /// Requests counted since the account's midnight.
    pub used_today: u64,
    /// Requests that are open now.
    pub open: usize,
    /// The highest number of requests open at the same time.
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

/// The fraction of the quota that was used, in the complete intervals since the first request, or in the first
/// interval if it is not complete.
#[expect(clippy::cast_precision_loss, reason = "for display only")]
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
    fn quota_share_is_of_complete_intervals() {
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
