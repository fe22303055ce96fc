//! Leadership: acquires the lease, renews it, releases it.
//!
//! A new leader does two things before it sends: it marks courses that earlier leaders left in flight as unconfirmed, and
//! it counts their recent requests against the quota.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::course::Term;
use crate::daemon::lease_memory::LeaseMemory;
use crate::daemon::lease_request::{renew_lease, request_lease};
use crate::daemon::{orphans, verify};
use crate::outbox::integrity::{self, OutboxDefect};
use crate::outbox::lease::{self, Lease, LeaseAnswer};
use crate::outbox::{OutboxError, journal};
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

/// The result of one attempt to lead.
enum Attempt {
    /// This instance leads.
    Leads(HeldLease),
    /// Another instance leads.
    StandsBy,
    /// The outbox cannot be used, although the database works.
    Unusable(OutboxDefect),
}

/// Acquires and renews the lease until `stop`.
async fn lead(context: Arc<Context>, sender: watch::Sender<Option<HeldLease>>, stop: CancellationToken) {
    let settings = &context.settings;
    let (mut is_standby, mut memory) = (false, LeaseMemory::default());
    let mut defect = None;
    loop {
        let held = *sender.borrow();
        let attempt = acquire(&context, &sender, &mut memory).await;
        let has_failed = attempt.is_err();
        if let Ok(attempt) = &attempt {
            context.reporting.database_health.record_success(DatabaseTask::KeepLease);
            report_defect(&context, &mut defect, attempt);
        }
        let pause = match attempt {
            Ok(Attempt::Leads(held)) => {
                sender.send_replace(Some(held));
                is_standby = false;
                settings.lease / 3
            }
            Ok(Attempt::StandsBy) => {
                context.reporting.database_health.clear_leader_tasks();
                drop_lease(&context, &sender, "another instance leads");
                if !is_standby {
                    tracing::info!(event = events::STANDBY_STARTED, "standby started");
                    is_standby = true;
                }
                settings.poll_interval.min(settings.lease)
            }
            Ok(Attempt::Unusable(_)) => {
                // Their last errors would hide the defect, and they are not repeated without a lease.
                context.reporting.database_health.clear_leader_tasks();
                drop_lease(&context, &sender, "the outbox cannot be used");
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
        let leads = sender.borrow().is_some();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The server may have been restarted. Nothing is claimed there before the lease is renewed.
            () = context.edges.database.server().connection_opened(), if leads && !has_failed => {}
            // The lease row contains the report, so a change of the pauses is reported at once.
            () = context.account.pause_changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Logs when the outbox becomes unusable or usable, and shows the reason in `/readyz`.
fn report_defect(context: &Context, reported: &mut Option<OutboxDefect>, attempt: &Attempt) {
    let defect = match attempt {
        Attempt::Unusable(defect) => Some(defect),
        Attempt::Leads(_) | Attempt::StandsBy => None,
    };
    if reported.as_ref() == defect {
        return;
    }
    context.reporting.database_health.set_waiting(defect.map(ToString::to_string));
    match defect {
        Some(detail) => tracing::error!(event = events::OUTBOX_UNUSABLE, %detail, "outbox unusable"),
        None => tracing::info!(event = events::OUTBOX_USABLE, "outbox usable"),
    }
    *reported = defect.cloned();
}

/// Acquires or renews the lease. A new leader prepares before it publishes the lease to the engine.
async fn acquire(
    context: &Arc<Context>,
    sender: &watch::Sender<Option<HeldLease>>,
    memory: &mut LeaseMemory,
) -> Result<Attempt, OutboxError> {
    let settings = &context.settings;
    if let Some(defect) = find_defect(context, memory).await? {
        return Ok(Attempt::Unusable(defect));
    }
    // Measured before the request to the database, so this instance stops before its lease expires there.
    let mut valid_until = deadline_of_new_lease(settings);
    // `--verify-first` applies to the first lease only.
    let verify = settings.verify_first && !memory.has_verified;
    let is_idle = memory.was_idle(context.account.rate_limiter.sent_while_idle());
    let granted = match request_lease(context, memory, verify).await? {
        LeaseAnswer::Granted(granted) => granted,
        LeaseAnswer::Held { .. } => return Ok(Attempt::StandsBy),
        LeaseAnswer::Unavailable => {
            memory.require_check();
            let defect = find_defect(context, memory).await?;
            // Without a defect, another instance has taken the lease in between.
            return Ok(defect.map_or(Attempt::StandsBy, Attempt::Unusable));
        }
    };
    let lease = granted.lease;
    if granted.verifying {
        drop_lease(context, sender, "pending courses must be looked up first");
        if !verify::verify_pending(context, memory, &granted).await? {
            return Ok(Attempt::StandsBy);
        }
        memory.has_verified = true;
        // The verification may have taken longer than a lease lasts.
        valid_until = deadline_of_new_lease(settings);
        if !renew_lease(context, memory, lease).await? {
            return Ok(Attempt::StandsBy);
        }
    }
    let renewed = HeldLease { lease, valid_until };
    let is_new_term = sender.borrow().is_none_or(|held| held.lease != lease);
    if !is_new_term {
        // A renewal waits for no other work.
        sender.send_replace(Some(renewed));
    }
    // Also at renewals, because a task of this instance may have died with courses in flight.
    let may_skip =
        !is_new_term && is_idle && !context.reporting.database_health.is_failing(DatabaseTask::MarkOrphans);
    let orphans =
        if memory.must_mark_orphans(may_skip) { orphans::mark_unconfirmed(context, lease).await } else { 0 };
    if orphans > 0 {
        // They are looked up later, and a daemon that was idle has to find out when.
        context.runtime.wake.notify_completion();
    }
    if is_new_term {
        start_term(context, lease, orphans).await?;
    }
    Ok(Attempt::Leads(renewed))
}

/// Checks the tables, if that is due. If the leader's row stays missing for as long as a lease lasts, inserts it.
async fn find_defect(
    context: &Context,
    memory: &mut LeaseMemory,
) -> Result<Option<OutboxDefect>, OutboxError> {
    if !memory.is_check_due(Instant::now()) {
        return Ok(None);
    }
    let database = &context.edges.database;
    let mut defect = integrity::read_integrity(database).await?.defect;
    if defect == Some(OutboxDefect::LeaderRowMissing)
        && memory.record_missing_row(Instant::now()) > context.settings.lease
        && lease::restore_leader_row(database).await?
    {
        tracing::warn!(event = events::LEADER_ROW_INSERTED, "leader row inserted");
        defect = None;
    }
    memory.record_check(defect.is_none(), Instant::now());
    Ok(defect)
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
