//! Fraction of the quota that is used with a large backlog: 190 requests per 10 s, response time 0.1 s.

use std::time::Duration;

use super::environment::{Daemon, Environment, Scope, settings};
use super::fake_hubspot::FakeHubSpot;
use super::scale::add_rows;
use super::table::{Goal, Report};

const REQUESTS: usize = 190;
/// Length of the window in seconds.
const PER: f64 = 10.0;
/// Number of windows measured, after a first one that is not.
const WINDOWS: usize = 6;
const RESPONSE_TIME: Duration = Duration::from_millis(100);

pub async fn measure(_: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let rows = REQUESTS * (WINDOWS + 2) * 100;
    let (url, pool) = environment.database("creates").await?;
    add_rows(&pool, "pending", rows).await?;
    measure_requests(&url, "creates", report).await?;
    pool.close().await;
    let (url, pool) = environment.database("updates").await?;
    add_rows(&pool, "synced", rows).await?;
    sqlx::query(
        r#"update course_outbox set synced_revision = revision, properties = properties || '{"hs_course_id": "changed"}'"#,
    )
    .execute(&pool)
    .await?;
    sqlx::query("vacuum analyze course_outbox").execute(&pool).await?;
    measure_requests(&url, "updates", report).await?;
    pool.close().await;
    environment.stop().await
}

/// Measures the requests while the daemon sends the courses of this outbox.
#[allow(clippy::cast_precision_loss)]
async fn measure_requests(url: &str, what: &str, report: &mut Report) -> anyhow::Result<()> {
    let hubspot = FakeHubSpot::start(RESPONSE_TIME).await?;
    let daemon = Daemon::start(&settings(url, &hubspot, ("190", "10s")))?;
    tokio::time::sleep(Duration::from_secs_f64(PER * (WINDOWS as f64 + 1.5))).await;
    daemon.stop().await?;
    let requests = hubspot.arrivals().await?;
    let arrivals: Vec<f64> = requests.iter().map(|arrival| arrival.at).collect();
    // Requests arrive in one burst per window. Measured from burst to burst: a period that begins between two
    // bursts could contain one burst more or less.
    let (first, last) = (arrivals.get(REQUESTS), arrivals.get(REQUESTS * (WINDOWS + 1)));
    let (Some(first), Some(last)) = (first, last) else {
        anyhow::bail!("only {} requests arrived", arrivals.len())
    };
    let used = PER * WINDOWS as f64 / (last - first);
    let sent = requests.get(REQUESTS..REQUESTS * (WINDOWS + 1)).unwrap_or_default();
    let courses = sent.iter().map(|request| request.courses).sum::<usize>() as f64 / sent.len() as f64;
    report.add(format!("{what}: courses per request at the quota"), courses, "courses", Goal::AtLeast(95.0));
    let fullest = arrivals
        .iter()
        .map(|from| arrivals.iter().filter(|at| (*from..=*from + PER).contains(*at)).count())
        .max()
        .unwrap_or_default();
    report.add(format!("{what}: quota used, 190 requests per 10 s"), used * 100.0, "%", Goal::AtLeast(99.0));
    let beyond = (last - first) / WINDOWS as f64 - PER - RESPONSE_TIME.as_secs_f64();
    report.add(
        format!("{what}: delay of each window beyond its length and the response time"),
        beyond * 1_000.0,
        "ms",
        Goal::None,
    );
    report.add(
        format!("{what}: most requests in any 10 s, at the receiver"),
        fullest as f64,
        "requests",
        Goal::AtMost(REQUESTS as f64),
    );
    Ok(())
}
