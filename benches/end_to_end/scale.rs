//! Claim, record and status with a small and a large outbox, alternating.

use std::time::{Duration, Instant};

use anyhow::Context;
use course_sync::config::{Percent, RateLimit};
use course_sync::course::{BatchId, HubSpotId, InstanceId, Provenance, Transition, Write};
use course_sync::hubspot::api::outcome::RequestOutcome;
use course_sync::outbox::claim::{ClaimLimits, ClaimResult, Isolation, claim};
use course_sync::outbox::lease::{Lease, acquire_or_renew};
use course_sync::outbox::record::{LockedRows, RequestEnd, record};
use course_sync::outbox::{Database, SessionMode, connect};
use course_sync::policy::attribution::{ClaimOrder, Lane};
use course_sync::policy::backlog::{Backlog, ClaimEnd};
use course_sync::policy::leader_report::LeaderReport;
use course_sync::report::status::{self, QuotaSettings};
use secrecy::SecretString;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::environment::{Environment, Scope};
use super::table::{Goal, Report, median, quantile};

/// Pending courses of the small outbox.
const SMALL: usize = 10_000;
/// Batches per turn, and turns per comparison.
const BATCHES: usize = 40;
const TURNS: usize = 8;
const LEASE: Duration = Duration::from_hours(4);
const COURSES: u16 = 100;
const QUOTA: QuotaSettings = QuotaSettings {
    rate_limit: RateLimit { requests: 190, per: Duration::from_secs(10), daily_reserve: Percent::ZERO },
    batch_size: 100,
};
/// Time limit of `status` in milliseconds.
const STATUS: f64 = 100.0;

/// Adds rows with small properties and this status.
pub async fn add_rows(pool: &PgPool, status: &str, rows: usize) -> anyhow::Result<()> {
    // The trigger runs once per statement, so one large insert fires it once.
    sqlx::query(
        "insert into course_outbox (course_key, properties, status, hubspot_id, synced_at, attempts)
         select left($1, 1) || lpad((n + coalesce(at, 0))::text, 10, '0'),
                jsonb_build_object('hs_course_name', 'Course ' || n), $1,
                case when $1 = 'synced' then n::text end, case when $1 = 'synced' then now() end,
                ($1 = 'synced')::int
           from generate_series(1, $2) n, (select max(id) as at from course_outbox) o",
    )
    .bind(status)
    .bind(i64::try_from(rows)?)
    .execute(pool)
    .await
    .context("adding rows")?;
    sqlx::query("vacuum analyze course_outbox").execute(pool).await?;
    Ok(())
}

/// An outbox from which courses are claimed as the engine does.
struct Outbox {
    pool: PgPool,
    database: Database,
    lease: Lease,
    backlog: Backlog,
}

/// Milliseconds of each claim and each record.
#[derive(Default)]
struct Times {
    claims: Vec<f64>,
    records: Vec<f64>,
}

impl Outbox {
    async fn new(environment: &Environment, name: &str) -> anyhow::Result<Self> {
        let (url, pool) = environment.database(name).await?;
        let database = connect::open_pool(&SecretString::from(url), 4, SessionMode::Dedicated)?;
        let granted = acquire_or_renew(
            &database,
            InstanceId(Uuid::new_v4()),
            "bench",
            LEASE,
            &LeaderReport::default(),
            false,
        )
        .await?;
        let lease = granted.context("another instance has the lease")?.lease;
        Ok(Self { pool, database, lease, backlog: Backlog::default() })
    }

    /// Holds a snapshot open, like a report or a backup: vacuum cannot remove rows that become dead from now on.
    async fn hold_snapshot(&self) -> anyhow::Result<Transaction<'static, Postgres>> {
        let mut foreign = self.pool.begin().await?;
        sqlx::query("set transaction isolation level repeatable read").execute(&mut *foreign).await?;
        sqlx::query("select 1 from course_outbox limit 1").execute(&mut *foreign).await?;
        Ok(foreign)
    }

    async fn turn(&mut self, batches: usize, times: &mut Times) -> anyhow::Result<()> {
        let isolation = Isolation::default();
        let limits = ClaimLimits {
            write: Write::Create,
            archive_limit: 1000,
            lane: Lane::Fresh,
            order: ClaimOrder::Oldest,
            courses: COURSES,
            bytes: 2 << 20,
            unique_property: Some("course_key"),
            isolation: &isolation,
        };
        for _ in 0..batches {
            let (batch, began) = (BatchId(Uuid::now_v7()), Instant::now());
            let this = self.backlog.begin_claim(began);
            let taken =
                claim(&self.database, self.lease, Duration::ZERO, &[batch], limits, this.cursor, LEASE)
                    .await?;
            let took = began.elapsed();
            let ClaimResult::Taken(taken) = taken else { anyhow::bail!("a claim is refused") };
            times.claims.push(took.as_secs_f64() * 1_000.0);
            self.backlog.end_claim(this, ClaimEnd::Made { remaining: taken.remaining, took }, Instant::now());
            let synced = |course: &course_sync::course::ClaimedCourse| {
                let hubspot_id = HubSpotId::parse(&course.id.0.to_string())?;
                Some((
                    course.id,
                    Transition::Synced { hubspot_id, provenance: Provenance::Created, warning: None },
                ))
            };
            let transitions: Vec<_> =
                taken.batches.iter().flat_map(|batch| &batch.courses).filter_map(synced).collect();
            anyhow::ensure!(transitions.len() == usize::from(COURSES), "the outbox is empty");
            let ending = RequestEnd {
                outcome: Some(RequestOutcome::Ok),
                http_status: Some(201),
                correlation_id: None,
                passed: Some(true),
            };
            let began = Instant::now();
            record(&self.database, batch, &transitions, &[], &ending, None, LockedRows::Wait).await?;
            times.records.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(())
    }
}

pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let mut small = Outbox::new(&environment, "small").await?;
    let mut large = Outbox::new(&environment, "large").await?;
    add_rows(&small.pool, "pending", SMALL).await?;
    add_rows(&large.pool, "pending", scope.rows).await?;
    compare(&mut small, &mut large, &format!("{} pending", scope.rows), report).await?;
    add_rows(&large.pool, "synced", scope.rows).await?;
    compare(&mut small, &mut large, &format!("and {} synced", scope.rows), report).await?;
    read_status(&large.database, scope.rows * 2, report).await?;

    let beside_large = large.hold_snapshot().await?;
    large.turn(BATCHES * TURNS, &mut Times::default()).await?;
    compare(&mut small, &mut large, "and an open snapshot", report).await?;
    read_status(&large.database, scope.rows * 2, report).await?;
    // Compare with a small outbox that has an open snapshot too, to separate the effect of size from that of the snapshot.
    let beside_small = small.hold_snapshot().await?;
    add_rows(&small.pool, "pending", BATCHES * TURNS * usize::from(COURSES)).await?;
    small.turn(BATCHES * TURNS, &mut Times::default()).await?;
    compare(&mut small, &mut large, "and an open snapshot for both", report).await?;
    for snapshot in [beside_small, beside_large] {
        snapshot.rollback().await?;
    }
    for outbox in [small, large] {
        outbox.database.close().await;
        outbox.pool.close().await;
    }
    environment.stop().await
}

async fn compare(
    small: &mut Outbox,
    large: &mut Outbox,
    against: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut few, mut many) = (Times::default(), Times::default());
    // Warm up plans and pages of both.
    small.turn(BATCHES / 4, &mut Times::default()).await?;
    large.turn(BATCHES / 4, &mut Times::default()).await?;
    for _ in 0..TURNS {
        small.turn(BATCHES, &mut few).await?;
        large.turn(BATCHES, &mut many).await?;
        add_rows(&small.pool, "pending", BATCHES * usize::from(COURSES)).await?;
    }
    add_rows(&small.pool, "pending", BATCHES / 4 * usize::from(COURSES)).await?;
    for (what, few, many) in [("claim", &few.claims, &many.claims), ("record", &few.records, &many.records)] {
        report.add(format!("{what}, {SMALL} pending"), median(few), "ms", Goal::None);
        report.add(format!("{what}, {against}"), median(many), "ms", Goal::None);
        report.add(
            format!("{what}: small against {against}"),
            median(few) / median(many),
            "×",
            Goal::AtLeast(0.9),
        );
    }
    Ok(())
}

async fn read_status(database: &Database, rows: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut times = Vec::new();
    for _ in 0..20 {
        let began = Instant::now();
        status::read_status(database, QUOTA).await?;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    report.add(
        format!("status at {rows} rows, the slowest of 20"),
        quantile(&times, 1.0),
        "ms",
        Goal::AtMost(STATUS),
    );
    Ok(())
}
