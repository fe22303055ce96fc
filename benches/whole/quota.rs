//! The share of the quota that is used when there is work enough: 190 requests in 10 s, answers after 0.1 s.

use std::time::Duration;

use super::ground::{Daemon, Ground, Scope, settings};
use super::scale::pile_up;
use super::stand_in::StandIn;
use super::table::{Goal, Report};

const REQUESTS: usize = 190;
/// In seconds.
const PER: f64 = 10.0;
/// Windows that are measured, after one that is not.
const WINDOWS: usize = 6;
const ANSWER_TIME: Duration = Duration::from_millis(100);

#[allow(clippy::cast_precision_loss)]
pub async fn measure(_: Scope, report: &mut Report) -> anyhow::Result<()> {
    let ground = Ground::new().await?;
    let (url, pool) = ground.database("quota").await?;
    pile_up(&pool, "pending", REQUESTS * (WINDOWS + 2) * 100).await?;
    let hubspot = StandIn::start(ANSWER_TIME).await?;
    let daemon = Daemon::start(&settings(&url, &hubspot, ("190", "10s")))?;
    tokio::time::sleep(Duration::from_secs_f64(PER * (WINDOWS as f64 + 1.5))).await;
    daemon.stop().await?;
    let arrivals: Vec<f64> = hubspot.arrivals().await?.iter().map(|arrival| arrival.at).collect();
    // Requests come in a burst a window. From burst to burst, since a span that begins between two may
    // hold one more or one less than its share.
    let (first, last) = (arrivals.get(REQUESTS), arrivals.get(REQUESTS * (WINDOWS + 1)));
    let (Some(first), Some(last)) = (first, last) else {
        anyhow::bail!("only {} requests came", arrivals.len())
    };
    let used = PER * WINDOWS as f64 / (last - first);
    let fullest = arrivals
        .iter()
        .map(|from| arrivals.iter().filter(|at| (*from..=*from + PER).contains(*at)).count())
        .max()
        .unwrap_or_default();
    report.add("share of the quota used, 190 in 10 s", used * 100.0, "%", Goal::AtLeast(99.0));
    let beyond = (last - first) / WINDOWS as f64 - PER - ANSWER_TIME.as_secs_f64();
    report.add("what each window takes beyond itself and an answer", beyond * 1_000.0, "ms", Goal::None);
    report.add(
        "the most in any 10 s at the receiver",
        fullest as f64,
        "requests",
        Goal::AtMost(REQUESTS as f64),
    );
    pool.close().await;
    ground.end().await
}
