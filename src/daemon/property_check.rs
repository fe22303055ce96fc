//! Verifies the unique property before anything is sent in a term of the lease, because exactly-once depends on it.
//!
//! A property that is missing, not unique or read-only pauses sending with reason `schema`. The pause ends when a later
//! check finds the property usable; no create is sent as a probe. If the definition cannot be read (a scope
//! is missing, HubSpot is unavailable), sending continues, because HubSpot checks each create itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::hubspot::api::properties::Sensitivity;
use crate::pipeline::account_request;
use crate::pipeline::context::Context;
use crate::policy::key_property::key_property;
use crate::policy::read_result::ReadResult;
use crate::runtime::lease::HeldLease;
use crate::telemetry::events;

/// The longest wait before the next check of a property that is not usable.
const UNUSABLE_MAX: Duration = Duration::from_mins(1);
/// The wait before the next check if the definition cannot be read.
const UNREADABLE_WAIT: Duration = Duration::from_mins(10);

/// Reads the definition, and pauses or resumes accordingly.
pub(super) async fn verify(context: Arc<Context>, held: HeldLease) {
    let Some(name) = context.settings.unique_property.as_deref() else { return };
    // Set before the request, so that a check that ends without a result is not repeated at once.
    context.account.unique_property.lock().retry_at = Some(Instant::now() + context.settings.poll_interval);
    let request = account_request::send_account_request(&context, held, async |context| {
        context.edges.client.properties(Sensitivity::None).await
    });
    let definitions = tokio::select! {
        () = context.runtime.shutdown.begun() => return,
        definitions = request => definitions,
    };
    let property = match definitions {
        Some(ReadResult::Found(definitions)) => key_property(definitions, name),
        Some(
            ReadResult::Denied(..)
            | ReadResult::Refused(_)
            | ReadResult::Stop(_)
            | ReadResult::Unavailable(_),
        ) => None,
        None => return,
    };
    // `None`: the definition could not be read. `Some(None)`: the property is usable.
    let problem = property.map(|property| property.problem(name));
    let next_check_after = record_check(&context, held, problem.as_ref());
    match problem {
        Some(None) => {
            context.account.resume_for_property();
            tracing::debug!(
                event = events::UNIQUE_PROPERTY_VERIFIED,
                property = name,
                "unique property verified"
            );
        }
        Some(Some(problem)) => context.account.pause_for_property(&problem),
        None => tracing::warn!(
            event = events::UNIQUE_PROPERTY_NOT_VERIFIED,
            property = name,
            retry_seconds = next_check_after.as_secs(),
            hint = "the account's properties cannot be read: run `course-sync check`; sending continues",
            "unique property not verified"
        ),
    }
}

/// Records the result of a check. Returns the time until the next one may start.
fn record_check(context: &Context, held: HeldLease, problem: Option<&Option<String>>) -> Duration {
    let mut state = context.account.unique_property.lock();
    state.term = Some(held.lease.term);
    state.is_known = problem.is_some();
    state.failures = if problem == Some(&None) { 0 } else { state.failures.saturating_add(1) };
    let wait = match problem {
        None => UNREADABLE_WAIT,
        Some(_) => context.settings.retry.equal_jitter(state.failures, fastrand::f64(), UNUSABLE_MAX),
    };
    state.next_check_at = Some(Instant::now() + wait);
    wait
}
