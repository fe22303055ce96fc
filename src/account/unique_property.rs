//! Whether the unique property was checked in this term of the lease, and when the next check is due.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::course::Term;

/// The state of the checks.
#[derive(Debug, Default)]
pub(crate) struct UniqueProperty(Mutex<PropertyCheckState>);

#[derive(Debug, Default)]
pub(crate) struct PropertyCheckState {
    /// The term of the last check.
    pub term: Option<Term>,
    /// Whether the definition was read in that term.
    pub is_known: bool,
    /// The earliest time of the next check in that term. A new term checks again, whatever the last one found.
    pub next_check_at: Option<Instant>,
    /// The earliest time of any check, so that one that ended without a result is not repeated at once.
    pub retry_at: Option<Instant>,
    /// Consecutive checks that found the property not usable or not readable.
    pub failures: u32,
}

/// Whether a check is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckDue {
    /// No check is due.
    No,
    /// A check is due. Sending continues until its result.
    Now,
    /// The first check of the term is due. Nothing is sent before its result.
    FirstNow,
    /// The first check of the term is due later. Nothing is sent before its result.
    FirstLater,
}

impl UniqueProperty {
    pub(crate) fn lock(&self) -> MutexGuard<'_, PropertyCheckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a check is due in this term.
    pub(crate) fn check_due(&self, term: Term, is_paused_for_it: bool) -> CheckDue {
        let (state, now) = (self.lock(), Instant::now());
        let may_retry = has_come(state.retry_at, now);
        match (state.term == Some(term), may_retry) {
            (false, true) => CheckDue::FirstNow,
            (false, false) => CheckDue::FirstLater,
            (true, true) if has_come(state.next_check_at, now) && (!state.is_known || is_paused_for_it) => {
                CheckDue::Now
            }
            (true, _) => CheckDue::No,
        }
    }
}

fn has_come(time: Option<Instant>, now: Instant) -> bool {
    time.is_none_or(|time| time <= now)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_new_term_checks_at_once_also_after_a_check_that_found_nothing() {
        let property = UniqueProperty::default();
        let hour = Instant::now() + Duration::from_hours(1);
        assert_eq!(property.check_due(Term(1), false), CheckDue::FirstNow);
        // The definition could not be read in this term: the next try is in an hour, and sending continues.
        *property.lock() =
            PropertyCheckState { term: Some(Term(1)), next_check_at: Some(hour), ..Default::default() };
        assert_eq!(property.check_due(Term(1), false), CheckDue::No);
        assert_eq!(property.check_due(Term(2), false), CheckDue::FirstNow);
        // A check that ended without a result is not repeated at once, in no term.
        property.lock().retry_at = Some(hour);
        assert_eq!(property.check_due(Term(2), false), CheckDue::FirstLater);
        assert_eq!(property.check_due(Term(1), false), CheckDue::No);
    }

    #[test]
    fn a_property_that_is_not_usable_is_checked_again_and_a_usable_one_is_not() {
        let property = UniqueProperty::default();
        *property.lock() = PropertyCheckState { term: Some(Term(1)), is_known: true, ..Default::default() };
        assert_eq!(property.check_due(Term(1), true), CheckDue::Now);
        assert_eq!(property.check_due(Term(1), false), CheckDue::No);
    }
}
