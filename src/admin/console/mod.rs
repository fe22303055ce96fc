//! The console: server-rendered, read-only, everything from outside escaped by the templates and freed of what
//! could hide or turn its neighbours. Without script it works, too; with it, what is typed and selected stays.

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

use self::course::Found;
pub(super) use self::reading::Reader;
use self::reading::{Known, Snapshot};
use super::{Admin, QuotaSettings};
use crate::course::CourseKey;
use crate::daemon::Shared;
use crate::telemetry::trend::{EVERY, Point, Sample, Span, Trend};

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// What the page was asked for.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Asked {
    /// A course's key.
    course: Option<String>,
    /// How far back the plots reach: `hour`, or a quarter of one.
    span: Option<String>,
    /// `off`: the page stays as it is.
    live: Option<String>,
}

impl Asked {
    fn course(&self) -> Option<&str> {
        self.course.as_deref().filter(|key| !key.trim().is_empty())
    }

    fn span(&self) -> Span {
        match self.span.as_deref() {
            Some("hour") => Span::Hour,
            _ => Span::Quarter,
        }
    }

    fn is_live(&self) -> bool {
        self.live.as_deref() != Some("off")
    }

    fn with_span(&self, span: Span) -> Self {
        let span = match span {
            Span::Quarter => None,
            Span::Hour => Some("hour".to_owned()),
        };
        Self { span, ..self.clone() }
    }

    fn with_live(&self, live: bool) -> Self {
        Self { live: (!live).then(|| "off".to_owned()), ..self.clone() }
    }

    fn with_course(&self, course: Option<&str>) -> Self {
        Self { course: course.map(str::to_owned), ..self.clone() }
    }

    /// The page that was asked for so.
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

/// What this instance knows of itself.
struct Here {
    leads_since: Option<Timestamp>,
    is_stopping: bool,
    quota: QuotaSettings,
    quota_used: usize,
    quota_limit: u32,
    points: Vec<Point>,
    last_minute: Point,
}

/// What the database says.
struct Outbox<'a> {
    snapshot: Option<&'a Snapshot>,
    trouble: Option<&'a str>,
    seconds_to_empty: Option<f64>,
    now: Timestamp,
}

/// Remembers how it goes, for ever.
pub(super) async fn sample(shared: &Shared, trend: &Trend) {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        trend.push(Sample {
            at: Instant::now(),
            synced: shared.metrics.synced_so_far(),
            delays: shared.metrics.delays(),
            quota_used: shared.quota_used(),
        });
    }
}

/// The page's look.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

/// The page's script, without which it is loaded anew now and then.
pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT).into_response()
}

/// The page.
pub(super) async fn show(State(admin): State<Admin>, Query(asked): Query<Asked>) -> Response {
    let Known { snapshot, trouble } = admin.reader.look().await;
    let found = match asked.course() {
        Some(key) => Some(find(&admin, key).await),
        None => None,
    };
    let (shared, quota, now) = (&admin.shared, admin.quota, Instant::now());
    let here = Here {
        leads_since: shared.leads_since(),
        is_stopping: shared.shutdown.has_begun(),
        quota,
        quota_used: shared.quota_used(),
        quota_limit: shared.quota_limit(),
        points: admin.trend.points(now, asked.span()),
        last_minute: admin.trend.last_minute(now),
    };
    let readings = snapshot.as_ref().map(|snapshot| &snapshot.readings);
    let own = here.leads_since.map(|_| shared.account.view());
    let pauses = pauses::that_hold(own.as_deref(), readings);
    let to_empty = readings.and_then(|readings| {
        readings.clone().report(quota.requests, quota.per, quota.batch_size).seconds_to_empty
    });
    let outbox = Outbox {
        snapshot: snapshot.as_deref(),
        trouble: trouble.as_deref(),
        seconds_to_empty: to_empty.filter(|_| pauses.is_empty()),
        now: Timestamp::now(),
    };
    let page = page(&asked, &here, &outbox, &pauses, found.as_ref()).into_string();
    let status = if trouble.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

async fn find(admin: &Admin, key: &str) -> Found {
    match CourseKey::parse(key) {
        Ok(key) => admin.reader.find(key.as_str(), admin.shared.settings.doubts()).await,
        // No catalogue could have enqueued it.
        Err(_) => Found::Nobody(Vec::new()),
    }
}

fn page(
    asked: &Asked,
    here: &Here,
    outbox: &Outbox<'_>,
    pauses: &[pauses::Paused],
    found: Option<&Found>,
) -> Markup {
    let headline = headline::headline(&headline::Known {
        is_stopping: here.is_stopping,
        is_away: outbox.trouble.is_some(),
        readings: outbox.snapshot.map(|snapshot| &snapshot.readings),
        pauses,
        seconds_to_empty: outbox.seconds_to_empty,
    });
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (headline.short) " · course-sync" }
                link rel="stylesheet" href="/console.css";
                // A browser that asks for one by itself would be told that there is none.
                link rel="icon" href="data:,";
                @if asked.is_live() {
                    script src="/console.js" defer {}
                    noscript { meta http-equiv="refresh" content="10"; }
                }
            }
            body {
                a.skip href="#live" { "Skip to the figures" }
                header {
                    h1 { a href="/" { "course-sync" } }
                    (search(asked))
                }
                p.lost role="alert" hidden { "This daemon does not answer: what stands here is old." }
                main #live tabindex="-1" {
                    (headline.draw())
                    @if let (Some(key), Some(found)) = (asked.course(), found) {
                        (course::found(key, found, outbox, asked))
                    }
                    (trouble(outbox))
                    (pauses::cards(pauses, outbox.now))
                    (figures::counts(outbox))
                    (figures::plots(here, outbox, asked))
                    (failures::groups(outbox, asked))
                    div.halves {
                        (sending::requests(outbox))
                        (sending::leader(here, outbox))
                    }
                    (foot(asked, outbox))
                }
            }
        }
    }
}

fn search(asked: &Asked) -> Markup {
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

fn trouble(outbox: &Outbox<'_>) -> Markup {
    html! {
        @if let Some(trouble) = outbox.trouble {
            section.card.bad role="alert" aria-labelledby="trouble" {
                h2 #trouble { "The database cannot be read" }
                p.said { (words::clean(trouble)) }
                p {
                    "Nothing new is sent meanwhile, and answers that came are kept. "
                    @match outbox.snapshot {
                        Some(snapshot) => { "What follows was so " (words::relative(snapshot.taken, outbox.now)) "." }
                        None => "Nothing was read of it so far.",
                    }
                }
            }
        }
    }
}

fn foot(asked: &Asked, outbox: &Outbox<'_>) -> Markup {
    html! {
        footer {
            p {
                "course-sync " (env!("CARGO_PKG_VERSION")) ", as of " (words::clock(outbox.now)) " UTC. "
                @if asked.is_live() {
                    "Brought up to date every few seconds: " a href=(asked.with_live(false).link()) { "stop that" } "."
                } @else {
                    "Stays as it is: " a href=(asked.with_live(true).link()) { "keep it up to date" } "."
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
    fn a_link_keeps_what_was_asked_for() {
        let asked = Asked { course: Some("a&b <c>".into()), ..Asked::default() };
        assert_eq!(asked.link(), "/?course=a%26b+%3Cc%3E");
        assert_eq!(
            asked.with_span(Span::Hour).with_live(false).link(),
            "/?course=a%26b+%3Cc%3E&span=hour&live=off"
        );
        assert_eq!(asked.with_span(Span::Hour).with_course(None).link(), "/?span=hour");
        assert_eq!(asked.with_course(None).with_live(true).link(), "/");
    }
}
