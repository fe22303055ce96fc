//! Courses per second with the limiter lifted, against a sender without a database and a plain loop.

use std::time::Duration;

use anyhow::ensure;
use sqlx::PgPool;

use super::baseline;
use super::environment::{Daemon, Environment, Scope, UNLIMITED, drained, settings};
use super::fake_hubspot::FakeHubSpot;
use super::payload::{self, BATCH};
use super::table::{Goal, Report, median};

/// HubSpot needs at least so long for a hundred courses.
const RESPONSE_TIME: Duration = Duration::from_millis(100);
/// The share of the courses that the plain loop gets: it is steady, and slow.
const PLAIN_SHARE: usize = 10;

/// One run of the program.
pub struct Run {
    /// From the first request to the last record.
    pub seconds: f64,
    /// Of the program, from its start.
    pub cpu: f64,
}

/// Lets the program send what is in the outbox.
pub async fn run(
    url: &str,
    pool: &PgPool,
    hubspot: &FakeHubSpot,
    quota: (&str, &str),
) -> anyhow::Result<Run> {
    let before = hubspot.arrivals().await?.len();
    let daemon = Daemon::start(&settings(url, hubspot, quota))?;
    drained(pool).await?;
    let cpu = daemon.cpu()?;
    daemon.stop().await?;
    let first = hubspot.arrivals().await?.get(before).map_or(f64::NAN, |arrival| arrival.at);
    let (last, unsynced): (f64, i64) = sqlx::query_as(
        "select extract(epoch from max(synced_at))::float8, count(*) filter (where status <> 'synced')
           from course_outbox",
    )
    .fetch_one(pool)
    .await?;
    ensure!(unsynced == 0, "{unsynced} courses are not synced");
    Ok(Run { seconds: last - first, cpu })
}

#[allow(clippy::cast_precision_loss)]
pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database("throughput").await?;
    for answer_time in [RESPONSE_TIME, Duration::ZERO] {
        let hubspot = FakeHubSpot::start(answer_time).await?;
        let (mut ours, mut floors, mut plains) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..scope.rounds {
            payload::preload_usual(&pool, scope.courses).await?;
            ours.push(scope.courses as f64 / run(&url, &pool, &hubspot, UNLIMITED).await?.seconds);
            floors.push(baseline::bare_sender(&hubspot, scope.courses / BATCH).await? * BATCH as f64);
            let few = (scope.courses / PLAIN_SHARE).max(BATCH);
            payload::preload_usual(&pool, few).await?;
            plains.push(few as f64 / baseline::plain_loop(&pool, &hubspot).await?);
        }
        let (ours, floor, plain) = (median(&ours), median(&floors), median(&plains));
        let at = format!("answers after {} ms", answer_time.as_millis());
        // Without an answer time both cores are the limit, and there is nothing to overlap: no goal.
        let is_goal = answer_time == RESPONSE_TIME;
        let goal = |least| if is_goal { Goal::AtLeast(least) } else { Goal::None };
        report.add(format!("throughput, {at}"), ours, "courses/s", Goal::None);
        report.add(format!("a bare sender, {at}"), floor, "courses/s", Goal::None);
        report.add(format!("a plain loop, {at}"), plain, "courses/s", Goal::None);
        report.add(format!("against the bare sender, {at}"), ours / floor, "×", goal(0.7));
        report.add(format!("against the plain loop, {at}"), ours / plain, "×", goal(5.0));
    }
    pool.close().await;
    environment.stop().await
}
