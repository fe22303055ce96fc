//! The figures: courses by status, and plots of throughput, delay and quota. Pure.

use maud::{Markup, html};

use super::plot::{Plot, PlotLine, round_duration, round_top};
use super::{InstanceView, OutboxView, PageQuery, words};
use crate::course::Status;
use crate::outbox::overview::StatusCount;
use crate::telemetry::trend::{Period, Point};

/// Courses by status, each with the age of the oldest.
pub(super) fn status_counts(outbox: &OutboxView<'_>) -> Markup {
    let Some(snapshot) = outbox.snapshot else { return html! {} };
    let oldest = snapshot.readings.findings.oldest;
    html! {
        section aria-labelledby="counts" {
            h2 #counts { "Courses" }
            dl.tiles {
                @for count in &snapshot.readings.counts {
                    div.(count_tone(count)) {
                        dt { (count.status.as_str().replace('_', " ")) }
                        dd {
                            b { @if !count.is_exact { span title="an estimate" { "≈ " } } (words::format_number(count.courses)) }
                            small {
                                @match oldest.of(count.status) {
                                    Some(since) => { "oldest " (words::format_duration(words::seconds_between(since, outbox.now))) }
                                    None => (describe_status(count.status)),
                                }
                            }
                        }
                    }
                }
                div.(if outbox.seconds_to_empty.is_some_and(|seconds| seconds > 0.0) { "some" } else { "none" }) {
                    dt { "time to empty" }
                    dd {
                        @match outbox.seconds_to_empty {
                            Some(seconds) => { b { (words::format_duration(seconds.ceil())) } small { "at the rate of the quota" } }
                            None => { b { "–" } small { "while nothing is sent" } }
                        }
                    }
                }
            }
        }
    }
}

fn count_tone(count: &StatusCount) -> &'static str {
    match (count.status, count.courses) {
        (_, 0) => "none",
        (Status::Failed, _) => "bad",
        (Status::Unconfirmed, _) => "warn",
        (Status::Pending | Status::InFlight | Status::Synced | Status::Archived, _) => "some",
    }
}

fn describe_status(status: Status) -> &'static str {
    match status {
        Status::Pending => "to be sent",
        Status::InFlight => "being sent",
        Status::Unconfirmed => "outcome unknown",
        Status::Synced => "in HubSpot",
        Status::Failed => "refused for good",
        Status::Archived => "withdrawn",
    }
}

/// Throughput, delay and quota over the requested span; on a standby instance, the leader instead.
pub(super) fn trend_plots(here: &InstanceView, outbox: &OutboxView<'_>, asked: &PageQuery) -> Markup {
    html! {
        section aria-labelledby="trend" {
            div.titled {
                h2 #trend { "Trend" }
                nav.choices aria-label="How far back" {
                    @for (span, name) in [(Period::QuarterHour, "15 min"), (Period::Hour, "1 hour")] {
                        a href=(asked.with_span(span).link()) aria-current=[(asked.span() == span).then_some("true")] { (name) }
                    }
                }
            }
            @if here.leads_since.is_some() {
                div.plots {
                    (throughput_plot(here, asked.span()))
                    (delay_plot(here, asked.span()))
                    (quota_plot(here, asked.span()))
                }
            } @else {
                p.card { (standby_note(outbox)) " The leader shows throughput, delay and quota." }
            }
        }
    }
}

/// A sentence for an instance that is not the leader.
pub(super) fn standby_note(outbox: &OutboxView<'_>) -> Markup {
    let leader = outbox.snapshot.and_then(|snapshot| snapshot.readings.leader.as_ref());
    html! {
        @match leader {
            Some(leader) => {
                "This instance is on standby: "
                strong { (words::sanitize(leader.host.as_deref().unwrap_or("an unknown host"))) }
                " is the leader, in term " (leader.term.0) "."
            }
            None => "This instance is on standby, and there is no leader.",
        }
    }
}

/// A plot with its name, latest value, axis and description.
struct PlotCard<'a> {
    name: &'a str,
    now: String,
    unit: &'a str,
    top: String,
    plot: Plot<'a>,
    span: Period,
}

impl PlotCard<'_> {
    fn draw(&self) -> Markup {
        html! {
            figure.card {
                figcaption {
                    h3 { (self.name) }
                    p.now { b { (self.now) } " " (self.unit) }
                }
                p.above {
                    span.keys { @for line in self.plot.lines { @if !line.name.is_empty() { span.key.(line.class) { (line.name) } } } }
                    span aria-hidden="true" { (self.top) }
                }
                (self.plot.draw())
                p.axis aria-hidden="true" {
                    span { (span_start(self.span)) }
                    span { "now" }
                }
                p.description { (self.plot.description) }
            }
        }
    }
}

fn span_start(span: Period) -> &'static str {
    match span {
        Period::QuarterHour => "15 min ago",
        Period::Hour => "1 h ago",
    }
}

fn highest_value(points: &[Point], value: impl Fn(&Point) -> Option<f64>) -> Option<f64> {
    points.iter().filter_map(value).reduce(f64::max)
}

fn per_minute(point: &Point) -> Option<f64> {
    point.per_minute
}

fn delay_p95(point: &Point) -> Option<f64> {
    point.delay_p95
}

#[allow(clippy::cast_precision_loss)] // exact for any quota
fn quota_used(point: &Point) -> Option<f64> {
    point.quota_used.map(|used| used as f64)
}

fn throughput_plot(here: &InstanceView, span: Period) -> Markup {
    let highest = highest_value(&here.points, per_minute);
    let top = round_top(highest.unwrap_or_default());
    let description = match highest {
        Some(highest) => format!("Highest: {} per minute.", words::format_rounded(highest)),
        None => "No data yet.".to_owned(),
    };
    let lines = [PlotLine { class: "flow", name: "", values: here.points.iter().map(per_minute).collect() }];
    let plot = Plot {
        id: "throughput",
        title: "Courses synced per minute",
        description: &description,
        top,
        limit: None,
        lines: &lines,
    };
    let now = here.last_minute.per_minute.map_or("–".to_owned(), words::format_rounded);
    PlotCard {
        name: "Throughput",
        now,
        unit: "courses per minute",
        top: words::format_rounded(top),
        plot,
        span,
    }
    .draw()
}

fn delay_plot(here: &InstanceView, span: Period) -> Markup {
    let highest = highest_value(&here.points, delay_p95);
    let top = round_duration(highest.unwrap_or_default());
    let now = here.last_minute;
    let description = match (now.delay_p95, highest) {
        (Some(now), Some(highest)) => format!(
            "95 % within {}; highest: {}.",
            words::format_duration(now),
            words::format_duration(highest)
        ),
        (Some(now), None) => format!("95 % within {}.", words::format_duration(now)),
        (None, Some(highest)) => {
            format!("No course in the last minute; highest 95 % value: {}.", words::format_duration(highest))
        }
        (None, None) => "No course was synced in this period.".to_owned(),
    };
    let lines = [
        PlotLine {
            class: "half",
            name: "50 %",
            values: here.points.iter().map(|point| point.delay_p50).collect(),
        },
        PlotLine { class: "most", name: "95 %", values: here.points.iter().map(delay_p95).collect() },
    ];
    let title = "Time from enqueued to synced, for 50 % and 95 % of the courses";
    let plot = Plot { id: "delay", title, description: &description, top, limit: None, lines: &lines };
    let half = now.delay_p50.map_or("–".to_owned(), words::format_duration);
    PlotCard {
        name: "Delay",
        now: half,
        unit: "for 50 % of the courses",
        top: words::format_duration(top),
        plot,
        span,
    }
    .draw()
}

#[allow(clippy::cast_precision_loss)] // requests of a few seconds
fn quota_plot(here: &InstanceView, span: Period) -> Markup {
    let allowed = f64::from(here.quota.rate_limit.requests);
    let (limit, per) = (
        words::format_number(here.quota_limit.into()),
        words::format_duration(here.quota.rate_limit.per.as_secs_f64()),
    );
    let configured = words::format_number(here.quota.rate_limit.requests.into());
    let highest = highest_value(&here.points, quota_used)
        .map(|highest| format!("highest: {}", words::format_rounded(highest)));
    let limited = (here.quota_limit < here.quota.rate_limit.requests)
        .then(|| format!("limited to {limit} at present, because other integrations use the account"));
    let parts = [Some(format!("Allowed: {configured} in {per}")), highest, limited];
    let description = format!("{}.", parts.into_iter().flatten().collect::<Vec<_>>().join("; "));
    let lines = [PlotLine { class: "flow", name: "", values: here.points.iter().map(quota_used).collect() }];
    let title = "Requests that count against the account's window";
    // Some room above the limit, so that its line is visible.
    let plot = Plot {
        id: "quota",
        title,
        description: &description,
        top: allowed * 1.1,
        limit: Some(allowed),
        lines: &lines,
    };
    let now = words::format_rounded(here.quota_used as f64);
    let unit = format!("of {limit} requests in {per}");
    PlotCard { name: "Quota", now, unit: &unit, top: configured, plot, span }.draw()
}
