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
    /// The earliest time of the next check.
    pub not_before: Option<Instant>,
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
        let is_time = state.not_before.is_none_or(|not_before| not_before <= now);
        match (state.term == Some(term), is_time) {
            (false, true) => CheckDue::FirstNow,
            (false, false) => CheckDue::FirstLater,
            (true, true) if !state.is_known || is_paused_for_it => CheckDue::Now,
            (true, _) => CheckDue::No,
        }
    }
}
