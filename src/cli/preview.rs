//! `preview`: shows what sending the pending courses would do, without changing anything.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use uuid::Uuid;

use super::account_properties::read_account_properties;
use super::connections::open_database;
use super::outcome::CommandOutcome;
use super::output::{print_as, spinner};
use crate::account::rate_limiter::RateLimiter;
use crate::config::{Config, RateLimit};
use crate::course::{BatchId, ClaimedCourse, CourseKey, MAX_COURSES, RowId, Write};
use crate::hubspot::Client;
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::Exchange;
use crate::outbox::ops::preview::{self, Page, PageCursor, PendingState};
use crate::outbox::{Database, changes as outbox_changes, overview};
use crate::pipeline::batch::{UnsendableCourse, assemble};
use crate::pipeline::reconcile::meaning::{self, LookupFinding};
use crate::policy::properties::{AccountProperties, missing_name};
use crate::policy::read_result::ReadResult;
use crate::policy::signal::Signal;
use crate::telemetry::metrics::Metrics;

mod changes;
mod forecast;
mod limits;

use changes::{as_properties, sent_patch};
use forecast::{Fault, Forecast};
use limits::SendingLimits;

/// Show what sending the pending courses would do, without sending anything
///
/// Reads the pending courses, the account's properties, and the records that already have the courses' keys. For a
/// course whose record is known it shows the old and the new value of each property that an update would send. Changes
/// nothing in HubSpot or in the outbox. While a daemon is sending, it uses at most a tenth of the quota.
#[derive(Debug, clap::Args)]
pub(super) struct PreviewArgs {
    /// Check only the first N pending courses
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// While a daemon is sending, the preview uses the quota divided by this number.
const QUOTA_DIVISOR: u32 = 10;

pub(super) async fn run(args: &PreviewArgs, config: &Config) -> anyhow::Result<CommandOutcome> {
    let database = open_database(config).await?;
    let hubspot = Client::new(&config.hubspot, 1, Arc::new(Metrics::new()))?;
    let rate_limit = config.rate_limit;
    let has_leader = overview::read_leader(&database).await?.is_some_and(|leader| leader.is_current);
    let own_requests = if has_leader { rate_limit.requests / QUOTA_DIVISOR } else { rate_limit.requests };
    let rate_limiter = RateLimiter::new(RateLimit { requests: own_requests, ..rate_limit }, 1);
    let client = PreviewClient { hubspot, rate_limiter, unique: config.hubspot.unique_property.clone() };
    let properties = client.read_properties().await?;
    let limits = SendingLimits {
        batch_size: config.batch.max_size,
        batch_bytes: config.batch.max_bytes,
        quota: rate_limit,
        archive_limit: config.outbox.archive_limit,
    };
    let archives = outbox_changes::count_held_archives(&database, limits.archive_limit).await?;
    let holds_archives = archives > u64::from(limits.archive_limit);
    let mut forecast = Forecast::new(properties.is_some(), client.unique.is_some(), holds_archives);
    forecast_pending(args, &database, &client, properties.as_ref(), &mut forecast).await?;
    if forecast.creates() {
        forecast.records_without_key = client.count_without_key().await;
    }
    print_as(args.json, &forecast.as_json(&limits), |_| forecast.to_text(&limits))?;
    Ok(CommandOutcome::Success)
}

/// Adds the pending courses to the forecast, page by page.
async fn forecast_pending(
    args: &PreviewArgs,
    database: &Database,
    client: &PreviewClient,
    properties: Option<&AccountProperties>,
    forecast: &mut Forecast,
) -> anyhow::Result<()> {
    let progress = spinner("{spinner} {human_pos} pending courses checked");
    let mut position = Some(PageCursor::default());
    let mut left = args.limit.unwrap_or(u64::MAX);
    while let Some(after) = position.clone()
        && left > 0
    {
        let limit = u16::try_from(left).unwrap_or(u16::MAX).min(MAX_COURSES);
        let mut page = preview::read_pending_page(database, after, limit).await?;
        let count = page.courses.len() + page.unreadable.len();
        position = page.next.take();
        left = left.saturating_sub(count as u64);
        forecast_page(client, properties, page, forecast).await?;
        progress.inc(count as u64);
    }
    forecast.has_more = position.is_some();
    progress.finish_and_clear();
    Ok(())
}

async fn forecast_page(
    client: &PreviewClient,
    properties: Option<&AccountProperties>,
    page: Page,
    forecast: &mut Forecast,
) -> anyhow::Result<()> {
    let (now, unique) = (Timestamp::now(), client.unique.as_deref());
    for (row, error) in &page.unreadable {
        let fault = Fault::new(error.category().as_str(), "", &error.to_string());
        forecast.add_refused(&format!("row {}", row.0), &[fault]);
    }
    let mut states = page.states;
    let mut new = Vec::new();
    for course in page.courses {
        let state = states.remove(&course.id).unwrap_or_default();
        match state.write(&course) {
            Write::Create => new.push(course),
            write => forecast_change(write, course, &state, properties, unique, forecast),
        }
    }
    let mut faults: BTreeMap<RowId, Vec<Fault>> =
        new.iter().map(|course| (course.id, find_faults(course, properties, unique))).collect();
    let (batch, unfit) = assemble(Write::Create, BatchId(Uuid::nil()), new, unique, now);
    for UnsendableCourse { id, key, error } in unfit {
        let mut of_course = vec![Fault::of_error(&error)];
        of_course.extend(faults.remove(&id).unwrap_or_default());
        forecast.add_refused(key.as_ref().map(CourseKey::as_str).unwrap_or_default(), &of_course);
    }
    let mut good = Vec::new();
    for course in batch.courses() {
        match faults.remove(&course.id).filter(|faults| !faults.is_empty()) {
            Some(faults) => forecast.add_refused(course.key.as_str(), &faults),
            None => good.push(course),
        }
    }
    let findings = client.look_up(&good).await?;
    for (course, finding) in good.iter().zip(findings) {
        forecast.add_sendable(course, &finding);
    }
    Ok(())
}

/// Adds a course whose record is to be updated or archived to the forecast.
fn forecast_change(
    write: Write,
    course: ClaimedCourse,
    state: &PendingState,
    properties: Option<&AccountProperties>,
    unique: Option<&str>,
    forecast: &mut Forecast,
) {
    let patch = sent_patch(&course, unique);
    match write {
        Write::Archive if course.record.is_none() => return forecast.changes.add_withdrawn(),
        Write::Update if patch.is_empty() => return forecast.changes.add_unchanged(),
        Write::Create | Write::Update | Write::Archive => {}
    }
    let problems = match properties {
        Some(properties) if write == Write::Update => properties.problems(&as_properties(&patch), unique),
        _ => Vec::new(),
    };
    let key = course.key.as_str().to_owned();
    let (batch, unfit) = assemble(write, BatchId(Uuid::nil()), vec![course], unique, Timestamp::now());
    let mut faults: Vec<_> = unfit.iter().map(|unfit| Fault::of_error(&unfit.error)).collect();
    faults.extend(problems.iter().map(|it| Fault::new(it.code, &it.property, &it.message)));
    match batch.courses() {
        [course] if faults.is_empty() => match write {
            Write::Archive => forecast.changes.add_archive(state.is_released),
            Write::Create | Write::Update => forecast.changes.add_update(course, state.held.as_ref(), &patch),
        },
        _ => forecast.add_refused(&key, &faults),
    }
}

/// Every fault of a new course: unknown and read-only properties, invalid values, missing required properties. Without the
/// account's properties only a missing name is found.
fn find_faults(
    course: &ClaimedCourse,
    properties: Option<&AccountProperties>,
    unique: Option<&str>,
) -> Vec<Fault> {
    let problems = match properties {
        Some(properties) => properties.creation_problems(&course.properties, unique),
        None => missing_name(&course.properties, unique).into_iter().collect(),
    };
    problems.iter().map(|it| Fault::new(it.code, &it.property, &it.message)).collect()
}

/// Sends requests to HubSpot within the quota.
struct PreviewClient {
    hubspot: Client,
    rate_limiter: RateLimiter,
    unique: Option<String>,
}

/// How often a request is sent that fails because HubSpot is not available.
const MAX_ATTEMPTS: u32 = 3;
/// The delay in between.
const RETRY_DELAY: Duration = Duration::from_secs(2);

impl PreviewClient {
    /// Reads the account's properties; `None` if the token may not read them.
    async fn read_properties(&self) -> anyhow::Result<Option<AccountProperties>> {
        read_account_properties(&self.hubspot, &self.rate_limiter).await
    }

    /// The number of courses in HubSpot that have no key; `None` if there is no unique property, or it cannot be read.
    async fn count_without_key(&self) -> Option<u64> {
        let unique = self.unique.as_deref()?;
        let _permit = self.rate_limiter.acquire().await;
        match self.hubspot.count_without(unique).await.result() {
            ReadResult::Found(found) => Some(found.total),
            _ => None,
        }
    }

    /// Looks up the records that already have the courses' keys. Without a unique property this is not possible, and all
    /// courses count as absent.
    async fn look_up(&self, courses: &[&ClaimedCourse]) -> anyhow::Result<Vec<LookupFinding>> {
        let Some(unique) = self.unique.as_deref().filter(|_| !courses.is_empty()) else {
            return Ok(vec![LookupFinding::Absent; courses.len()]);
        };
        let keys: Vec<&CourseKey> = courses.iter().map(|course| &course.key).collect();
        let mut attempts = 1;
        loop {
            let permit = self.rate_limiter.acquire().await;
            let exchange = self.hubspot.read(&keys, unique, RecordState::Live).await;
            match &exchange {
                Exchange::NotSent(_) => permit.release_unused(),
                Exchange::NoAnswer(_) | Exchange::Answered { .. } => drop(permit),
            }
            let reading = meaning::interpret_read(&keys, unique, RecordState::Live, &exchange);
            match reading.signal {
                Signal::Passed | Signal::Judged => return Ok(reading.findings),
                Signal::Pause(incident) | Signal::Failed(incident)
                    if incident.reason.needs_operator() || attempts == MAX_ATTEMPTS =>
                {
                    bail!("failed to look up existing records: {}", incident.message)
                }
                Signal::Pause(incident) | Signal::Failed(incident) => {
                    attempts += 1;
                    tokio::time::sleep(incident.retry_after.unwrap_or(RETRY_DELAY)).await;
                }
            }
        }
    }
}
