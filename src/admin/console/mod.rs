//! The console: rendered on the server, read-only. Templates escape external text, and characters that could hide or
//! reorder the text around it are removed. It works without its script; the script updates the page in place, so that
//! typed and selected text is kept.

mod course;
mod failures;
mod figures;
mod headline;
mod pauses;
mod plot;
mod reading;
mod sending;
mod words;

use std::time::Instant;

use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use serde::Deserialize;

use self::course::SearchResult;
pub(super) use self::reading::SnapshotReader;
use self::reading::{LatestSnapshot, OutboxSnapshot};
use super::AdminState;
use crate::course::CourseKey;
use crate::pipeline::context::Context;
use crate::policy::leader_report::PauseReport;
use crate::report::status::QuotaSettings;
use crate::telemetry::trend::{Period, Point, SAMPLE_INTERVAL, Sample, Trend};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// The query of the page.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct PageQuery {
    /// A course's key.
    course: Option<String>,
    /// The period of the plots: `hour`, or a quarter of an hour by default.
    span: Option<String>,
    /// `off`: the page does not update itself.
    live: Option<String>,
}

impl PageQuery {
    fn course(&self) -> Option<&str> {
        self.course.as_deref().filter(|key| !key.trim().is_empty())
    }

    fn span(&self) -> Period {
        match self.span.as_deref() {
            Some("hour") => Period::Hour,
            _ => Period::QuarterHour,
        }
    }

    fn is_live(&self) -> bool {
        self.live.as_deref() != Some("off")
    }

    fn with_span(&self, span: Period) -> Self {
        let span = match span {
            Period::QuarterHour => None,
            Period::Hour => Some("hour".to_owned()),
        };
        Self { span, ..self.clone() }
    }

    fn with_live(&self, live: bool) -> Self {
        Self { live: (!live).then(|| "off".to_owned()), ..self.clone() }
    }

    fn with_course(&self, course: Option<&str>) -> Self {
        Self { course: course.map(str::to_owned), ..self.clone() }
    }

    /// The link to the page with this query.
    fn link(&self) -> String {
        let mut query = url::form_urlencoded::Serializer::for_suffix(String::from("/?"), 2);
        for (name, value) in
            [("course", self.course()), ("span", self.span.as_deref()), ("live", self.live.as_deref())]
        {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish().trim_end_matches('?').to_owned()
    }
}

/// The state of this instance.
struct InstanceView {
    leads_since: Option<Timestamp>,
    is_stopping: bool,
    quota: QuotaSettings,
    quota_used: usize,
    quota_limit: u32,
    points: Vec<Point>,
    last_minute: Point,
}

/// The state of the outbox.
struct OutboxView<'a> {
    snapshot: Option<&'a OutboxSnapshot>,
    /// Why the database cannot be read at present.
    error: Option<&'a str>,
    seconds_to_empty: Option<f64>,
    now: Timestamp,
}

/// Collects samples for the plots. Never returns.
pub(super) async fn collect_samples(context: &Context, trend: &Trend) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        trend.push(Sample {
            at: Instant::now(),
            synced: context.reporting.metrics.synced_so_far(),
            delays: context.reporting.metrics.delays(),
            quota_used: context.account.rate_limiter.requests_in_window(),
        });
    }
}

/// The stylesheet.
pub(super) async fn serve_style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// The script. Without it the browser reloads the page regularly.
pub(super) async fn serve_script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// The page.
pub(super) async fn serve_page(State(admin): State<AdminState>, Query(asked): Query<PageQuery>) -> Response {
    let LatestSnapshot { snapshot, error } = admin.reader.latest().await;
    let found = match asked.course() {
        Some(key) => Some(search_course(&admin, key).await),
        None => None,
    };
    let (context, quota, now) = (&admin.context, admin.quota, Instant::now());
    let here = InstanceView {
        leads_since: context.leadership.since(),
        is_stopping: context.runtime.shutdown.has_begun(),
        quota,
        quota_used: context.account.rate_limiter.requests_in_window(),
        quota_limit: context.account.rate_limiter.limit(),
        points: admin.trend.points(now, asked.span()),
        last_minute: admin.trend.last_minute(now),
    };
    let readings = snapshot.as_ref().map(|snapshot| &snapshot.readings);
    let own = here.leads_since.map(|_| context.account.pauses());
    let pauses = pauses::pauses_in_effect(own, readings);
    let to_empty = readings.and_then(|readings| readings.clone().into_report(quota).seconds_to_empty);
    let outbox = OutboxView {
        snapshot: snapshot.as_deref(),
        error: error.as_deref(),
        seconds_to_empty: to_empty.filter(|_| !pauses.iter().any(PauseReport::stops_creates)),
        now: Timestamp::now(),
    };
    let page = render_page(&asked, &here, &outbox, &pauses, found.as_ref()).into_string();
    let status = if error.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn search_course(admin: &AdminState, key: &str) -> SearchResult {
    match CourseKey::parse(key) {
        Ok(key) => admin.reader.search(key.as_str(), admin.context.settings.unconfirmed_policy()).await,
        // The database refuses such a key, so no course has it.
        Err(_) => SearchResult::NotFound(Vec::new()),
    }
}

fn render_page(
    asked: &PageQuery,
    here: &InstanceView,
    outbox: &OutboxView<'_>,
    pauses: &[PauseReport],
    found: Option<&SearchResult>,
) -> Markup {
    let headline = headline::choose_headline(&headline::HeadlineInput {
        is_stopping: here.is_stopping,
        is_database_down: outbox.error.is_some(),
        readings: outbox.snapshot.map(|snapshot| &snapshot.readings),
        pauses,
        seconds_to_empty: outbox.seconds_to_empty,
    });
    html! {
        (DOCTYPE)
        html lang="en" {
            (page_head(asked, headline.short))
            body {
                a.skip href="#live" { "Skip to the figures" }
                header {
                    h1 { a href="/" { "course-sync" } }
                    (search_form(asked))
                }
                p.lost role="alert" hidden { "The daemon does not respond: this page is out of date." }
                main #live tabindex="-1" {
                    (headline.draw())
                    @if let (Some(key), Some(found)) = (asked.course(), found) {
                        (course::search_card(key, found, outbox, asked))
                    }
                    (database_error(outbox))
                    (pauses::pause_cards(pauses, outbox.now))
                    (figures::status_counts(outbox))
                    (figures::trend_plots(here, outbox, asked))
                    (failures::failure_groups(outbox, asked))
                    div.halves {
                        (sending::request_table(outbox))
                        (sending::leader_card(here, outbox))
                    }
                    (page_footer(asked, outbox))
                }
            }
        }
    }
}

fn page_head(asked: &PageQuery, title: &str) -> Markup {
    html! {
        head {
            meta charset="utf-8";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            title { (title) " · course-sync" }
            link rel="stylesheet" href="/console.css";
            // Otherwise the browser requests /favicon.ico, which does not exist.
            link rel="icon" href="data:,";
            @if asked.is_live() {
                script src="/console.js" defer {}
                noscript { meta http-equiv="refresh" content="10"; }
            }
        }
    }
}

fn search_form(asked: &PageQuery) -> Markup {
    html! {
        form role="search" method="get" action="/" {
            label for="course" { "Course" }
            input #course type="search" name="course" value=(asked.course().unwrap_or_default()) maxlength="255"
                placeholder="course key" autocomplete="off" autocapitalize="off" spellcheck="false";
            @if let Some(span) = &asked.span { input type="hidden" name="span" value=(span); }
            @if let Some(live) = &asked.live { input type="hidden" name="live" value=(live); }
            button { "Explain" }
        }
    }
}

fn database_error(outbox: &OutboxView<'_>) -> Markup {
    html! {
        @if let Some(error) = outbox.error {
            section.card.bad role="alert" aria-labelledby="database-error" {
                h2 #database-error { "The database cannot be read" }
                p.message { (words::sanitize(error)) }
                p {
                    "Until it recovers, nothing new is sent, and responses already received are kept in memory. "
                    @match outbox.snapshot {
                        Some(snapshot) => { "The data below was read " (words::relative_time(snapshot.taken, outbox.now)) "." }
                        None => "No data has been read so far.",
                    }
                }
            }
        }
    }
}

fn page_footer(asked: &PageQuery, outbox: &OutboxView<'_>) -> Markup {
    html! {
        footer {
            p {
                "course-sync " (env!("CARGO_PKG_VERSION")) ", as of " (words::time_of_day(outbox.now)) " UTC. "
                @if asked.is_live() {
                    "Updated every few seconds: " a href=(asked.with_live(false).link()) { "stop updates" } "."
                } @else {
                    "Not updated: " a href=(asked.with_live(true).link()) { "start updates" } "."
                }
            }
            nav aria-label="Other pages" {
                a href="/status" { "status" } " " a href="/metrics" { "metrics" } " " a href="/readyz" { "readiness" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_keeps_the_other_parameters() {
        let asked = PageQuery { course: Some("a&b <c>".into()), ..PageQuery::default() };
        assert_eq!(asked.link(), "/?course=a%26b+%3Cc%3E");
        assert_eq!(
            asked.with_span(Period::Hour).with_live(false).link(),
            "/?course=a%26b+%3Cc%3E&span=hour&live=off"
        );
        assert_eq!(asked.with_span(Period::Hour).with_course(None).link(), "/?span=hour");
        assert_eq!(asked.with_course(None).with_live(true).link(), "/");
    }
}
