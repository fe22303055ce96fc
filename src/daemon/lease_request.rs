//! Requests and renews the lease. The leader's report is stored with it.

use std::time::Instant;

use crate::daemon::lease_memory::LeaseMemory;
use crate::outbox::OutboxError;
use crate::outbox::lease::{self, Lease, LeaseAnswer, LeaseRequest};
use crate::pipeline::context::Context;
use crate::policy::leader_report::{LeaderReport, ReportedQuota};
use crate::telemetry::events;

/// What an operator has to do if commits may be lost and course-sync cannot look the courses up.
const REVIEW: &str = "Pending courses may already exist in HubSpot, and without hubspot.unique_property course-sync cannot \
                      check. Compare them by hand, then run `course-sync resume`";

/// Requests the lease from the database, or renews it. `verify`: pending courses are verified before anything is sent.
pub(super) async fn request_lease(
    context: &Context,
    memory: &mut LeaseMemory,
    verify: bool,
) -> Result<LeaseAnswer, OutboxError> {
    // Read before the request: what is sent later is not covered by the renewal.
    let sent = context.account.rate_limiter.sent_while_idle();
    let request = LeaseRequest {
        holder: context.leadership.instance,
        host: &host(),
        lease: context.settings.lease,
        report: &leader_report(context),
        verify,
        renewals: memory.renewals,
        was_idle: memory.was_idle(sent),
        stale: memory.stale(Instant::now()),
        review: context.settings.unique_property.is_none().then_some(REVIEW),
    };
    let answer = lease::request_lease(&context.edges.database, &request).await?;
    match &answer {
        LeaseAnswer::Granted(granted) => {
            memory.record_grant(granted, sent);
            // Before the lease is used.
            context.account.set_reserved(granted.reserved);
            context.edges.database.server().confirm_run(&granted.server);
            if granted.is_adopted {
                tracing::info!(
                    event = events::DATABASE_CHANGE_ADOPTED,
                    term = granted.lease.term.0,
                    "database change adopted"
                );
            }
        }
        LeaseAnswer::Held { renewals, lasts } => {
            memory.record_other_leader(*renewals, lasts.unwrap_or(context.settings.lease), Instant::now());
        }
        LeaseAnswer::Unavailable => {}
    }
    Ok(answer)
}

/// Renews this lease. False if it was lost.
pub(super) async fn renew_lease(
    context: &Context,
    memory: &mut LeaseMemory,
    lease: Lease,
) -> Result<bool, OutboxError> {
    let answer = request_lease(context, memory, false).await?;
    Ok(matches!(answer, LeaseAnswer::Granted(granted) if granted.lease == lease))
}

/// The report that is stored with the lease, for `status`.
fn leader_report(context: &Context) -> LeaderReport {
    let quota = context.account.quota();
    LeaderReport {
        since: context.leadership.since(),
        pauses: context.account.pauses(),
        quota: Some(ReportedQuota {
            max: quota.max,
            remaining: quota.remaining,
            daily: quota.daily,
            daily_remaining: quota.daily_remaining,
            limit: Some(context.account.rate_limiter.limit()),
        }),
        requests: Some(context.settings.rate_limit.requests),
        per_seconds: Some(context.settings.rate_limit.per.as_secs_f64()),
        batch_size: Some(context.account.batch_size().into()),
        reserved: Some(context.account.rate_limiter.reserved()),
    }
}

/// The name of this host, for operators.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "unknown".into())
}
