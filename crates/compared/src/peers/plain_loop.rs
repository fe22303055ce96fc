//! The loop that most people would write: lock a batch of rows, send it, update the rows, commit. Four of them at once.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::{AT_ONCE, BATCH, Sender, database_url};

const CLAIM: &str =
    "select id, properties from courses where status = 'pending' order by id limit $1 for update skip locked";
const RECORD: &str = "
    update courses set status = 'synced', synced_at = now(), hubspot_id = created.id
      from unnest($1::bigint[], $2::text[]) as created (row, id) where courses.id = created.row";

/// Sends until it is killed.
pub async fn run() -> anyhow::Result<()> {
    let (pool, sender) = (PgPool::connect(&database_url()?).await?, Sender::new()?);
    let mut loops = JoinSet::new();
    for _ in 0..AT_ONCE {
        let (pool, sender) = (pool.clone(), sender.clone());
        loops.spawn(async move {
            loop {
                match send_batch(&pool, &sender).await {
                    Ok(true) => {}
                    Ok(false) => sleep(Duration::from_millis(100)).await,
                    Err(error) => {
                        eprintln!("{error:#}");
                        sleep(Duration::from_secs(1)).await;
                    }
                }
            }
        });
    }
    // A loop ends only by a panic.
    while loops.join_next().await.is_some() {}
    Ok(())
}

/// Sends one batch. `false`: nothing is pending.
async fn send_batch(pool: &PgPool, sender: &Sender) -> anyhow::Result<bool> {
    let mut transaction = pool.begin().await?;
    let limit = i64::try_from(BATCH)?;
    let rows: Vec<(i64, Value)> = sqlx::query_as(CLAIM).bind(limit).fetch_all(&mut *transaction).await?;
    if rows.is_empty() {
        return Ok(false);
    }
    let (ids, courses): (Vec<i64>, Vec<Value>) = rows.into_iter().unzip();
    let answer = sender.create(&courses).await?;
    // Each result echoes the name, which is the key here.
    let record_of = |course: &Value| {
        let results = answer["results"].as_array().into_iter().flatten();
        let mut same = results.filter(|record| record["properties"]["course_key"] == course["course_key"]);
        same.next().and_then(|record| record["id"].as_str()).map(str::to_owned)
    };
    let records: Vec<Option<String>> = courses.iter().map(record_of).collect();
    sqlx::query(RECORD).bind(&ids).bind(&records).execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(true)
}
