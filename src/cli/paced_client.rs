//! Sends an operator's requests to HubSpot at a share of the quota, and waits out failures that pass. For commands that
//! read or write many records.

mod reservation;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::bail;

use self::reservation::QuotaReservation;
use crate::account::rate_limiter::RateLimiter;
use crate::config::{Config, RateLimit};
use crate::course::{CourseKey, HubSpotId, InstanceId};
use crate::hubspot::Client;
use crate::hubspot::api::listing::RecordPage;
use crate::hubspot::api::properties::Sensitivity;
use crate::hubspot::api::read::ReadResponse;
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::{BatchReply, Body, Exchange};
use crate::outbox::Database;
use crate::pipeline::reconcile::record_meaning::{RecordFinding, interpret_records};
use crate::policy::backoff::RetryPolicy;
use crate::policy::gate::Reason;
use crate::policy::properties::AccountProperties;
use crate::policy::read_result::{ReadResult, interpret};
use crate::policy::signal::Signal;
use crate::telemetry::metrics::Metrics;

/// A part of the quota, in percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(u32);

impl Share {
    /// Parses `10%`, from `1%` to `100%`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let percent = text.strip_suffix('%').and_then(|number| number.parse().ok());
        percent
            .filter(|percent| (1..=100).contains(percent))
            .map(Self)
            .ok_or_else(|| "expected a percentage from 1% to 100%, such as 10%".to_owned())
    }

    /// This part of the quota, at least one request. One is left to the daemon, which may start at any time.
    pub(super) fn of(self, quota: RateLimit) -> RateLimit {
        let requests = u64::from(quota.requests) * u64::from(self.0) / 100;
        let most = quota.requests.saturating_sub(1);
        RateLimit { requests: u32::try_from(requests).unwrap_or(u32::MAX).min(most).max(1), ..quota }
    }
}

/// How often in a row a request may fail because HubSpot is not available, before the command gives up.
const MAX_FAILURES: u32 = 12;
/// The longest wait between two attempts.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How one attempt ended.
pub(super) enum SendAttempt<T> {
    /// It succeeded.
    Done(T),
    /// HubSpot refuses the content of the request, with this message.
    Refused(String),
    /// It is to be sent again after this time.
    Again(Duration),
}

/// Sends requests within a share of the quota.
pub(super) struct PacedClient {
    hubspot: Client,
    rate_limiter: RateLimiter,
    reservation: QuotaReservation,
    per: Duration,
    retry: RetryPolicy,
    requests: AtomicU64,
}

impl PacedClient {
    /// `command` identifies this command to the daemon, which leaves its share of the quota free.
    pub(super) fn new(
        config: &Config,
        share: Share,
        database: &Database,
        command: InstanceId,
    ) -> anyhow::Result<Self> {
        let retry = RetryPolicy {
            initial_interval: config.retry.initial_interval,
            max_interval: config.retry.max_interval.min(MAX_WAIT),
            multiplier: config.retry.multiplier,
            ..RetryPolicy::default()
        };
        Ok(Self {
            hubspot: Client::new(&config.hubspot, 1, Arc::new(Metrics::new()))?,
            rate_limiter: RateLimiter::new(share.of(config.rate_limit), 1),
            reservation: QuotaReservation::new(config, share, database, command),
            per: config.rate_limit.per,
            retry,
            requests: AtomicU64::new(0),
        })
    }

    /// The number of requests that were sent.
    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Leaves the quota to others again.
    pub(super) async fn release(&self) {
        self.reservation.end().await;
    }

    /// The account's ordinary properties.
    pub(super) async fn properties(&self) -> anyhow::Result<AccountProperties> {
        let list = self.retrying(async || self.hubspot.properties(Sensitivity::None).await).await;
        Ok(AccountProperties::new(
            accepted(list?, "the list of the account's properties")?.into_list(),
            None,
            None,
        ))
    }

    /// The page after this cursor.
    pub(super) async fn list(&self, after: Option<&str>, properties: &[&str]) -> anyhow::Result<RecordPage> {
        let send = async || self.hubspot.list_records(after, properties, RecordState::Live).await;
        accepted(self.retrying(send).await?, "the list of courses")
    }

    /// What HubSpot shows about these records, in their order. What a response leaves out is read once more.
    pub(super) async fn read_records(
        &self,
        ids: &[&HubSpotId],
        properties: &[&str],
        state: RecordState,
    ) -> anyhow::Result<Vec<RecordFinding>> {
        let mut findings = self.read_in_parts(ids, properties, state).await?;
        let is_open = |finding: &RecordFinding| *finding == RecordFinding::Inconclusive;
        for (id, finding) in ids.iter().zip(&mut findings).filter(|(_, finding)| is_open(finding)) {
            *finding = self
                .read_in_parts(&[id], properties, state)
                .await?
                .pop()
                .unwrap_or(RecordFinding::Inconclusive);
        }
        Ok(findings)
    }

    /// Reads records. Where HubSpot refuses the request, one of the ids may be the cause, or their number: then half of
    /// them is read at a time.
    async fn read_in_parts(
        &self,
        ids: &[&HubSpotId],
        properties: &[&str],
        state: RecordState,
    ) -> anyhow::Result<Vec<RecordFinding>> {
        let mut findings = Vec::with_capacity(ids.len());
        let mut parts = vec![ids];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            let send = async || {
                let exchange = self.hubspot.read_records(part, properties, state).await;
                let reading = interpret_records(part, &exchange);
                ReadResponse {
                    value: (reading.signal == Signal::Passed).then_some(reading.findings),
                    exchange,
                }
            };
            match (self.retrying(send).await?, part) {
                (Ok(found), _) => findings.extend(found),
                (Err(why), [id]) => bail!("HubSpot refuses to show record {}: {why}", id.as_str()),
                (Err(_), _) => {
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
            }
        }
        Ok(findings)
    }

    /// Tries once to write keys onto records. `failures`: how often this failed in a row.
    pub(super) async fn set_keys(
        &self,
        keys: &[(&HubSpotId, &CourseKey)],
        unique_property: &str,
        failures: &mut u32,
    ) -> anyhow::Result<SendAttempt<BatchReply>> {
        let send = async || {
            let exchange = self.hubspot.set_keys(keys, unique_property).await;
            let value = match &exchange {
                Exchange::Answered { meta, body: Body::Batch(reply) } if meta.is_success() => {
                    Some(reply.as_ref().clone())
                }
                _ => None,
            };
            ReadResponse { value, exchange }
        };
        self.attempt(send, failures).await
    }

    /// Sends until HubSpot answers. `Err` within: HubSpot refuses the content.
    async fn retrying<T>(
        &self,
        send: impl AsyncFn() -> ReadResponse<T>,
    ) -> anyhow::Result<Result<T, String>> {
        let mut failures = 0;
        loop {
            match self.attempt(&send, &mut failures).await? {
                SendAttempt::Done(value) => return Ok(Ok(value)),
                SendAttempt::Refused(why) => return Ok(Err(why)),
                SendAttempt::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Sends once, within the quota. An error: no further attempt can succeed now.
    async fn attempt<T>(
        &self,
        send: impl AsyncFn() -> ReadResponse<T>,
        failures: &mut u32,
    ) -> anyhow::Result<SendAttempt<T>> {
        self.reservation.keep().await?;
        let permit = self.rate_limiter.acquire().await;
        self.requests.fetch_add(1, Ordering::Relaxed);
        let ReadResponse { value, exchange } = send().await;
        let result = interpret(value, &exchange).0;
        let signal = match &result {
            ReadResult::Stop(incident) => Signal::Pause(incident.clone()),
            _ => Signal::Passed,
        };
        self.rate_limiter.record_end(permit, &exchange, &signal);
        match result {
            ReadResult::Found(value) => {
                *failures = 0;
                Ok(SendAttempt::Done(value))
            }
            ReadResult::Refused(why) => Ok(SendAttempt::Refused(why)),
            ReadResult::Stop(incident) if incident.reason == Reason::IntervalQuota => {
                // Other integrations use the quota too. It is free again after one window.
                Ok(SendAttempt::Again(incident.retry_after.unwrap_or(self.per)))
            }
            ReadResult::Stop(incident) => bail!("{}", incident.message),
            ReadResult::Denied(why, _) => bail!("{why}"),
            ReadResult::Unavailable(why) => {
                *failures += 1;
                if *failures >= MAX_FAILURES {
                    bail!("HubSpot is not available, after {MAX_FAILURES} attempts: {why}");
                }
                Ok(SendAttempt::Again(self.retry.equal_jitter(*failures, fastrand::f64(), MAX_WAIT)))
            }
        }
    }
}

fn accepted<T>(result: Result<T, String>, what: &str) -> anyhow::Result<T> {
    result.map_err(|why| anyhow::anyhow!("HubSpot refuses {what}: {why}"))
}

/// Walks through all live records of the account, page by page.
pub(super) struct RecordWalk<'a> {
    client: &'a PacedClient,
    properties: &'a [&'a str],
    next: NextPage,
}

/// The page that a walk reads next.
enum NextPage {
    First,
    After(String),
    /// The last page was read.
    End,
}

impl<'a> RecordWalk<'a> {
    /// Starts after this cursor; `None`: at the beginning.
    pub(super) fn new(client: &'a PacedClient, properties: &'a [&'a str], after: Option<String>) -> Self {
        Self { client, properties, next: after.map_or(NextPage::First, NextPage::After) }
    }

    /// The next page; `None` after the last one. A page may be empty.
    pub(super) async fn next_page(&mut self) -> anyhow::Result<Option<RecordPage>> {
        let after = match &self.next {
            NextPage::First => None,
            NextPage::After(cursor) => Some(cursor.as_str()),
            NextPage::End => return Ok(None),
        };
        let page = self.client.list(after, self.properties).await?;
        self.next = match page.next() {
            Some(next) if after == Some(next) => {
                bail!("HubSpot's list of courses does not advance: its cursor {next:?} leads to itself")
            }
            Some(next) => NextPage::After(next.to_owned()),
            None => NextPage::End,
        };
        Ok(Some(page))
    }

    /// The cursor of the next page, if there is one.
    pub(super) fn cursor(&self) -> Option<&str> {
        match &self.next {
            NextPage::After(cursor) => Some(cursor),
            NextPage::First | NextPage::End => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_quota_is_at_least_one_request_and_leaves_one() {
        let quota = |requests| RateLimit {
            requests,
            per: Duration::from_secs(10),
            daily_reserve: crate::config::Percent::ZERO,
        };
        for (share, requests, expected) in [("10%", 190, 19), ("100%", 190, 189), ("1%", 5, 1), ("50%", 1, 1)]
        {
            assert_eq!(Share::parse(share).unwrap().of(quota(requests)).requests, expected, "{share}");
        }
        for wrong in ["0%", "101%", "10", "ten%", "-1%", ""] {
            assert!(Share::parse(wrong).is_err(), "{wrong}");
        }
    }
}
