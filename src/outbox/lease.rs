//! The leader's lease: one row, on the database's clock, with a growing term that fences stale leaders.
//!
//! A row and not a session's advisory lock: the lease must work through a connection pooler, name the leader, and
//! contain a fence.
//!
//! Each statement that needs the lease locks its row by `for key share`. A takeover locks it `for update`, so it waits
//! for statements under way; a renewal changes no key, so it waits for none, however many claims overlap.
//!
//! The row also shows whether the database lost commits. Its counter `renewals` only grows, and each instance remembers
//! it. `written_by` is the transaction that wrote the row, like its system column `xmin`; a restore of its data copies the
//! first and changes the second. `incarnation` names the cluster, its timeline, the database and its tables.

use std::time::Duration;

use sqlx::types::Json;

use crate::course::{InstanceId, Term};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::reservations::reserved_requests;
use crate::policy::leader_report::LeaderReport;

/// The right to claim. Each statement that uses it checks in the database that it is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The instance that holds it.
    pub holder: InstanceId,
    /// Its term. Only `holder` and `term` together identify a lease: after a failover that lost commits a term may
    /// repeat.
    pub term: Term,
}

/// What an instance requests, and what it remembers of the leader's row.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// The instance.
    pub holder: InstanceId,
    /// The host that it runs on.
    pub host: &'a str,
    /// How long the lease lasts without a renewal.
    pub lease: Duration,
    /// What `status` shows.
    pub report: &'a LeaderReport,
    /// Whether pending courses are verified before anything is sent, whatever the row shows.
    pub verify: bool,
    /// The highest value of the row's counter that this instance has seen.
    pub renewals: Option<i64>,
    /// Nothing was sent since that value was seen. So if the row is not older, no commit of interest is lost.
    pub was_idle: bool,
    /// A value of the counter that has not changed for as long as the holder's lease lasts, by this instance's clock. The
    /// database's clock may have been set back, so that the lease seems to last longer.
    pub stale: Option<i64>,
    /// If commits may be lost: what the operator has to do, for a pause that the same statement writes. `None`: no pause
    /// is needed, because course-sync looks the courses up.
    pub review: Option<&'a str>,
}

/// The lease as the database granted it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease.
    pub lease: Lease,
    /// Commits may be lost, so pending courses must be verified before anything is sent.
    pub verifying: bool,
    /// Why commits may be lost, if `verifying` is not an operator's request.
    pub alarm: Option<String>,
    /// The operator's pause that was written for this reason.
    pub pause: Option<String>,
    /// The row's counter.
    pub renewals: i64,
    /// The requests of each window that commands have reserved.
    pub reserved: u32,
    /// The run of the server in which it was granted.
    pub server: String,
    /// The database is another one, or its leader's row was rewritten, but no commit of interest is lost.
    pub is_adopted: bool,
}

/// The result of a request for the lease.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseAnswer {
    /// This instance leads.
    Granted(LeaseGrant),
    /// Another instance leads.
    Held {
        /// The row's counter.
        renewals: i64,
        /// How long its lease lasts without a renewal, if that is known.
        lasts: Option<Duration>,
    },
    /// The row is missing or hidden, or a table has no primary key.
    Unavailable,
}

struct AnswerRow {
    is_free: Option<bool>,
    seen: Option<i64>,
    lasts: Option<f64>,
    has_changed: Option<bool>,
    term: Option<Term>,
    verifying: Option<bool>,
    alarm: Option<String>,
    renewals: Option<i64>,
    reserved: Option<i64>,
    pause: Option<String>,
    server: Option<String>,
}

impl_from_row!(AnswerRow {
    is_free,
    seen,
    lasts,
    has_changed,
    term,
    verifying,
    alarm,
    renewals,
    reserved,
    pause,
    server
});

impl AnswerRow {
    fn into_answer(self, holder: InstanceId) -> LeaseAnswer {
        if let (Some(term), Some(verifying), Some(renewals)) = (self.term, self.verifying, self.renewals) {
            return LeaseAnswer::Granted(LeaseGrant {
                lease: Lease { holder, term },
                verifying,
                alarm: self.alarm,
                pause: self.pause,
                renewals,
                reserved: self.reserved.and_then(|requests| u32::try_from(requests).ok()).unwrap_or_default(),
                server: self.server.unwrap_or_default(),
                is_adopted: !verifying && self.has_changed == Some(true),
            });
        }
        match (self.seen, self.is_free) {
            (Some(renewals), Some(false)) => {
                let lasts = self.lasts.and_then(|lasts| Duration::try_from_secs_f64(lasts).ok());
                LeaseAnswer::Held { renewals, lasts }
            }
            _ => LeaseAnswer::Unavailable,
        }
    }
}

/// The statement of [`request_lease`]. Parameters: 1 holder, 2 host, 3 lease in seconds, 4 report, 5 verify, 6 remembered
/// counter, 7 whether this instance was idle since, 8 stale counter, 9 what the operator has to do.
const LEAD: &str = concat!(
    "-- acquire or renew lease
    with here as materialized (
        -- Read only by an instance that leads: others ask often.
        select course_sync_identity() as identity, course_sync_server() as server
    ), complete as materialized (
        -- A restore creates the keys last. Before that, nothing is decided.
        select from (
            select count(*) as keys from pg_index
             where indrelid = any ('{course_outbox,course_sync_batch,course_sync_leader,course_sync_pause}'
                                       ::text[]::regclass[]::oid[])
               and indisprimary and indisvalid) primary_keys
         where keys = 4
    ), known as materialized (
        -- The row before this statement, for instances that do not lead, and to report a change.
        select renewals as seen, incarnation as former, coalesce(written_by::xid <> xmin, false) as is_rewritten,
               coalesce(holder = $1, false)
                   or expires_at < clock_timestamp()
                   or coalesce(renewed_at > clock_timestamp() + make_interval(secs => $3), false)
                   or coalesce(renewals = $8, false) as is_free,
               least(lasts, case when isfinite(expires_at) and isfinite(renewed_at)
                                 then extract(epoch from expires_at - renewed_at)::float8 end) as lasts
          from course_sync_leader
         limit 1
    ), free as materialized (
        -- A takeover waits here for claims under way, so that it finds their intents.
        select from course_sync_leader
         where holder is distinct from $1
           -- In this order: the keys are only read if the lease is free.
           and case when expires_at < clock_timestamp()
                         -- Renewed in the future: the clock was set back, and a dead leader's lease would last longer.
                         or renewed_at > clock_timestamp() + make_interval(secs => $3)
                         -- Not renewed for as long as it lasts, by the clock of this instance.
                         or renewals = $8
                    then exists (select from complete) end
           for update
    ), lead as (
        update course_sync_leader l
           -- A renewal keeps the term; a new holder gets a new one.
           set term = term + (holder is distinct from $1)::int,
               holder = $1,
               host = $2,
               report = $4,
               (verifying, alarm) = (
                   select l.verifying or $5 or evidence is not null,
                          case when l.verifying then coalesce(l.alarm, evidence) else evidence end
                     from (select case
                         -- Also while nothing is pending: the restore may still be under way.
                         when l.renewals < $6
                             then 'course_sync_leader is older than before: a backup was restored, or a standby was '
                                  'promoted that lagged'
                         -- This instance saw a row that was not newer, and has sent nothing since: nothing is lost.
                         when l.holder = $1 and l.renewals >= $6 and $7 then null
                         when l.written_by::xid <> l.xmin
                             then 'another program wrote the row of course_sync_leader: a backup was restored'
                         when exists (select from here, generate_series(3, 5) part
                                       where split_part(l.incarnation, '/', part)
                                                 not in ('', '?', split_part(identity, '/', part))
                                         and split_part(identity, '/', part) <> '?')
                             then 'the tables or the database were created again: a backup was restored'
                         when exists (select from here, generate_series(1, 2) part
                                       where split_part(l.incarnation, '/', part)
                                                 not in ('', '?', split_part(identity, '/', part))
                                         and split_part(identity, '/', part) <> '?')
                              -- Without open courses none can be sent twice.
                              and (exists (select from course_outbox where status = 'pending')
                                   or exists (select from course_outbox where status = 'unconfirmed')
                                   or exists (select from course_sync_batch where state <> 'closed'))
                             then 'its timeline or system identifier changed: a standby was promoted, a backup was '
                                  'recovered, or the server was upgraded; only a planned change loses nothing'
                         end as evidence) e),
               incarnation = (select identity from here),
               -- Far above what any other instance remembers of the lost rows.
               renewals = case when l.renewals < $6 then $6 + 1000 else l.renewals + 1 end,
               written_by = pg_current_xact_id(),
               lasts = $3,
               renewed_at = clock_timestamp(),
               expires_at = clock_timestamp() + make_interval(secs => $3)
         where (holder = $1 and exists (select from complete)) or exists (select from free)
        returning term, verifying, alarm, renewals, ",
    reserved_requests!("to_jsonb(l) -> 'reservations'"),
    " as reserved
    ), review as (
        select 'the database may have lost commits' || coalesce(' (' || alarm || ')', '') || '. ' || $9 as message
          from lead where verifying and $9 is not null
    ), replaced as (
        -- In the statement that notices the loss: no instance can claim in between.
        update course_sync_pause set message = review.message, author = 'course-sync', since = now(), until = null
          from review where reason = 'operator'
    ), paused as (
        insert into course_sync_pause (reason, message, author)
        select 'operator', message, 'course-sync' from review
         where not exists (select from course_sync_pause where reason = 'operator')
            on conflict do nothing
    )
    select is_free, seen, lasts, term, verifying, alarm, renewals, reserved, message as pause,
           case when term is not null then (select server from here) end as server,
           case when term is not null then is_rewritten or exists (
               select from here, generate_series(1, 5) part
                where split_part(former, '/', part) not in ('', '?', split_part(identity, '/', part))
                  and split_part(identity, '/', part) <> '?') end as has_changed
      from (values (1)) always left join known on true left join lead on true left join review on true"
);

/// Takes the lease if it is free or expired, or renews this instance's own.
///
/// Index: none for the lease; the table has one row. For pending courses, if the timeline changed:
/// `course_outbox_pending`, `course_outbox_unconfirmed` and `course_sync_batch_unsettled`.
pub async fn request_lease(
    database: impl Into<DatabaseRef<'_>>,
    request: &LeaseRequest<'_>,
) -> Result<LeaseAnswer, OutboxError> {
    let query = sqlx::query_as(LEAD)
        .bind(request.holder)
        .bind(request.host)
        .bind(request.lease.as_secs_f64())
        .bind(Json(request.report))
        .bind(request.verify)
        .bind(request.renewals)
        .bind(request.was_idle)
        .bind(request.stale)
        .bind(request.review);
    let row: AnswerRow = run_statement(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("take the leader's lease"))?;
    Ok(row.into_answer(request.holder))
}

/// As [`request_lease`], for an instance that remembers nothing. `None`: another instance leads.
pub async fn acquire_or_renew(
    database: impl Into<DatabaseRef<'_>>,
    holder: InstanceId,
    host: &str,
    lease: Duration,
    report: &LeaderReport,
    verify: bool,
) -> Result<Option<LeaseGrant>, OutboxError> {
    let request = LeaseRequest {
        holder,
        host,
        lease,
        report,
        verify,
        renewals: None,
        was_idle: false,
        stale: None,
        review: None,
    };
    Ok(match request_lease(database, &request).await? {
        LeaseAnswer::Granted(granted) => Some(granted),
        LeaseAnswer::Held { .. } | LeaseAnswer::Unavailable => None,
    })
}

/// Inserts the leader's row, if it is missing and no data are being loaded into this database. The next leader treats
/// the database as one that may have lost commits. True if the row was inserted.
///
/// Index: none; the table has one row.
pub async fn restore_leader_row(database: impl Into<DatabaseRef<'_>>) -> Result<bool, OutboxError> {
    const RESTORE: &str = "-- restore leader row
        insert into course_sync_leader (verifying, alarm)
        select true, 'the row of course_sync_leader was missing: a backup was restored in part'
         where not exists (select from course_sync_leader)
           -- A restore under way inserts the row itself, after it has loaded larger tables.
           and not exists (select from pg_stat_progress_copy
                            where datname = current_database() and command is distinct from 'COPY TO')
            on conflict do nothing";
    let done = run_statement(database, async |session| sqlx::query(RESTORE).execute(session).await)
        .await
        .map_err(OutboxError::failed_to(
            "insert the missing row of course_sync_leader (its owner can run `insert into course_sync_leader default \
             values`)",
        ))?;
    Ok(done.rows_affected() > 0)
}

/// Releases the lease, so that another instance can take it at once. Changes nothing if this instance lost it already.
///
/// Index: none; the table has one row.
pub async fn release(database: impl Into<DatabaseRef<'_>>, lease: Lease) -> Result<(), OutboxError> {
    const RELEASE: &str = "-- release lease
        update course_sync_leader
           set expires_at = '-infinity',
               -- Keeps the evidence as it is, also where the row's trigger is missing.
               written_by = case when written_by::xid = xmin then pg_current_xact_id() else written_by end
         where holder = $1 and term = $2";
    run_statement(database, async |session| {
        sqlx::query(RELEASE).bind(lease.holder).bind(lease.term).execute(session).await
    })
    .await
    .map_err(OutboxError::failed_to("release the leader's lease"))?;
    Ok(())
}
