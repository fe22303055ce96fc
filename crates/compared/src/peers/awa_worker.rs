//! awa, as its README and its example `etl_pipeline` show: one job holds a batch of courses, a registered handler sends
//! it, and the jobs of workers without a heartbeat are rescued.

use std::time::Duration;

use awa::{Client, JobArgs, JobError, JobResult, QueueConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx08::postgres::PgPoolOptions;

use super::{AT_ONCE, LEASE, Sender, database_url};

/// The queue.
pub const QUEUE: &str = "courses";

/// A batch of courses: the properties to send.
#[derive(Debug, Serialize, Deserialize, JobArgs)]
pub struct SendCourses {
    /// One object for each course.
    pub courses: Vec<Value>,
}

/// Sends until it is killed.
pub async fn run() -> anyhow::Result<()> {
    let pool = PgPoolOptions::new().max_connections(10).connect(&database_url()?).await?;
    let sender = Sender::new()?;
    let client = Client::builder(pool)
        .queue(QUEUE, QueueConfig { max_workers: u32::try_from(AT_ONCE)?, ..QueueConfig::default() })
        .heartbeat_interval(Duration::from_secs(1))
        .heartbeat_staleness(LEASE)
        .heartbeat_rescue_interval(Duration::from_secs(1))
        .leader_election_interval(Duration::from_millis(500))
        .register::<SendCourses, _, _>(move |batch: SendCourses, _context| {
            let sender = sender.clone();
            async move {
                sender.create(&batch.courses).await.map_err(JobError::retryable_msg)?;
                Ok(JobResult::Completed)
            }
        })
        .build()?;
    client.start().await?;
    std::future::pending().await
}
