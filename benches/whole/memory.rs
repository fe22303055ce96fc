//! Peak memory: 32 requests of a hundred large courses in flight, and a large backlog behind them.

use std::time::Duration;

use super::ground::{Daemon, Ground, LIFTED, Scope, settings};
use super::payload;
use super::scale;
use super::stand_in::StandIn;
use super::table::{Goal, Report};

/// Bytes of a large course's description.
const LARGE: usize = 8 * 1024;
/// Requests that the program keeps open by default, of a hundred courses each.
const IN_FLIGHT: usize = 32;
/// How often all of them are filled again.
const FILLS: usize = 4;
const COURSES: usize = IN_FLIGHT * FILLS * payload::BATCH;
/// Long enough for all requests to be open at once.
const ANSWER_TIME: Duration = Duration::from_secs(3);

#[allow(clippy::cast_precision_loss)]
pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let ground = Ground::new().await?;
    let (url, pool) = ground.database("memory").await?;
    payload::preload(&pool, COURSES, LARGE).await?;
    scale::pile_up(&pool, "pending", scope.rows).await?;
    let hubspot = StandIn::start(ANSWER_TIME).await?;
    let mut settings = settings(&url, &hubspot, LIFTED);
    // As the image has it.
    settings.insert("MALLOC_MMAP_THRESHOLD_".to_owned(), "131072".to_owned());
    let daemon = Daemon::start(&settings)?;
    while hubspot.arrivals().await?.len() < COURSES / payload::BATCH {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // The last of them are answered, and the backlog is being sent.
    tokio::time::sleep(ANSWER_TIME).await;
    let peak = daemon.peak()?;
    daemon.stop().await?;
    let what =
        format!("peak memory, {IN_FLIGHT} requests of 100 courses of 8 KB, {} rows behind", scope.rows);
    report.add(what, peak, "MiB", Goal::AtMost(64.0));
    pool.close().await;
    ground.end().await
}
