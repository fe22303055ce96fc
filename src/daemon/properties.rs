//! Verifies the unique property, before anything is sent in a term of the lease: exactly-once rests on it.
//!
//! A property that is missing, not unique or read-only pauses with reason `schema`, and the pause ends when the
//! definition is read again and can be used; no create is spent on finding out. Where the definition cannot be read
//! (a scope is missing, HubSpot is away), sending goes on: HubSpot judges the creates.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::leader::Held;
use super::{Shared, question};
use crate::policy::key_property::key_property;
use crate::policy::pause::Reason;
use crate::policy::schema::{Ending, Sensitivity};

/// What is known of the property.
#[derive(Debug, Default)]
pub(super) struct UniqueProperty(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The term in which its definition was asked for last.
    term: Option<i64>,
    /// Whether it was read then.
    is_known: bool,
    not_before: Option<Instant>,
    /// How often in a row it could not be used, or not be read.
    failures: u32,
}

/// Whether the definition is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    No,
    /// Now, while sending goes on.
    Now,
    /// Now, before anything is sent.
    First,
    /// Nothing is sent before it was asked for, which has to wait.
    Wait,
}

/// The longest wait between two looks at a property that cannot be used; and at one that cannot be read.
const UNUSABLE_MAX: Duration = Duration::from_mins(1);
const UNREADABLE: Duration = Duration::from_mins(10);

impl UniqueProperty {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the definition is to be read in this term.
    pub(super) fn due(&self, shared: &Shared, term: i64) -> Due {
        if shared.settings.unique_property.is_none() {
            return Due::No;
        }
        let (state, now) = (self.state(), Instant::now());
        let is_time = state.not_before.is_none_or(|not_before| not_before <= now);
        match (state.term == Some(term), is_time) {
            (false, true) => Due::First,
            (false, false) => Due::Wait,
            (true, true) if !state.is_known || shared.account.holds(Reason::Schema) => Due::Now,
            (true, _) => Due::No,
        }
    }
}

/// Reads the definition, and pauses or goes on by what it shows.
pub(super) async fn verify(shared: Arc<Shared>, held: Held) {
    let Some(name) = shared.settings.unique_property.as_deref() else { return };
    // Whatever happens, not at once again.
    shared.unique.state().not_before = Some(Instant::now() + shared.settings.poll_interval);
    let ask = question::ask(&shared, held, async |shared| shared.client.properties(Sensitivity::None).await);
    let asked = tokio::select! {
        () = shared.shutdown.begun() => return,
        asked = ask => asked,
    };
    let found = match asked {
        Some(Ending::Told(definitions)) => key_property(definitions, name),
        Some(Ending::Denied(..) | Ending::Refused(_) | Ending::Stop(_) | Ending::Away(_)) => None,
        None => return,
    };
    let problem = found.map(|property| property.problem(name));
    let wait = {
        let mut state = shared.unique.state();
        state.term = Some(held.lease.term);
        state.is_known = found.is_some();
        state.failures = if problem == Some(None) { 0 } else { state.failures.saturating_add(1) };
        let wait = match problem {
            None => UNREADABLE,
            Some(_) => shared.settings.retry.equal_jitter(state.failures, fastrand::f64(), UNUSABLE_MAX),
        };
        state.not_before = Some(Instant::now() + wait);
        wait
    };
    match problem {
        Some(None) => {
            shared.account.can_use_property();
            tracing::debug!(property = name, "unique property verified");
        }
        Some(Some(problem)) => shared.account.cannot_use_property(&problem),
        None => tracing::warn!(
            property = name,
            retry_seconds = wait.as_secs(),
            "the unique property could not be verified: the account's properties cannot be read. Sending goes on"
        ),
    }
}
