//! The cost table: the same courses into the same receiver, without faults.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::sleep;

use crate::Scope;
use crate::cluster::Cluster;
use crate::process::Worker;
use crate::receiver::{Behaviour, Receiver};
use crate::subject::{Run, Subject};
use crate::table::Table;

/// Single courses for the latency.
const SINGLES: usize = 150;
const APART: std::ops::Range<u64> = 100..200;
const TIMEOUT: Duration = Duration::from_mins(10);

/// What the database has done so far.
struct Work {
    wal: f64,
    written: f64,
    dead: f64,
}

/// Measures all of it.
pub async fn measure(scope: &Scope) -> anyhow::Result<()> {
    let cluster = Cluster::start()?;
    for (is_held, section) in [(false, "drain"), (true, "held")] {
        if !scope.includes(section) {
            continue;
        }
        let mut table = Table::new(&[
            "Program",
            "courses per second",
            "CPU of the worker, s per 100,000",
            "CPU of Postgres, s per 100,000",
            "WAL per course, bytes",
            "row versions written per course",
            "dead rows per course",
            "peak memory, MiB",
        ]);
        for subject in scope.subjects().filter(|subject| *subject != Subject::CourseSyncResend) {
            table.add(drain(&cluster, subject, scope.courses, is_held).await?);
        }
        let beside = if is_held { ", beside a held snapshot" } else { "" };
        println!("### {} courses{beside}\n\n{table}", scope.courses);
    }
    if scope.includes("latency") {
        let mut table = Table::new(&["Program", "p50, ms", "p99, ms"]);
        for subject in scope.subjects().filter(|subject| *subject != Subject::CourseSyncResend) {
            table.add(latency(&cluster, subject).await?);
        }
        println!("### Commit to request, single courses\n\n{table}");
    }
    Ok(())
}

async fn work(pool: &PgPool) -> anyhow::Result<Work> {
    // A session reports its statistics with a delay of up to one second.
    sleep(Duration::from_millis(1_500)).await;
    let (wal, written, dead) = sqlx::query_as(
        "select (pg_current_wal_insert_lsn() - '0/0')::float8, sum(n_tup_ins + n_tup_upd)::float8,
                sum(n_tup_upd + n_tup_del)::float8 from pg_stat_user_tables",
    )
    .fetch_one(pool)
    .await?;
    Ok(Work { wal, written, dead })
}

#[allow(clippy::cast_precision_loss)]
async fn drain(
    cluster: &Cluster,
    subject: Subject,
    courses: usize,
    is_held: bool,
) -> anyhow::Result<Vec<String>> {
    let receiver = Receiver::start(Behaviour { is_unique: true, delay: 0..0, loses_answers: false }).await?;
    let (url, pool) = cluster.database().await?;
    let run = Run::new(subject, (url.clone(), pool.clone()), receiver.url(), true).await?;
    run.enqueue(courses).await?;
    let mut holder = PgConnection::connect(&url).await?;
    if is_held {
        sqlx::raw_sql("begin isolation level repeatable read; select count(*) from pg_class")
            .execute(&mut holder)
            .await?;
    }
    sqlx::query("checkpoint").execute(&pool).await?;
    let (before, cpu_before, began) = (work(&pool).await?, cluster.cpu()?, Instant::now());
    let worker = Worker::start(subject.worker()?, &run.settings)?;
    let mut seconds = 0.0;
    while receiver.counts().distinct() < courses {
        ensure!(began.elapsed() < TIMEOUT, "{}: not finished in time", subject.name());
        sleep(Duration::from_millis(5)).await;
        seconds = began.elapsed().as_secs_f64();
    }
    while !run.unfinished(true).await?.is_empty() {
        ensure!(began.elapsed() < TIMEOUT, "{}: not finished in time", subject.name());
        sleep(Duration::from_millis(100)).await;
    }
    let (cpu, peak, server_cpu) = (worker.cpu()?, worker.peak()?, cluster.cpu()? - cpu_before);
    let after = work(&pool).await?;
    worker.kill().await;
    holder.close().await?;
    run.remove(cluster).await?;
    let count = courses as f64;
    Ok(vec![
        subject.name().to_owned(),
        format!("{:.0}", count / seconds),
        format!("{:.2}", cpu * 100_000.0 / count),
        format!("{:.2}", server_cpu * 100_000.0 / count),
        format!("{:.0}", (after.wal - before.wal) / count),
        format!("{:.2}", (after.written - before.written) / count),
        format!("{:.2}", (after.dead - before.dead) / count),
        format!("{peak:.0}"),
    ])
}

async fn latency(cluster: &Cluster, subject: Subject) -> anyhow::Result<Vec<String>> {
    let receiver =
        Receiver::start(Behaviour { is_unique: true, delay: 20..20, loses_answers: false }).await?;
    let run = Run::new(subject, cluster.database().await?, receiver.url(), true).await?;
    let worker = Worker::start(subject.worker()?, &run.settings)?;
    let producer = run.producer().await?;
    producer.enqueue("first").await?;
    let began = Instant::now();
    while !receiver.counts().arrivals.contains_key("first") {
        ensure!(began.elapsed() < TIMEOUT, "{}: the first course did not arrive", subject.name());
        sleep(Duration::from_millis(20)).await;
    }
    let mut committed = HashMap::new();
    for at in 0..SINGLES {
        sleep(Duration::from_millis(fastrand::u64(APART))).await;
        let key = format!("L-{at}");
        producer.enqueue(&key).await?;
        committed.insert(key, Instant::now());
    }
    sleep(Duration::from_secs(2)).await;
    let mut delays = delays(&receiver, &committed);
    delays.sort_by(f64::total_cmp);
    let quantile = |part: usize| delays.get((delays.len() * part / 100).min(delays.len() - 1));
    let (middle, slow) = (quantile(50).context("no delays")?, quantile(99).context("no delays")?);
    let row = vec![subject.name().to_owned(), format!("{middle:.1}"), format!("{slow:.1}")];
    worker.kill().await;
    run.remove(cluster).await?;
    Ok(row)
}

/// The milliseconds from the commit of each course to its request. A course that was sent together with another one is
/// left out.
fn delays(receiver: &Receiver, committed: &HashMap<String, Instant>) -> Vec<f64> {
    let counts = receiver.counts();
    let delay = |(key, committed): (&String, &Instant)| {
        let arrived = counts.arrivals.get(key)?;
        Some(arrived.saturating_duration_since(*committed).as_secs_f64() * 1_000.0)
    };
    committed.iter().filter_map(delay).collect()
}
