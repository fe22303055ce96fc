//! `preview`: what sending the pending courses would do, changing nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use uuid::Uuid;

use super::Outcome;
use crate::config::Config;
use crate::course::{Category, CourseError, CourseKey};
use crate::daemon::pace::Pace;
use crate::hubspot::Client;
use crate::outbox::preview::{self, Page, Position};
use crate::outbox::{Database, report};
use crate::policy::answer::Exchange;
use crate::policy::batch::{Batch, Claimed, MAX_COURSES, Unfit};
use crate::policy::interpret::Signal;
use crate::policy::reconcile::{self, Doubted, Finding, Place};
use crate::policy::schema::{Ending, Listing, Schema, Sensitivity, refusal};
use crate::telemetry::metrics::Metrics;

mod forecast;

use forecast::{Forecast, Rate};

/// Tell what sending the pending courses would do, and send none
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
        let error = CourseError::new(Category::InvalidRow, &error.to_string(), now);
        forecast.refused(&format!("row {}", row.0), &error);
    }
    let (batch, unfit) = Batch::assemble(Uuid::nil(), page.courses, unique, now);
    for Unfit { key, error, .. } in &unfit {
        forecast.refused(key.as_ref().map(CourseKey::as_str).unwrap_or_default(), error);
    }
    let mut good = Vec::new();
    for course in batch.courses() {
        let objections =
            schema.map(|schema| schema.objections(&course.properties, unique)).unwrap_or_default();
        match refusal(&objections, now).or_else(|| nameless(course, unique, now)) {
            Some(error) => forecast.refused(course.key.as_str(), &error),
            None => good.push(course),
        }
    }
    let findings = asker.holders(&good).await?;
    for (course, finding) in good.iter().zip(findings) {
        forecast.found(course, &finding);
    }
    Ok(())
}

/// HubSpot requires a name of every course. The daemon leaves that judgement to HubSpot.
fn nameless(course: &Claimed, unique: Option<&str>, now: Timestamp) -> Option<CourseError> {
    const NAME: &str = "hs_course_name";
    let has_name =
        unique == Some(NAME) || course.properties.get(NAME).is_some_and(|name| !name.trim().is_empty());
    (!has_name).then(|| CourseError {
        code: Some("MISSING_REQUIRED_PROPERTY".into()),
        property: Some(NAME.into()),
        ..CourseError::new(Category::Validation, "HubSpot requires hs_course_name of every course", now)
    })
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

    /// Who holds the courses' keys already. Without a unique property nobody can tell: nobody does, then.
    async fn holders(&self, courses: &[&Claimed]) -> anyhow::Result<Vec<Finding>> {
        let Some(unique) = self.unique.as_deref().filter(|_| !courses.is_empty()) else {
            return Ok(vec![Finding::Absent; courses.len()]);
        };
        let asked: Vec<Doubted> = courses.iter().map(|course| doubted(course)).collect();
        let mut tries = 1;
        loop {
            let permit = self.pace.permit().await;
            let exchange = self.client.read(&asked, unique, Place::Live).await;
            match &exchange {
                Exchange::NotSent(_) => permit.unused(),
                Exchange::NoAnswer(_) | Exchange::Answered { .. } => drop(permit),
            }
            let reading = reconcile::interpret_read(&asked, unique, &exchange);
            match reading.signal {
                Signal::Proceed | Signal::Reachable | Signal::Answering | Signal::Silence => {
                    return Ok(reading.findings);
                }
                Signal::Pause(trouble) if trouble.reason.needs_a_person() || tries == TRIES => {
                    bail!("the records that exist already could not be read: {}", trouble.message)
                }
                Signal::Pause(trouble) => {
                    tries += 1;
                    tokio::time::sleep(trouble.retry_after.unwrap_or(AGAIN)).await;
                }
            }
        }
    }
}

fn doubted(course: &Claimed) -> Doubted {
    Doubted {
        id: course.id,
        batch: Uuid::nil(),
        key: course.key.clone(),
        attempts: course.attempts,
        faults: course.faults,
        doubts: course.doubts,
        company: 1,
        carried_key: true,
        error: None,
        created_at: course.created_at,
    }
}
