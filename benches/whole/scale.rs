//! Claim, record and status with a small outbox and a large one, in turns.

use std::time::{Duration, Instant};

use anyhow::Context;
use course_sync::course::{HubSpotId, Provenance, Transition};
use course_sync::daemon::status;
use course_sync::outbox::claim::{Isolation, Limits, claim};
use course_sync::outbox::lease::{Lease, lead};
use course_sync::outbox::record::{Ending, record};
use course_sync::outbox::{Database, Sessions, connect};
use course_sync::policy::attribution::{Lane, Sample};
use course_sync::policy::backlog::{Backlog, Ended};
use course_sync::policy::interpret::RequestOutcome;
use secrecy::SecretString;
use serde_json::json;
use sqlx::{PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::ground::{Ground, Scope};
use super::table::{Goal, Report, median, quantile};

/// Pending courses of the small outbox.
const SMALL: usize = 10_000;
/// Batches of one turn, and turns of one comparison.
const BATCHES: usize = 40;
const TURNS: usize = 8;
const LEASE: Duration = Duration::from_hours(4);
const COURSES: u16 = 100;
/// Milliseconds that `status` may take.
const STATUS: f64 = 100.0;

/// Adds rows with small properties, as the catalogue or an earlier run would have left them.
pub async fn pile_up(pool: &PgPool, status: &str, rows: usize) -> anyhow::Result<()> {
    // The trigger is a statement's; a large insert calls it once.
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
    .context("piling up rows")?;
    sqlx::query("vacuum analyze course_outbox").execute(pool).await?;
    Ok(())
}

/// An outbox that is claimed from as the engine does it.
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
    async fn new(ground: &Ground, name: &str) -> anyhow::Result<Self> {
        let (url, pool) = ground.database(name).await?;
        let database = connect::database(&SecretString::from(url), 4, Sessions::Kept)?;
        let granted = lead(&database, Uuid::new_v4(), "bench", LEASE, &json!({}), false).await?;
        let lease = granted.context("nobody else leads")?.lease;
        Ok(Self { pool, database, lease, backlog: Backlog::default() })
    }

    /// Somebody's report, or a backup: nothing that dies from now on can be removed.
    async fn hold_snapshot(&self) -> anyhow::Result<Transaction<'static, Postgres>> {
        let mut foreign = self.pool.begin().await?;
        sqlx::query("set transaction isolation level repeatable read").execute(&mut *foreign).await?;
        sqlx::query("select 1 from course_outbox limit 1").execute(&mut *foreign).await?;
        Ok(foreign)
    }

    async fn turn(&mut self, batches: usize, times: &mut Times) -> anyhow::Result<()> {
        let isolation = Isolation::default();
        let limits = Limits {
            lane: Lane::Fresh,
            sample: Sample::Oldest,
            courses: COURSES,
            bytes: 2 << 20,
            unique_property: Some("course_key"),
            isolation: &isolation,
        };
        for _ in 0..batches {
            let (batch, began) = (Uuid::now_v7(), Instant::now());
            let this = self.backlog.begin(began);
            let taken =
                claim(&self.database, self.lease, Duration::ZERO, batch, limits, this.cursor, LEASE).await?;
            let took = began.elapsed();
            times.claims.push(took.as_secs_f64() * 1_000.0);
            self.backlog.ended(this, Ended::Made { rest: taken.rest, took });
            let synced = |course: &course_sync::policy::batch::Claimed| {
                let hubspot_id = HubSpotId::parse(&course.id.0.to_string())?;
                Some((
                    course.id,
                    Transition::Synced { hubspot_id, provenance: Provenance::Created, warning: None },
                ))
            };
            let transitions: Vec<_> = taken.courses.iter().filter_map(synced).collect();
            anyhow::ensure!(transitions.len() == usize::from(COURSES), "the outbox ran dry");
            let ending = Ending {
                outcome: Some(RequestOutcome::Ok),
                http_status: Some(201),
                correlation_id: None,
                passed: Some(true),
            };
            let began = Instant::now();
            record(&self.database, batch, &transitions, &ending).await?;
            times.records.push(began.elapsed().as_secs_f64() * 1_000.0);
        }
        Ok(())
    }
}

pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let ground = Ground::new().await?;
    let mut small = Outbox::new(&ground, "small").await?;
    let mut large = Outbox::new(&ground, "large").await?;
    pile_up(&small.pool, "pending", SMALL).await?;
    pile_up(&large.pool, "pending", scope.rows).await?;
    compare(&mut small, &mut large, &format!("{} pending", scope.rows), report).await?;
    pile_up(&large.pool, "synced", scope.rows).await?;
    compare(&mut small, &mut large, &format!("and {} synced", scope.rows), report).await?;
    read_status(&large.database, scope.rows * 2, report).await?;

    let beside_large = large.hold_snapshot().await?;
    large.turn(BATCHES * TURNS, &mut Times::default()).await?;
    compare(&mut small, &mut large, "and a snapshot held open", report).await?;
    read_status(&large.database, scope.rows * 2, report).await?;
    // What it costs is one thing, whether it costs a large outbox more another.
    let beside_small = small.hold_snapshot().await?;
    pile_up(&small.pool, "pending", BATCHES * TURNS * usize::from(COURSES)).await?;
    small.turn(BATCHES * TURNS, &mut Times::default()).await?;
    compare(&mut small, &mut large, "and a snapshot held open beside both", report).await?;
    for snapshot in [beside_small, beside_large] {
        snapshot.rollback().await?;
    }
    for outbox in [small, large] {
        outbox.database.close().await;
        outbox.pool.close().await;
    }
    ground.end().await
}

async fn compare(
    small: &mut Outbox,
    large: &mut Outbox,
    against: &str,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut few, mut many) = (Times::default(), Times::default());
    // Plans and pages of both are warm.
    small.turn(BATCHES / 4, &mut Times::default()).await?;
    large.turn(BATCHES / 4, &mut Times::default()).await?;
    for _ in 0..TURNS {
        small.turn(BATCHES, &mut few).await?;
        large.turn(BATCHES, &mut many).await?;
        pile_up(&small.pool, "pending", BATCHES * usize::from(COURSES)).await?;
    }
    pile_up(&small.pool, "pending", BATCHES / 4 * usize::from(COURSES)).await?;
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
        status::read(database, 190, Duration::from_secs(10), 100).await?;
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
