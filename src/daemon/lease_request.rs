//! Requests and renews the lease. The leader's report is stored with it.

use crate::outbox::OutboxError;
use crate::outbox::lease::{self, LeaseGrant};
use crate::pipeline::context::Context;
use crate::policy::leader_report::{LeaderReport, ReportedQuota};

/// Requests the lease from the database, or renews it.
pub(super) async fn request_lease(
    context: &Context,
    verify: bool,
) -> Result<Option<LeaseGrant>, OutboxError> {
    lease::acquire_or_renew(
        &context.edges.database,
        context.leadership.instance,
        &host(),
        context.settings.lease,
        &leader_report(context),
        verify,
    )
    .await
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
    }
}

/// The name of this host, for operators.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "unknown".into())
}
