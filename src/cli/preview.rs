//! `preview`: what sending the pending courses would do, changing nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use uuid::Uuid;

use super::Outcome;
use crate::config::Config;
use crate::course::{Category, CourseKey};
use crate::daemon::pace::Pace;
use crate::hubspot::Client;
use crate::outbox::preview::{self, Page, Position};
use crate::outbox::{Database, report};
use crate::policy::access::{Access, access};
use crate::policy::answer::Exchange;
use crate::policy::batch::{Batch, Claimed, MAX_COURSES, RowId, Unfit};
use crate::policy::interpret::Signal;
use crate::policy::pause::Reason;
use crate::policy::reconcile::{self, Finding, Place};
use crate::policy::schema::{Ending, Listing, Schema, Sensitivity, missing};
use crate::telemetry::metrics::Metrics;

mod forecast;

use forecast::{Fault, Forecast, Rate};

/// Show what sending the pending courses would do, without sending anything
///
/// Reads pending courses, the account's properties and the records that carry their keys already. Changes nothing,
/// neither in HubSpot nor in the outbox. While a daemon sends, it takes a tenth of the quota.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Look at the first N pending courses only
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The share of the quota that is taken while a daemon sends: one in this many.
const BESIDE_A_DAEMON: u32 = 10;

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<Outcome> {
    let database = super::ready_database(config).await?;
    let client = Client::new(&config.hubspot, 1, Arc::new(Metrics::new()))?;
    let (requests, per) = (config.rate_limit.requests, config.rate_limit.per);
    let is_led = report::leader(&database).await?.is_some_and(|leader| leader.is_current);
    let pace =
        if is_led { Pace::new(requests / BESIDE_A_DAEMON, per, 1) } else { Pace::new(requests, per, 1) };
    let asker = Asker { client, pace, unique: config.hubspot.unique_property.clone() };
    let schema = asker.schema().await?;
    let rate = Rate { batch_size: config.batch.max_size, batch_bytes: config.batch.max_bytes, requests, per };
    let mut forecast = Forecast::new(schema.is_some(), asker.unique.is_some());
    look(args, &database, &asker, schema.as_ref(), &mut forecast).await?;
    super::say_as(args.json, &forecast.as_json(&rate), |_| forecast.in_words(&rate))?;
    Ok(Outcome::Fine)
}

/// Looks at the pending courses, page by page.
async fn look(
    args: &Args,
    database: &Database,
    asker: &Asker,
    schema: Option<&Schema>,
    forecast: &mut Forecast,
) -> anyhow::Result<()> {
    let style = ProgressStyle::with_template("{spinner} {human_pos} pending courses looked at");
    let progress =
        ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let mut position = Some(Position::default());
    let mut left = args.limit.unwrap_or(u64::MAX);
    while let Some(after) = position
        && left > 0
    {
        let limit = u16::try_from(left).unwrap_or(u16::MAX).min(MAX_COURSES);
        let page = preview::pending(database, after, limit).await?;
        let count = page.courses.len() + page.unreadable.len();
        position = page.next;
        left = left.saturating_sub(count as u64);
        judge(asker, schema, page, forecast).await?;
        progress.inc(count as u64);
    }
    forecast.has_more = position.is_some();
    progress.finish_and_clear();
    Ok(())
}

async fn judge(
    asker: &Asker,
    schema: Option<&Schema>,
    page: Page,
    forecast: &mut Forecast,
) -> anyhow::Result<()> {
    let (now, unique) = (Timestamp::now(), asker.unique.as_deref());
    for (row, error) in &page.unreadable {
        let fault = Fault::new(Category::InvalidRow.as_str(), "", &error.to_string());
        forecast.refused(&format!("row {}", row.0), &[fault]);
    }
    let mut faults: BTreeMap<RowId, Vec<Fault>> =
        page.courses.iter().map(|course| (course.id, faults_of(course, schema, unique))).collect();
    let (batch, unfit) = Batch::assemble(Uuid::nil(), page.courses, unique, now);
    for Unfit { id, key, error } in unfit {
        let mut of_course = vec![Fault::of_error(&error)];
        of_course.extend(faults.remove(&id).unwrap_or_default());
        forecast.refused(key.as_ref().map(CourseKey::as_str).unwrap_or_default(), &of_course);
    }
    let mut good = Vec::new();
    for course in batch.courses() {
        match faults.remove(&course.id).filter(|faults| !faults.is_empty()) {
            Some(faults) => forecast.refused(course.key.as_str(), &faults),
            None => good.push(course),
        }
    }
    let findings = asker.holders(&good).await?;
    for (course, finding) in good.iter().zip(findings) {
        forecast.found(course, &finding);
    }
    Ok(())
}

/// Every fault of a course: unknown and read-only properties, bad values, and what HubSpot requires. Without the account's
/// properties only the last.
fn faults_of(course: &Claimed, schema: Option<&Schema>, unique: Option<&str>) -> Vec<Fault> {
    let objections = match schema {
        Some(schema) => schema.faults(&course.properties, unique),
        None => missing(&course.properties, unique).into_iter().collect(),
    };
    objections.iter().map(|it| Fault::new(it.code, &it.property, &it.message)).collect()
}

/// Asks HubSpot, never faster than it allows.
struct Asker {
    client: Client,
    pace: Pace,
    unique: Option<String>,
}

/// How often a question is asked that HubSpot could not answer.
const TRIES: u32 = 3;
/// How long to wait in between.
const AGAIN: Duration = Duration::from_secs(2);

impl Asker {
    /// The account's properties; `None` where this token may not read them.
    async fn schema(&self) -> anyhow::Result<Option<Schema>> {
        let mut listings = Vec::new();
        for which in Sensitivity::ALL {
            let permit = self.pace.permit().await;
            let ending = self.client.properties(which).await.ending();
            drop(permit);
            match (which, ending) {
                (_, Ending::Told(definitions)) => listings.push(Some(definitions.listing())),
                // Only the list may be closed to this token: a call that sending needs decides.
                (Sensitivity::None, Ending::Stop(trouble)) if trouble.reason == Reason::Token => {
                    let _permit = self.pace.permit().await;
                    return match access(&self.client.create_nothing().await) {
                        Access::Stop(_) | Access::Unknown(_) => bail!("{}", trouble.message),
                        _ => Ok(None),
                    };
                }
                (_, Ending::Stop(trouble)) => bail!("{}", trouble.message),
                (Sensitivity::None, Ending::Denied(..)) => return Ok(None),
                (Sensitivity::None, Ending::Refused(why) | Ending::Away(why)) => {
                    bail!("the account's properties could not be read: {why}")
                }
                _ => listings.push(None),
            }
        }
        let mut listings = listings.into_iter();
        let mut next = || -> Option<Listing> { listings.next().flatten() };
        Ok(next().map(|ordinary| Schema::of(ordinary, next(), next())))
    }

    /// Which records hold the courses' keys already. Without a unique property that cannot be known: none, then.
    async fn holders(&self, courses: &[&Claimed]) -> anyhow::Result<Vec<Finding>> {
        let Some(unique) = self.unique.as_deref().filter(|_| !courses.is_empty()) else {
            return Ok(vec![Finding::Absent; courses.len()]);
        };
        let keys: Vec<&CourseKey> = courses.iter().map(|course| &course.key).collect();
        let mut tries = 1;
        loop {
            let permit = self.pace.permit().await;
            let exchange = self.client.read(&keys, unique, Place::Live).await;
            match &exchange {
                Exchange::NotSent(_) => permit.unused(),
                Exchange::NoAnswer(_) | Exchange::Answered { .. } => drop(permit),
            }
            let reading = reconcile::interpret_read(&keys, unique, Place::Live, &exchange);
            match reading.signal {
                Signal::Passed | Signal::Judged => return Ok(reading.findings),
                Signal::Pause(trouble) | Signal::Failed(trouble)
                    if trouble.reason.needs_a_person() || tries == TRIES =>
                {
                    bail!("the records that exist already could not be read: {}", trouble.message)
                }
                Signal::Pause(trouble) | Signal::Failed(trouble) => {
                    tries += 1;
                    tokio::time::sleep(trouble.retry_after.unwrap_or(AGAIN)).await;
                }
            }
        }
    }
}
