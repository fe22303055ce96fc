//! Leadership: takes the lease, keeps it, hands it over.
//!
//! Taking it means two things before anything is sent: what earlier leaders left in flight becomes
//! unconfirmed, and what they sent lately takes its slots in the quota.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::trouble::Work;
use super::{Shared, verify};
use crate::outbox::lease::{self, Granted, Lease};
use crate::outbox::{OutboxError, recover};

/// A lease as this process may trust it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Held {
    pub lease: Lease,
    /// Nothing may begin after this. Counted from before the database was asked, so it errs early.
    pub valid_until: Deadline,
}

/// A time after which nothing may begin, on two clocks: the steady one stands still while the machine
/// is suspended, the other can be set. Whichever says so first is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Deadline {
    steady: Instant,
    wall: SystemTime,
}

impl Deadline {
    /// This long from now.
    pub(super) fn after(time: Duration) -> Self {
        Self { steady: Instant::now() + time, wall: SystemTime::now() + time }
    }

    /// The earlier of two, on each clock.
    pub(super) fn min(self, other: Self) -> Self {
        Self { steady: self.steady.min(other.steady), wall: self.wall.min(other.wall) }
    }

    /// Whether it is over.
    pub(super) fn has_passed(self) -> bool {
        Instant::now() >= self.steady || SystemTime::now() >= self.wall
    }
}

impl Held {
    /// Whether something may begin under it now.
    pub(super) fn is_valid(&self) -> bool {
        !self.valid_until.has_passed()
    }
}

/// The task that leads.
pub(super) struct Leadership {
    lease: watch::Receiver<Option<Held>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    shared: Arc<Shared>,
}

/// How long the end waits for the lease to be handed over; after it the lease expires by itself.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Begins to lead, or to wait for it.
pub(super) fn spawn(shared: Arc<Shared>) -> Leadership {
    let (sender, lease) = watch::channel(None);
    let stop = CancellationToken::new();
    let task = tokio::spawn(lead(Arc::clone(&shared), sender, stop.clone()));
    Leadership { lease, stop, task, shared }
}

impl Leadership {
    /// The lease, as it comes and goes.
    pub(super) fn lease(&self) -> watch::Receiver<Option<Held>> {
        self.lease.clone()
    }

    /// Stops leading and lets another instance lead at once.
    pub(super) async fn hand_over(self) {
        self.stop.cancel();
        self.shared.leads(false);
        let Self { lease, task, shared, .. } = self;
        let release = tokio::spawn(async move {
            task.await.ok();
            let held = *lease.borrow();
            match held {
                Some(held) => {
                    lease::release(&shared.database, held.lease).await.map(|()| Some(held.lease.term))
                }
                None => Ok(None),
            }
        });
        match tokio::time::timeout(HAND_OVER, release).await {
            Ok(Ok(Ok(Some(term)))) => tracing::info!(term, "lease handed over"),
            Ok(Ok(Ok(None))) => {}
            _ => tracing::warn!("the lease could not be handed over; it expires by itself"),
        }
    }
}

async fn lead(shared: Arc<Shared>, sender: watch::Sender<Option<Held>>, stop: CancellationToken) {
    let settings = &shared.settings;
    let mut said_waiting = false;
    loop {
        let held = *sender.borrow();
        let pause = match take(&shared, &sender).await {
            Ok(Some(held)) => {
                shared.trouble.is_well(Work::Lead);
                sender.send_replace(Some(held));
                said_waiting = false;
                settings.lease / 3
            }
            Ok(None) => {
                shared.trouble.is_well(Work::Lead);
                shared.trouble.is_not_leading();
                lose(&shared, &sender, "another instance leads");
                if !said_waiting {
                    tracing::info!("another instance leads; waiting to take over");
                    said_waiting = true;
                }
                settings.poll_interval.min(settings.lease)
            }
            Err(error) => {
                if held.is_none_or(|held| !held.is_valid()) {
                    lose(&shared, &sender, "the lease ran out unrenewed");
                }
                shared.trouble.failed(Work::Lead, &error);
                settings.poll_interval.min(settings.lease / 6)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            // The report, which goes with the lease, tells others of it.
            () = shared.account.news() => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Takes or renews the lease; a lease that is new does its duties first.
async fn take(
    shared: &Arc<Shared>,
    sender: &watch::Sender<Option<Held>>,
) -> Result<Option<Held>, OutboxError> {
    let settings = &shared.settings;
    let trusted = || Deadline::after(settings.lease.saturating_sub(settings.margin()));
    let mut valid_until = trusted();
    // Asked for once: by the first lease.
    let verify = settings.verify_first && !shared.has_verified.load(Ordering::Relaxed);
    let Some(granted) = ask(shared, verify).await? else { return Ok(None) };
    let lease = granted.lease;
    if granted.verifying {
        lose(shared, sender, "what is pending has to be looked up first");
        if !verify::pass(shared, lease).await? {
            return Ok(None);
        }
        shared.has_verified.store(true, Ordering::Relaxed);
        // The pass may have taken longer than a lease lasts.
        valid_until = trusted();
        if ask(shared, false).await?.is_none_or(|granted| granted.lease != lease) {
            return Ok(None);
        }
    }
    let doubted = recover::orphan(&shared.database, lease, settings.settle, settings.send_window()).await?;
    let held = *sender.borrow();
    if held.is_none_or(|held| held.lease != lease) {
        let reach = settings.per + settings.send_window();
        let others = recover::recent_requests(&shared.database, shared.instance, reach, settings.per).await?;
        let slots_taken = others.len();
        // Last, because a lease whose duties failed is taken again, and they are done again.
        shared.pace.remember(others);
        shared.account.begin_term();
        shared.leads(true);
        tracing::info!(term = lease.term, doubted, slots_taken, "leading");
    }
    Ok(Some(Held { lease, valid_until }))
}

/// Asks the database for the lease.
pub(super) async fn ask(shared: &Shared, verify: bool) -> Result<Option<Granted>, OutboxError> {
    lease::lead(&shared.database, shared.instance, &host(), shared.settings.lease, &report(shared), verify)
        .await
}

fn lose(shared: &Shared, sender: &watch::Sender<Option<Held>>, reason: &'static str) {
    if let Some(held) = sender.send_replace(None) {
        shared.leads(false);
        tracing::warn!(term = held.lease.term, reason, "no longer leading: nothing new is sent");
    }
}

/// What the leader says of itself, for `status`.
fn report(shared: &Shared) -> serde_json::Value {
    let quota = shared.account.quota();
    json!({
        "since": shared.leads_since(),
        "pauses": shared.account.view(),
        "quota": {
            "max": quota.max,
            "remaining": quota.remaining,
            "daily": quota.daily,
            "daily_remaining": quota.daily_remaining,
            "limit": shared.pace.limit(),
        },
        "requests": shared.settings.requests,
        "per_seconds": shared.settings.per.as_secs_f64(),
        "batch_size": shared.account.batch_size(),
    })
}

/// Where this instance runs, for a person.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.as_deref().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    name.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_else(|| "unknown".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_while_the_machine_is_suspended() {
        let hour = Duration::from_hours(1);
        assert!(!Deadline::after(hour).has_passed());
        let resumed = Deadline { wall: SystemTime::now() - hour, ..Deadline::after(hour) };
        assert!(resumed.has_passed());
        assert!(Deadline::after(hour).min(resumed).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }
}
