//! Verifies the unique property before anything is sent in a term of the lease, because exactly-once depends on it.
//!
//! A property that is missing, not unique or read-only pauses sending with reason `schema`. The pause ends when a later
//! check finds the property usable; no create is sent as a probe. If HubSpot is unavailable, the check is repeated a few times,
//! for about 15 s, before anything is sent. If the definition still cannot be read, or may not be read (a scope is missing), sending
//! continues, because HubSpot checks each create itself.

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
/// The wait before the next check if the definition may not be read.
const DENIED_WAIT: Duration = Duration::from_mins(10);
/// The wait after the first check without an answer. It doubles with each one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// So many checks in a row may end without an answer before sending continues without one.
const UNANSWERED_CHECKS: u32 = 5;

/// What a check found.
enum DefinitionCheck {
    /// The property is usable.
    Usable,
    /// It is not usable, for this reason.
    Problem(String),
    /// The definition may not be read.
    Denied,
    /// No request of the account can succeed. The courses' requests show it too, and pause sending.
    Stopped,
    /// HubSpot is unavailable.
    Unanswered,
}

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
    let result = match definitions {
        Some(ReadResult::Found(definitions)) => match key_property(definitions, name) {
            Some(property) => {
                property.problem(name).map_or(DefinitionCheck::Usable, DefinitionCheck::Problem)
            }
            // Not a list of the courses' properties.
            None => DefinitionCheck::Denied,
        },
        Some(ReadResult::Denied(..) | ReadResult::Refused(_)) => DefinitionCheck::Denied,
        Some(ReadResult::Stop(_)) => DefinitionCheck::Stopped,
        Some(ReadResult::Unavailable(_)) => DefinitionCheck::Unanswered,
        None => return,
    };
    let (next_check_after, is_held) = record_check(&context, held, &result);
    match result {
        DefinitionCheck::Usable => {
            context.account.resume_for_property();
            tracing::debug!(
                event = events::UNIQUE_PROPERTY_VERIFIED,
                property = name,
                "unique property verified"
            );
        }
        DefinitionCheck::Problem(problem) => context.account.pause_for_property(&problem),
        DefinitionCheck::Denied | DefinitionCheck::Stopped | DefinitionCheck::Unanswered => tracing::warn!(
            event = events::UNIQUE_PROPERTY_NOT_VERIFIED,
            property = name,
            retry_seconds = next_check_after.as_secs(),
            hint = if is_held {
                "the account's properties cannot be read: nothing is sent before the next attempt"
            } else {
                "the account's properties cannot be read: run `course-sync check`; sending continues"
            },
            "unique property not verified"
        ),
    }
}

/// Records the result of a check. Returns the time until the next one may start, and whether nothing is sent until then.
fn record_check(context: &Context, held: HeldLease, result: &DefinitionCheck) -> (Duration, bool) {
    let mut state = context.account.unique_property.lock();
    state.failures = match result {
        DefinitionCheck::Usable => 0,
        _ => state.failures.saturating_add(1),
    };
    let wait = match result {
        DefinitionCheck::Denied => DENIED_WAIT,
        DefinitionCheck::Stopped => UNUSABLE_MAX,
        DefinitionCheck::Unanswered => {
            FIRST_RETRY * (1 << state.failures.clamp(1, UNANSWERED_CHECKS).saturating_sub(1))
        }
        DefinitionCheck::Usable | DefinitionCheck::Problem(_) => {
            context.settings.retry.equal_jitter(state.failures, fastrand::f64(), UNUSABLE_MAX)
        }
    };
    let next_check_at = Some(Instant::now() + wait);
    if matches!(result, DefinitionCheck::Unanswered) && state.failures < UNANSWERED_CHECKS {
        // Still the first check of this term: nothing is sent before its result.
        state.retry_at = next_check_at;
        return (wait, true);
    }
    state.term = Some(held.lease.term);
    state.is_known = matches!(result, DefinitionCheck::Usable | DefinitionCheck::Problem(_));
    state.next_check_at = next_check_at;
    (wait, false)
}
