//! What all peers share: one request that creates a batch of courses.

use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};

/// A client of the receiver.
#[derive(Debug, Clone)]
pub struct Sender {
    client: reqwest::Client,
    url: String,
}

impl Sender {
    /// A client of the receiver that the environment names.
    pub fn new() -> anyhow::Result<Self> {
        Self::to(&std::env::var("RECEIVER_URL")?)
    }

    /// A client of the receiver at this URL.
    pub fn to(receiver: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build()?;
        Ok(Self { client, url: format!("{receiver}/crm/v3/objects/0-410/batch/create") })
    }

    /// Creates courses. With the trace ids HubSpot creates the good ones of a batch and names the others. A course that
    /// exists already counts as created.
    pub async fn create(&self, courses: &[Value]) -> anyhow::Result<Value> {
        let input = |(at, course): (usize, &Value)| {
            json!({
                "properties": course, "associations": [], "objectWriteTraceId": at.to_string(),
            })
        };
        let body = json!({ "inputs": courses.iter().enumerate().map(input).collect::<Vec<_>>() });
        let response = self.client.post(&self.url).json(&body).send().await?.error_for_status()?;
        let answer: Value = response.json().await?;
        let mut errors = answer["errors"].as_array().into_iter().flatten();
        ensure!(errors.all(|error| error["category"] == "CONFLICT"), "refused: {answer}");
        Ok(answer)
    }
}
