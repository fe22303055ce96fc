//! `graphile_worker`, as its guides "Batch Jobs" and "Worker Recovery" describe: one job holds a batch of courses, the
//! handler receives them together, and a sweep returns the jobs of workers that have no heartbeat.

use std::time::Duration;

use graphile_worker::{BatchTaskHandler, IntoBatchTaskHandlerResult, Worker, WorkerContext, WorkerOptions};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;

use super::{AT_ONCE, LEASE, Sender, database_url};

/// A course: the properties to send.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct Course(pub Value);

impl BatchTaskHandler for Course {
    const IDENTIFIER: &'static str = "send_courses";

    async fn run_batch(courses: Vec<Self>, context: WorkerContext) -> impl IntoBatchTaskHandlerResult {
        let courses: Vec<Value> = courses.into_iter().map(|course| course.0).collect();
        let Some(sender) = context.get_ext::<Sender>() else { return Err("no sender".to_owned()) };
        sender.create(&courses).await.map(drop).map_err(|error| format!("{error:#}"))
    }
}

/// A worker for this database, with its schema.
pub async fn worker(database: &str, sender: Sender) -> anyhow::Result<Worker> {
    let pool = PgPoolOptions::new().max_connections(6).connect(database).await?;
    let worker = WorkerOptions::default()
        .concurrency(AT_ONCE)
        .heartbeat_interval(Duration::from_secs(1))
        .sweep_interval(Duration::from_secs(1))
        .sweep_threshold(LEASE)
        .recovery_delay(Duration::ZERO)
        .add_extension(sender)
        .define_batch_job::<Course>()
        .pg_pool(pool)
        .init()
        .await?;
    Ok(worker)
}

/// Sends until it is killed.
pub async fn run() -> anyhow::Result<()> {
    Ok(worker(&database_url()?, Sender::new()?).await?.run().await?)
}
