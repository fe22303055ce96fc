//! From the catalogue's commit to the request on the wire, at light load.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;

use super::ground::{Daemon, Ground, LIFTED, Scope, drained, settings};
use super::stand_in::StandIn;
use super::table::{Goal, Report, quantile};

/// `batch.linger`, by default.
const LINGER: f64 = 50.0;
const COURSES: usize = 300;
/// Between two courses: more than a request takes, so that each begins from rest.
const APART: std::ops::Range<u64> = 150..250;
const ANSWER_TIME: Duration = Duration::from_millis(20);

pub async fn measure(_: Scope, report: &mut Report) -> anyhow::Result<()> {
    let ground = Ground::new().await?;
    let (url, pool) = ground.database("latency").await?;
    let hubspot = StandIn::start(ANSWER_TIME).await?;
    let daemon = Daemon::start(&settings(&url, &hubspot, LIFTED))?;
    // It leads and listens once it has sent something.
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
    report.add("commit to the wire, p50, beyond linger", middle - LINGER, "ms", Goal::AtMost(5.0));
    report.add("commit to the wire, p99, beyond linger", slow - LINGER, "ms", Goal::AtMost(25.0));
    daemon.stop().await?;
    pool.close().await;
    ground.end().await
}

async fn enqueue(pool: &sqlx::PgPool, key: &str) -> anyhow::Result<()> {
    sqlx::query("insert into course_outbox (course_key, properties) values ($1, jsonb_build_object('hs_course_name', $1))")
        .bind(key)
        .execute(pool)
        .await
        .context("enqueueing a course")?;
    Ok(())
}
