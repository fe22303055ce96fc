//! The outbox in a real Postgres: its checks, and each statement's effects.

mod cancellation;
mod changes;
mod claim;
mod due;
mod evidence;
mod failures;
mod history;
mod journal;
mod lease;
mod long_transactions;
mod lost_commits;
mod one_write;
mod pause;
mod read_only;
mod recover;
mod retention;
mod schema;
mod search_path;
mod stranded;
mod suspects;
mod unreadable;
mod verify;

use std::sync::LazyLock;
use std::time::Duration;

use course_sync::course::{
    BatchId, Category, ClaimedCourse, CourseError, Doubt, HubSpotId, InstanceId, Provenance, RowId,
    Transition, Write,
};
use course_sync::hubspot::api::outcome::RequestOutcome;
use course_sync::outbox::OutboxError;
use course_sync::outbox::claim::{ClaimLimits, ClaimResult, Isolation, claim};
use course_sync::outbox::lease::{Lease, acquire_or_renew};
use course_sync::outbox::record::{LockedRows, RequestEnd, record};
use course_sync::policy::attribution::{ClaimOrder, Lane};
use course_sync::policy::backlog::{Cursor, Remaining};
use course_sync::policy::leader_report::LeaderReport;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

const LEASE: Duration = Duration::from_mins(1);

/// Acquires the lease for a new instance.
async fn leader(pool: &PgPool) -> Lease {
    acquire_or_renew(pool, InstanceId(Uuid::new_v4()), "test", LEASE, &LeaderReport::default(), false)
        .await
        .unwrap()
        .expect("the lease is free")
        .lease
}

fn generous() -> ClaimLimits<'static> {
    static NO_EVIDENCE: LazyLock<Isolation> = LazyLock::new(Isolation::default);
    ClaimLimits {
        write: Write::Create,
        archive_limit: 1000,
        lane: Lane::Fresh,
        order: ClaimOrder::Oldest,
        courses: 100,
        bytes: 10_000_000,
        unique_property: Some("key"),
        isolation: &NO_EVIDENCE,
    }
}

/// What a claim for one request took.
struct Taken {
    courses: Vec<ClaimedCourse>,
    unreadable: Vec<(RowId, OutboxError)>,
    remaining: Remaining,
}

/// Claims courses for one request. Panics if the claim is refused.
async fn take(pool: &PgPool, lease: Lease, limits: ClaimLimits<'_>, cursor: Cursor) -> (BatchId, Taken) {
    let batch = BatchId(Uuid::now_v7());
    match claim_for(pool, lease, &[batch], limits, cursor).await {
        ClaimResult::Taken(taken) => {
            let (courses, unreadable) = match taken.batches.into_iter().next() {
                Some(only) => (only.courses, only.unreadable),
                None => (Vec::new(), Vec::new()),
            };
            (batch, Taken { courses, unreadable, remaining: taken.remaining })
        }
        ClaimResult::Refused => panic!("the claim is refused"),
    }
}

async fn claim_for(
    pool: &PgPool,
    lease: Lease,
    batches: &[BatchId],
    limits: ClaimLimits<'_>,
    cursor: Cursor,
) -> ClaimResult {
    let margin = Duration::from_secs(1);
    claim(pool, lease, margin, batches, limits, cursor, Duration::from_secs(20)).await.unwrap()
}

fn keys(taken: &Taken) -> Vec<&str> {
    taken.courses.iter().map(|course| course.key.as_str()).collect()
}

async fn enqueue(pool: &PgPool, key: &str, properties: serde_json::Value) {
    sqlx::query("insert into course_outbox (course_key, properties) values ($1, $2)")
        .bind(key)
        .bind(properties)
        .execute(pool)
        .await
        .unwrap();
}

/// Every course with its status and attempts. A pending course that an open request lists is in flight.
async fn statuses(pool: &PgPool) -> Vec<(String, String, i32)> {
    sqlx::query_as(
        "select course_key, case when id in (select id from course_sync_in_flight()) then 'in_flight' else status end, attempts
           from course_outbox order by id",
    )
        .fetch_all(pool)
        .await
        .unwrap()
}

/// Resets the statistics of index use.
async fn reset_index_use(pool: &PgPool) {
    sqlx::raw_sql("analyze course_outbox; select pg_stat_force_next_flush(); select pg_stat_reset()")
        .execute(pool)
        .await
        .unwrap();
}

/// How often this index of the outbox was scanned since the reset, and how many rows were read without an index.
async fn index_use(pool: &PgPool, index: &str) -> (i64, i64) {
    sqlx::raw_sql("select pg_stat_force_next_flush()").execute(pool).await.unwrap();
    sqlx::query_as(
        "select coalesce(sum(idx_scan), 0)::bigint,
                (select seq_tup_read from pg_stat_user_tables where relname = 'course_outbox')
           from pg_stat_user_indexes where indexrelname = $1",
    )
    .bind(index)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Every course as one line with the contents of its row, in order of arrival.
async fn rows(pool: &PgPool) -> Vec<String> {
    sqlx::query_scalar(
        "select concat_ws(' ', course_key,
                          case when id in (select id from course_sync_in_flight()) then 'in_flight' else status end, 'attempts=' || attempts, 'faults=' || faults, 'doubts=' || doubts,
                          'limit=' || batch_limit, 'id=' || hubspot_id, 'error=' || (error ->> 'category'),
                          case when next_attempt_at > now() then 'later' end,
                          case when suspected_at is not null then 'suspect' end,
                          'doubt=' || doubt, 'by=' || doubt_property,
                          case when doubted_since is not null then 'since-' || (
                              select coalesce(min(b.batch_id::text), 'no request')
                                from course_sync_batch b where b.claimed_at = doubted_since) end)
           from course_outbox order by id",
    )
    .fetch_all(pool)
    .await
    .unwrap()
}

async fn execute(pool: &PgPool, statement: &'static str) {
    sqlx::raw_sql(statement).execute(pool).await.unwrap();
}

/// The end of a request that HubSpot has answered.
const REQUEST_END: RequestEnd = RequestEnd {
    outcome: Some(RequestOutcome::Ok),
    http_status: Some(201),
    correlation_id: None,
    passed: Some(true),
};

fn synced(id: &str) -> Transition {
    Transition::Synced {
        hubspot_id: HubSpotId::parse(id).unwrap(),
        provenance: Provenance::Created,
        warning: None,
    }
}

fn unconfirmed(doubt: Doubt, batch_limit: Option<u16>, look_after: Duration) -> Transition {
    let error = CourseError::new(Category::UnknownOutcome, "left out", Timestamp::now());
    Transition::Unconfirmed { error, doubt, batch_limit, look_after }
}

/// Enqueues these courses and claims them for one request, as a new leader.
async fn claimed(pool: &PgPool, keys: &[&str]) -> (Lease, BatchId, Vec<RowId>) {
    for key in keys {
        enqueue(pool, key, json!({})).await;
    }
    let lease = leader(pool).await;
    let (batch, taken) = take(pool, lease, generous(), Cursor::default()).await;
    (lease, batch, taken.courses.iter().map(|course| course.id).collect())
}

/// Records these outcomes. Returns the number of recorded ones; none may wait for its row.
async fn record_all(
    pool: &PgPool,
    batch: BatchId,
    transitions: &[(RowId, Transition)],
    end: &RequestEnd,
) -> Result<u64, OutboxError> {
    let done = record(pool, batch, transitions, &[], end, None, LockedRows::Wait).await?;
    assert_eq!(done.waiting, [], "every row can be written");
    Ok(done.recorded)
}
