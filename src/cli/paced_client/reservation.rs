//! Reserves a part of the quota for a command, so that the daemon leaves it free. Touches the database.
//!
//! The daemon learns of a reservation with the next renewal of its lease, and then reports it. Until then, and until what it
//! sent before leaves the window, the command waits. A daemon that starts later learns of it with its lease.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use tokio::sync::Mutex;

use super::Share;
use crate::cli::output::print_progress;
use crate::config::{Config, RateLimit};
use crate::course::InstanceId;
use crate::outbox::reservations::{self, Reserved};
use crate::outbox::{Database, OutboxError, journal, overview};

/// How long a reservation lasts without a renewal.
const LASTS: Duration = Duration::from_mins(2);
/// How often the leader's report is read while the command waits for it.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// A wait that is shorter is not mentioned.
const SHORT_WAIT: Duration = Duration::from_secs(1);

/// The reservation of one command.
pub(super) struct QuotaReservation {
    database: Database,
    command: InstanceId,
    quota: RateLimit,
    requests: u32,
    /// The longest time that a request may take, once it has a permit.
    send_window: Duration,
    renewed_at: Mutex<Option<Instant>>,
    is_made: AtomicBool,
}

impl QuotaReservation {
    /// Reserves nothing yet.
    pub(super) fn new(config: &Config, share: Share, database: &Database, command: InstanceId) -> Self {
        Self {
            database: database.clone(),
            command,
            quota: config.rate_limit,
            requests: share.of(config.rate_limit).requests,
            send_window: config.hubspot.request_timeout * 2,
            renewed_at: Mutex::default(),
            is_made: AtomicBool::new(false),
        }
    }

    /// Makes the reservation, or renews it if that is due. After this, one request may be sent.
    pub(super) async fn keep(&self) -> anyhow::Result<()> {
        let mut renewed_at = self.renewed_at.lock().await;
        let began = Instant::now();
        match *renewed_at {
            Some(at) if at.elapsed() < LASTS / 2 => return Ok(()),
            Some(at) if at.elapsed() < LASTS => {
                self.reserve().await?;
            }
            // The first one, or the last one has ended, as after the machine was suspended.
            _ => {
                let reserved = self.reserve().await?;
                self.wait_until_known(&reserved).await?;
                self.wait_until_free().await?;
                if began.elapsed() >= LASTS / 2 {
                    self.reserve().await?;
                }
            }
        }
        *renewed_at = Some(Instant::now());
        Ok(())
    }

    /// Reserves the requests. While others have reserved too many, waits: what a command has sent counts for a window after its
    /// end, and the reservation of one that was killed ends by itself.
    async fn reserve(&self) -> anyhow::Result<Reserved> {
        // Its last request may end, and count, for so long after the reservation is no longer renewed.
        let lasts = LASTS + self.send_window + self.quota.per;
        let (requests, quota) = (self.requests, self.quota.requests);
        let began = Instant::now();
        let mut is_mentioned = false;
        self.is_made.store(true, Ordering::Relaxed);
        loop {
            let reserved =
                reservations::reserve(&self.database, self.command, requests, quota, lasts).await?;
            if let Some(reserved) = reserved {
                return Ok(reserved);
            }
            if began.elapsed() > lasts {
                bail!(
                    "other commands, such as `course-sync audit` and `adopt`, use the quota: {requests} of {quota} requests \
                     are not free beside them. Wait until they have ended, or use a smaller --share"
                );
            }
            if !is_mentioned && began.elapsed() >= SHORT_WAIT {
                is_mentioned = true;
                print_progress("course-sync: waiting for the quota that another command has reserved");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Waits until the leader leaves the requests free. A leader that does not report it, because it is of an earlier version or
    /// is gone, is waited for until its lease has been granted again.
    async fn wait_until_known(&self, reserved: &Reserved) -> Result<(), OutboxError> {
        let Some(left) = reserved.leader_left.and_then(|left| Duration::try_from_secs_f64(left).ok()) else {
            return Ok(());
        };
        let began = Instant::now();
        let mut is_mentioned = false;
        while began.elapsed() < left {
            let leader = overview::read_leader(&self.database).await?.filter(|leader| leader.is_current);
            let Some(leader) = leader else { return Ok(()) };
            if leader.report.reserved.is_some_and(|known| i64::from(known) >= reserved.total) {
                return Ok(());
            }
            if !is_mentioned && began.elapsed() >= SHORT_WAIT {
                is_mentioned = true;
                print_progress("course-sync: waiting until the daemon leaves a part of the quota free");
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// Waits until so few of the requests that others sent count that the reserved ones fit beside them.
    async fn wait_until_free(&self) -> Result<(), OutboxError> {
        let (per, reach) = (self.quota.per, self.quota.per + self.send_window);
        let mut counted = journal::recent_requests(&self.database, self.command, reach, per).await?;
        counted.sort_unstable();
        let room = self.quota.requests.saturating_sub(self.requests) as usize;
        // The last one that must no longer count, so that the others fit.
        let last = counted.len().checked_sub(room + 1).and_then(|at| counted.get(at).copied());
        if let Some(wait) = last {
            if wait >= SHORT_WAIT {
                print_progress(&format!(
                    "course-sync: waiting {} s until the requests of the daemon have left the window of the quota",
                    wait.as_secs().saturating_add(1)
                ));
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Ends the reservation. If that fails, it ends by itself.
    pub(super) async fn end(&self) {
        if self.is_made.load(Ordering::Relaxed) {
            reservations::end_reservation(&self.database, self.command, self.quota.per).await.ok();
        }
    }
}
