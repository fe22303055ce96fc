//! Time from the catalogue's commit to the request while little of the quota is in use.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use super::environment::{Daemon, Environment, Scope, drained, settings};
use super::fake_hubspot::FakeHubSpot;
use super::table::{Goal, Report, quantile};

const COURSES: usize = 300;
/// Milliseconds between two courses: a sixth of the quota.
const APART: std::ops::Range<u64> = 250..400;
/// The defaults of the quota and of `batch.linger` are used.
const QUOTA: (&str, &str) = ("190", "10s");
const RESPONSE_TIME: Duration = Duration::from_millis(20);

pub async fn measure(_: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database("latency").await?;
    let hubspot = FakeHubSpot::start(RESPONSE_TIME).await?;
    let daemon = Daemon::start(&settings(&url, &hubspot, QUOTA))?;
    // Once it has sent a course, it has the lease and listens for notifications.
    enqueue(&pool, "first").await?;
    while hubspot.arrivals().await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut committed = HashMap::new();
    for at in 0..COURSES {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(APART))).await;
        let key = format!("L-{at}");
        enqueue(&pool, &key).await?;
        committed.insert(key, SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64());
    }
    drained(&pool).await?;
    let mut delays = Vec::new();
    for arrival in hubspot.arrivals().await? {
        for key in &arrival.keys {
            delays.extend(committed.get(key).map(|committed| (arrival.at - committed) * 1_000.0));
        }
    }
    anyhow::ensure!(delays.len() == COURSES, "{} of {COURSES} arrived by name", delays.len());
    let (middle, slow) = (quantile(&delays, 0.5), quantile(&delays, 0.99));
    report.add("commit to request, p50", middle, "ms", Goal::AtMost(8.0));
    report.add("commit to request, p99", slow, "ms", Goal::AtMost(25.0));
    daemon.stop().await?;
    pool.close().await;
    environment.stop().await
}

async fn enqueue(pool: &sqlx::PgPool, key: &str) -> anyhow::Result<()> {
    sqlx::query("insert into course_outbox (course_key, properties) values ($1, jsonb_build_object('hs_course_name', $1))")
        .bind(key)
        .execute(pool)
        .await
        .context("enqueueing a course")?;
    Ok(())
}
