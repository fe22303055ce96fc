//! pgmq, as its README describes: read a batch with a visibility timeout longer than the processing, process it, delete
//! it. Four of these loops at once.

use std::time::Duration;

use pgmq::PGMQueueExt;
use serde_json::Value;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{AT_ONCE, BATCH, LEASE, Sender, database_url};

/// The queue.
pub const QUEUE: &str = "courses";

/// Sends until it is killed.
pub async fn run() -> anyhow::Result<()> {
    // Its own constructor does not know URLs of unix sockets.
    let queue = PGMQueueExt::new_with_pool(PgPool::connect(&database_url()?).await?).await;
    let sender = Sender::new()?;
    let mut loops = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (queue, sender) = (queue.clone(), sender.clone());
        loops.spawn(async move {
            loop {
                if let Err(error) = send_batch(&queue, &sender).await {
                    eprintln!("{error:#}");
                    sleep(Duration::from_secs(1)).await;
                }
            }
        });
    }
    // A loop ends only by a panic.
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// Waits for messages, for 5 seconds at most, and sends them as one request.
async fn send_batch(queue: &PGMQueueExt, sender: &Sender) -> anyhow::Result<()> {
    let (wait, poll) = (Duration::from_secs(5), Duration::from_millis(100));
    let size = i32::try_from(BATCH)?;
    let messages =
        queue.read_batch_with_poll::<Value, Value>(QUEUE, LEASE, size, Some(wait), Some(poll)).await?;
    if messages.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = messages.iter().map(|message| message.msg_id).collect();
    let courses: Vec<Value> = messages.into_iter().map(|message| message.message).collect();
    sender.create(&courses).await?;
    queue.delete_batch(QUEUE, &ids).await?;
    Ok(())
}
