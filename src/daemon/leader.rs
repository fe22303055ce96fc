//! Leadership: acquires the lease, renews it, releases it.
//!
//! A new leader does two things before it sends: it marks courses that earlier leaders left in flight as unconfirmed, and
//! it counts their recent requests against the quota.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::course::Term;
use crate::daemon::lease_request::request_lease;
use crate::daemon::verify;
use crate::outbox::lease::{self, Lease};
use crate::outbox::{OutboxError, journal, recover};
use crate::pipeline::context::Context;
use crate::pipeline::settings::Settings;
use crate::runtime::database_health::DatabaseTask;
use crate::runtime::lease::{Deadline, HeldLease};
use crate::telemetry::events;

/// The task that acquires and renews the lease.
pub(super) struct LeaderTask {
    lease: watch::Receiver<Option<HeldLease>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    context: Arc<Context>,
}

/// How long a shutdown waits for the release of the lease. Otherwise the lease expires by itself.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts the task.
pub(super) fn spawn(context: Arc<Context>) -> LeaderTask {
    let (sender, lease) = watch::channel(None);
    let stop = CancellationToken::new();
    let task = tokio::spawn(lead(Arc::clone(&context), sender, stop.clone()));
    LeaderTask { lease, stop, task, context }
}

impl LeaderTask {
    /// The lease while this instance holds it.
    pub(super) fn lease(&self) -> watch::Receiver<Option<HeldLease>> {
        self.lease.clone()
    }

    /// Stops leading and releases the lease, so that another instance can lead at once.
    pub(super) async fn release(self) {
        self.stop.cancel();
        self.context.leadership.set(false, &self.context.reporting.metrics);
        let Self { lease, task, context, .. } = self;
        let release = tokio::spawn(async move {
            task.await.ok();
            let held = *lease.borrow();
            release_lease(&context, held).await
        });
        match tokio::time::timeout(RELEASE_TIMEOUT, release).await {
            Ok(Ok(Ok(Some(term)))) => {
                tracing::info!(event = events::LEASE_RELEASED, term = term.0, "lease released");
            }
            Ok(Ok(Ok(None))) => {}
            _ => tracing::warn!(event = events::LEASE_RELEASE_FAILED, "lease release failed"),
        }
    }
}

/// Releases the lease, if this instance holds it. Returns its term.
async fn release_lease(context: &Context, held: Option<HeldLease>) -> Result<Option<Term>, OutboxError> {
    let Some(held) = held else { return Ok(None) };
    lease::release(&context.edges.database, held.lease).await?;
    Ok(Some(held.lease.term))
}

/// Acquires and renews the lease until `stop`.
async fn lead(context: Arc<Context>, sender: watch::Sender<Option<HeldLease>>, stop: CancellationToken) {
    let settings = &context.settings;
    let (mut is_standby, mut has_verified) = (false, false);
    loop {
        let held = *sender.borrow();
        let pause = match acquire(&context, &sender, &mut has_verified).await {
            Ok(Some(held)) => {
                context.reporting.database_health.record_success(DatabaseTask::KeepLease);
                sender.send_replace(Some(held));
                is_standby = false;
                settings.lease / 3
            }
            Ok(None) => {
                context.reporting.database_health.record_success(DatabaseTask::KeepLease);
                context.reporting.database_health.clear_leader_tasks();
                drop_lease(&context, &sender, "another instance leads");
                if !is_standby {
                    tracing::info!(event = events::STANDBY_STARTED, "standby started");
                    is_standby = true;
                }
                settings.poll_interval.min(settings.lease)
            }
            Err(error) => {
                if held.is_none_or(|held| !held.is_valid()) {
                    drop_lease(&context, &sender, "lease expired before it was renewed");
                }
                context.reporting.database_health.record_failure(DatabaseTask::KeepLease, &error);
                settings.poll_interval.min(settings.lease / 6)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The lease row contains the report, so a change of the pauses is reported at once.
            () = context.account.pause_changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Acquires or renews the lease. A new leader prepares before it publishes the lease to the engine.
async fn acquire(
    context: &Arc<Context>,
    sender: &watch::Sender<Option<HeldLease>>,
    has_verified: &mut bool,
) -> Result<Option<HeldLease>, OutboxError> {
    let settings = &context.settings;
    // Measured before the request to the database, so this instance stops before its lease expires there.
    let mut valid_until = deadline_of_new_lease(settings);
    // `--verify-first` applies to the first lease only.
    let verify = settings.verify_first && !*has_verified;
    let Some(granted) = request_lease(context, verify).await? else { return Ok(None) };
    let lease = granted.lease;
    if granted.verifying {
        drop_lease(context, sender, "pending courses must be looked up first");
        if !verify::verify_pending(context, lease).await? {
            return Ok(None);
        }
        *has_verified = true;
        // The verification may have taken longer than a lease lasts.
        valid_until = deadline_of_new_lease(settings);
        if request_lease(context, false).await?.is_none_or(|granted| granted.lease != lease) {
            return Ok(None);
        }
    }
    // Also at each renewal, because a task of this instance may have died with courses in flight.
    let orphans = recover::mark_orphans_unconfirmed(
        &context.edges.database,
        lease,
        settings.settle,
        settings.send_window(),
    )
    .await?;
    let held = *sender.borrow();
    if held.is_none_or(|held| held.lease != lease) {
        start_term(context, lease, orphans).await?;
    }
    Ok(Some(HeldLease { lease, valid_until }))
}

fn deadline_of_new_lease(settings: &Settings) -> Deadline {
    Deadline::after(settings.lease.saturating_sub(settings.lease_margin()))
}

/// Prepares this instance for a new term. `orphans`: the number of courses that became unconfirmed.
async fn start_term(context: &Context, lease: Lease, orphans: u64) -> Result<(), OutboxError> {
    let settings = &context.settings;
    let reach = settings.rate_limit.per + settings.send_window();
    let instance = context.leadership.instance;
    let requests =
        journal::recent_requests(&context.edges.database, instance, reach, settings.rate_limit.per).await?;
    let slots_taken = requests.len();
    // The statements come first: after an error the caller repeats all of this, and requests must not count twice.
    context.account.rate_limiter.count_requests(requests);
    context.account.begin_term();
    context.leadership.set(true, &context.reporting.metrics);
    tracing::info!(
        event = events::LEASE_ACQUIRED,
        term = lease.term.0,
        unconfirmed = orphans,
        slots_taken,
        "lease acquired"
    );
    Ok(())
}

/// Withdraws the lease from the engine, if it has one.
fn drop_lease(context: &Context, sender: &watch::Sender<Option<HeldLease>>, reason: &'static str) {
    if let Some(held) = sender.send_replace(None) {
        context.leadership.set(false, &context.reporting.metrics);
        tracing::warn!(event = events::LEASE_LOST, term = held.lease.term.0, reason, "lease lost");
    }
}
