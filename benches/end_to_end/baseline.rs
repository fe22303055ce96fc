//! The baselines of throughput: a bare sender without a database, and the simplest loop.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use serde_json::{Map, Value};
use sqlx::PgPool;

use super::fake_hubspot::FakeHubSpot;
use super::payload::{self, BATCH, UNIQUE};

/// The program's default number of concurrent requests.
const AT_ONCE: usize = 32;
const PATH: &str = "/crm/v3/objects/0-410/batch/create";

fn client() -> anyhow::Result<reqwest::Client> {
    course_sync::tls::install_provider();
    Ok(reqwest::Client::builder().http1_only().no_proxy().tcp_nodelay(true).build()?)
}

/// Requests per second with a prepared body, at the program's concurrency, without a database.
#[allow(clippy::cast_precision_loss)]
pub async fn bare_sender(hubspot: &FakeHubSpot, requests: usize) -> anyhow::Result<f64> {
    let (client, url) = (client()?, format!("{}{PATH}", hubspot.url()));
    let body: &'static [u8] = payload::body()?.leak();
    let began = Instant::now();
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..AT_ONCE {
        let (client, url) = (client.clone(), url.clone());
        let share = requests / AT_ONCE + usize::from(sender < requests % AT_ONCE);
        senders.spawn(async move {
            for _ in 0..share {
                client.post(&url).body(body).send().await?.error_for_status()?.bytes().await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    Ok(requests as f64 / began.elapsed().as_secs_f64())
}

struct Row {
    id: i64,
    course_key: String,
    properties: Value,
}

/// Claims, creates and updates one batch after the other until the outbox is empty. Returns the seconds it took.
pub async fn plain_loop(pool: &PgPool, hubspot: &FakeHubSpot) -> anyhow::Result<f64> {
    let (client, url) = (client()?, format!("{}{PATH}", hubspot.url()));
    let began = Instant::now();
    loop {
        let mut claim = pool.begin().await?;
        let rows: Vec<(i64, String, Value)> = sqlx::query_as(
            "select id, course_key, properties from course_outbox
              where status = 'pending' order by next_attempt_at, id limit $1 for update skip locked",
        )
        .bind(i64::try_from(BATCH)?)
        .fetch_all(&mut *claim)
        .await?;
        let rows: Vec<Row> =
            rows.into_iter().map(|(id, course_key, properties)| Row { id, course_key, properties }).collect();
        if rows.is_empty() {
            return Ok(began.elapsed().as_secs_f64());
        }
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        sqlx::query(
            "update course_outbox set status = 'in_flight', attempts = attempts + 1, batch_id = gen_random_uuid()
              where id = any($1)",
        )
        .bind(&ids)
        .execute(&mut *claim)
        .await?;
        claim.commit().await?;

        let inputs: Vec<String> = rows.iter().map(input).collect();
        let body = format!(r#"{{"inputs":[{}]}}"#, inputs.join(","));
        let answer = client.post(&url).body(body).send().await?;
        let answer: Value = answer.error_for_status()?.json().await?;
        let by_key: HashMap<&str, &str> =
            answer["results"].as_array().into_iter().flatten().filter_map(created).collect();

        let mut record = pool.begin().await?;
        for row in &rows {
            let hubspot_id = by_key.get(row.course_key.as_str()).context("a course without a record")?;
            sqlx::query(
                "update course_outbox
                    set status = 'synced', hubspot_id = $2, synced_at = now(), updated_at = now()
                  where id = $1",
            )
            .bind(row.id)
            .bind(hubspot_id)
            .execute(&mut *record)
            .await?;
        }
        record.commit().await?;
    }
}

/// Reads pending courses, creates them and writes each row once, one batch after the other until the outbox is empty. A
/// crash after the request makes it create the courses again. Returns the seconds it took.
pub async fn unsafe_loop(pool: &PgPool, hubspot: &FakeHubSpot) -> anyhow::Result<f64> {
    let (client, url) = (client()?, format!("{}{PATH}", hubspot.url()));
    let began = Instant::now();
    loop {
        let rows: Vec<(i64, String, Value)> = sqlx::query_as(
            "select id, course_key, properties from course_outbox
              where status = 'pending' order by next_attempt_at, id limit $1",
        )
        .bind(i64::try_from(BATCH)?)
        .fetch_all(pool)
        .await?;
        if rows.is_empty() {
            return Ok(began.elapsed().as_secs_f64());
        }
        let rows: Vec<Row> =
            rows.into_iter().map(|(id, course_key, properties)| Row { id, course_key, properties }).collect();
        let inputs: Vec<String> = rows.iter().map(input).collect();
        let body = format!(r#"{{"inputs":[{}]}}"#, inputs.join(","));
        let answer: Value = client.post(&url).body(body).send().await?.error_for_status()?.json().await?;
        let by_key: HashMap<&str, &str> =
            answer["results"].as_array().into_iter().flatten().filter_map(created).collect();
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let records: Vec<&str> =
            rows.iter().filter_map(|row| by_key.get(row.course_key.as_str()).copied()).collect();
        sqlx::query(
            "update course_outbox o
                set status = 'synced', hubspot_id = r.hubspot_id, synced_at = now(), updated_at = now()
               from unnest($1::bigint[], $2::text[]) as r (id, hubspot_id) where o.id = r.id",
        )
        .bind(&ids)
        .bind(&records)
        .execute(pool)
        .await?;
    }
}

/// The members are in the order that the fake HubSpot expects.
fn input(row: &Row) -> String {
    let mut sent = Map::new();
    for (name, value) in row.properties.as_object().into_iter().flatten() {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        sent.insert(name.clone(), text.into());
    }
    sent.insert(UNIQUE.to_owned(), row.course_key.clone().into());
    format!(r#"{{"properties":{},"associations":[]}}"#, Value::Object(sent))
}

fn created(record: &Value) -> Option<(&str, &str)> {
    Some((record["properties"][UNIQUE].as_str()?, record["id"].as_str()?))
}
