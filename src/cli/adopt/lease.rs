//! The leader's lease for `adopt --apply`: while it is held, no daemon sends, so no row that takes a record is created as
//! well.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::course::{InstanceId, Term};
use crate::outbox::lease::{self, Lease, LeaseAnswer, LeaseGrant, LeaseRequest};
use crate::outbox::{Database, overview};
use crate::policy::leader_report::LeaderReport;

/// The lease of this command.
pub(super) struct CommandLease<'a> {
    database: &'a Database,
    holder: InstanceId,
    lasts: Duration,
    renewals: Option<i64>,
    term: Option<Term>,
    renewed_at: Option<Instant>,
}

impl<'a> CommandLease<'a> {
    /// `lasts`: as the daemon's, so that a daemon takes over as quickly if this command is killed.
    pub(super) fn new(database: &'a Database, holder: InstanceId, lasts: Duration) -> Self {
        Self { database, holder, lasts, renewals: None, term: None, renewed_at: None }
    }

    /// Takes the lease, or renews it. An error if a daemon holds it.
    pub(super) async fn renew(&mut self) -> anyhow::Result<Lease> {
        let began = Instant::now();
        let request = LeaseRequest {
            holder: self.holder,
            host: "course-sync adopt",
            lease: self.lasts,
            report: &LeaderReport::default(),
            verify: false,
            renewals: self.renewals,
            was_idle: self.renewals.is_some(),
            stale: None,
            review: None,
        };
        match lease::request_lease(self.database, &request).await? {
            LeaseAnswer::Granted(grant) => self.accept(&grant, began),
            LeaseAnswer::Held { .. } => {
                let leader = overview::read_leader(self.database).await?;
                let host = leader.and_then(|leader| leader.host).map(|host| format!(" on {host}"));
                bail!(
                    "a course-sync daemon is running{}. Stop it, or scale it to 0, and run this command again: while courses \
                     are sent, a record could be given to a course that is being created",
                    host.unwrap_or_default()
                )
            }
            LeaseAnswer::Unavailable => bail!(
                "the leader's row of the outbox is missing, or a restore is under way; `course-sync check` shows the cause"
            ),
        }
    }

    fn accept(&mut self, grant: &LeaseGrant, began: Instant) -> anyhow::Result<Lease> {
        self.term = Some(grant.lease.term);
        if grant.verifying {
            bail!(
                "the database may have lost commits{}, so a pending course may have a record already. Start the daemon \
                 (`course-sync run`): it looks the courses up first. Then run this command again",
                grant.alarm.as_deref().map(|alarm| format!(" ({alarm})")).unwrap_or_default()
            );
        }
        self.database.server().confirm_run(&grant.server);
        self.renewals = Some(grant.renewals);
        self.renewed_at = Some(began);
        Ok(grant.lease)
    }

    /// Renews the lease if a third of it has passed, as a daemon does.
    pub(super) async fn renew_if_due(&mut self) -> anyhow::Result<()> {
        if self.renewed_at.is_none_or(|at| at.elapsed() >= self.lasts / 3) {
            self.renew().await?;
        }
        Ok(())
    }

    /// Releases the lease, so that a daemon need not wait for its end.
    pub(super) async fn release(self) {
        if let Some(term) = self.term {
            // If this fails, the lease ends by itself.
            lease::release(self.database, Lease { holder: self.holder, term }).await.ok();
        }
    }
}
