//! Peak memory with 32 requests of 100 large courses in flight and a large backlog.

use std::time::Duration;

use super::environment::{Daemon, Environment, Scope, UNLIMITED, settings};
use super::fake_hubspot::FakeHubSpot;
use super::payload;
use super::scale;
use super::table::{Goal, Report};

/// Bytes of the description of a large course.
const LARGE: usize = 8 * 1024;
/// The program's default number of concurrent requests, of 100 courses each.
const IN_FLIGHT: usize = 32;
/// How often all requests are replaced by new ones.
const FILLS: usize = 4;
const COURSES: usize = IN_FLIGHT * FILLS * payload::BATCH;
/// Long enough for all requests to be open at once.
const RESPONSE_TIME: Duration = Duration::from_secs(3);

#[allow(clippy::cast_precision_loss)]
pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database("memory").await?;
    payload::preload(&pool, COURSES, LARGE).await?;
    scale::add_rows(&pool, "pending", scope.rows).await?;
    let hubspot = FakeHubSpot::start(RESPONSE_TIME).await?;
    let mut settings = settings(&url, &hubspot, UNLIMITED);
    // As in the image.
    settings.insert("MALLOC_MMAP_THRESHOLD_".to_owned(), "131072".to_owned());
    let daemon = Daemon::start(&settings)?;
    while hubspot.arrivals().await?.len() < COURSES / payload::BATCH {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // All large courses were sent, and the backlog is being sent.
    tokio::time::sleep(RESPONSE_TIME).await;
    let peak = daemon.peak()?;
    daemon.stop().await?;
    let what =
        format!("peak memory, {IN_FLIGHT} requests of 100 courses of 8 KB, backlog of {} rows", scope.rows);
    report.add(what, peak, "MiB", Goal::AtMost(64.0));
    pool.close().await;
    environment.stop().await
}
