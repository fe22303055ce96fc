//! The catalogue's own insert rate with the wake-up trigger and without, by pgbench.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, ensure};
use sqlx::PgPool;
use sqlx::postgres::PgListener;
use tokio::process::Command;

use super::environment::{Environment, Scope};
use super::table::{Goal, Report, median};

const CLIENTS: &str = "16";
/// Of one turn, in seconds.
const SECONDS: &str = "6";
const DATABASE: &str = "trigger";
/// As a catalogue does it: one course in a transaction of its own.
const INSERT: &str = "insert into course_outbox (course_key, properties) values (gen_random_uuid()::text, \
    jsonb_build_object('hs_course_name', 'A course', 'hs_course_description', repeat('An example. ', 40)));\n";

pub async fn measure(scope: Scope, report: &mut Report) -> anyhow::Result<()> {
    let environment = Environment::new().await?;
    let (url, pool) = environment.database(DATABASE).await?;
    // A daemon that listens, as far as the catalogue is concerned.
    let mut listener = PgListener::connect(&url).await?;
    listener.listen("course_outbox").await?;
    let mut script = tempfile::NamedTempFile::new()?;
    script.write_all(INSERT.as_bytes())?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..scope.rounds.max(3) * 2 {
        with.push(inserts(&environment, &pool, script.path(), "enable").await?);
        without.push(inserts(&environment, &pool, script.path(), "disable").await?);
    }
    report.add("inserts with the trigger, 16 clients", median(&with), "/s", Goal::None);
    report.add("inserts without it", median(&without), "/s", Goal::None);
    report.add("with against without", median(&with) / median(&without), "×", Goal::AtLeast(0.9));
    drop(listener);
    pool.close().await;
    environment.stop().await
}

/// Inserts a second.
async fn inserts(
    environment: &Environment,
    pool: &PgPool,
    script: &Path,
    switch: &str,
) -> anyhow::Result<f64> {
    sqlx::query("truncate course_outbox").execute(pool).await?;
    let switch = format!("alter table course_outbox {switch} trigger course_outbox_wake");
    sqlx::query(sqlx::AssertSqlSafe(switch)).execute(pool).await?;
    sqlx::query("checkpoint").execute(pool).await?;
    let output = Command::new(environment.program("pgbench"))
        .args([
            "--no-vacuum",
            "--protocol=prepared",
            "--jobs=2",
            "--client",
            CLIENTS,
            "--time",
            SECONDS,
            "--file",
        ])
        .arg(script)
        .arg("--host")
        .arg(environment.socket_dir())
        .args(["--username", "course_sync", DATABASE])
        .output()
        .await
        .context("pgbench, a program of the Postgres server")?;
    ensure!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    let rate =
        report.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()).context("no rate")?;
    Ok(rate.parse()?)
}
