//! What this process remembers of the leader's row: enough to notice that the database lost commits, and that a leader
//! is gone although its lease seems to last. Nothing of it is stored in the database, so a restore cannot change it.

use std::time::{Duration, Instant};

use crate::outbox::lease::LeaseGrant;

/// How often the tables are checked while this instance leads.
const CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// While nothing is sent, orphans are marked at one of this many renewals.
const IDLE_RENEWALS: u8 = 3;

/// What this process remembers of the leader's row.
#[derive(Debug, Default)]
pub(super) struct LeaseMemory {
    /// The highest value of the row's counter.
    pub(super) renewals: Option<i64>,
    /// The number of requests sent before the last renewal, if none was open then.
    sent_before: Option<u64>,
    /// The counter of another leader, since when it is unchanged, and how long that leader's lease lasts.
    other_leader: Option<(i64, Instant, Duration)>,
    /// Since when the leader's row is missing.
    missing_since: Option<Instant>,
    /// When the tables were last found complete.
    checked_at: Option<Instant>,
    /// The renewals since orphans were last marked.
    unmarked_renewals: u8,
    /// The pending courses were verified as `--verify-first` requests.
    pub(super) has_verified: bool,
}

impl LeaseMemory {
    /// Whether nothing was sent since the last renewal. `sent`: the number of requests sent so far, if none is open.
    pub(super) fn was_idle(&self, sent: Option<u64>) -> bool {
        sent.is_some() && self.sent_before == sent
    }

    /// Whether orphans have to be marked at this renewal. `may_skip`: nothing was sent since the last one.
    pub(super) fn must_mark_orphans(&mut self, may_skip: bool) -> bool {
        self.unmarked_renewals += 1;
        let must_mark = !may_skip || self.unmarked_renewals >= IDLE_RENEWALS;
        if must_mark {
            self.unmarked_renewals = 0;
        }
        must_mark
    }

    /// The counter of a leader that has not renewed its lease for as long as the lease lasts.
    pub(super) fn stale(&self, now: Instant) -> Option<i64> {
        let (renewals, since, lasts) = self.other_leader?;
        (now.saturating_duration_since(since) > lasts).then_some(renewals)
    }

    /// Remembers the row as this instance wrote it. `sent`: the number of requests sent before the renewal, if none was
    /// open then.
    pub(super) fn record_grant(&mut self, granted: &LeaseGrant, sent: Option<u64>) {
        self.renewals = Some(granted.renewals);
        self.sent_before = sent;
        self.other_leader = None;
        self.missing_since = None;
    }

    /// Remembers the row of another leader, whose lease lasts this long.
    pub(super) fn record_other_leader(&mut self, renewals: i64, lasts: Duration, now: Instant) {
        // Not the last value: if it went back, that must be noticed when this instance leads.
        self.renewals = self.renewals.max(Some(renewals));
        self.missing_since = None;
        match &mut self.other_leader {
            Some((known, _, known_lasts)) if *known == renewals => *known_lasts = lasts,
            other => *other = Some((renewals, now, lasts)),
        }
    }

    /// Records that the leader's row is missing. Returns how long it has been missing.
    pub(super) fn record_missing_row(&mut self, now: Instant) -> Duration {
        self.other_leader = None;
        now.saturating_duration_since(*self.missing_since.get_or_insert(now))
    }

    /// Whether the tables have to be checked.
    pub(super) fn is_check_due(&self, now: Instant) -> bool {
        self.checked_at.is_none_or(|at| now.saturating_duration_since(at) >= CHECK_INTERVAL)
    }

    /// Makes a check due.
    pub(super) fn require_check(&mut self) {
        self.checked_at = None;
    }

    /// Records whether the tables were found complete.
    pub(super) fn record_check(&mut self, is_complete: bool, now: Instant) {
        self.checked_at = is_complete.then_some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    #[test]
    fn a_leader_is_stale_after_one_lease_without_a_renewal() {
        let (mut memory, start) = (LeaseMemory::default(), Instant::now());
        memory.record_other_leader(7, LEASE, start);
        memory.record_other_leader(7, LEASE, start + LEASE);
        assert_eq!(memory.stale(start + LEASE), None);
        assert_eq!(memory.stale(start + LEASE * 2), Some(7));
        memory.record_other_leader(8, LEASE, start + LEASE * 2);
        assert_eq!(memory.stale(start + LEASE * 3), None);
        memory.record_missing_row(start + LEASE * 3);
        assert_eq!(memory.stale(start + LEASE * 9), None);
    }

    #[test]
    fn an_older_row_of_another_leader_is_not_forgotten() {
        let (mut memory, now) = (LeaseMemory::default(), Instant::now());
        memory.record_other_leader(7, LEASE, now);
        memory.record_other_leader(3, LEASE, now);
        assert_eq!(memory.renewals, Some(7));
    }

    #[test]
    fn orphans_are_marked_less_often_while_nothing_is_sent() {
        let mut memory = LeaseMemory::default();
        let mut mark = |may_skip: [bool; 6]| may_skip.map(|may_skip| memory.must_mark_orphans(may_skip));
        assert_eq!(mark([false; 6]), [true; 6]);
        assert_eq!(mark([true; 6]), [false, false, true, false, false, true]);
    }

    #[test]
    fn only_an_idle_process_knows_that_nothing_is_lost() {
        let mut memory = LeaseMemory::default();
        assert!(!memory.was_idle(None) && !memory.was_idle(Some(0)));
        memory.sent_before = Some(4);
        assert!(memory.was_idle(Some(4)));
        assert!(!memory.was_idle(Some(5)) && !memory.was_idle(None));
    }
}
