//! The figures: how many courses are where, and how throughput, delay and quota went. Pure.

use maud::{Markup, html};

use super::plot::{Line, Plot, round_duration, round_top};
use super::{Asked, Here, Outbox, words};
use crate::course::Status;
use crate::outbox::report::Count;
use crate::telemetry::trend::{Point, Span};

/// How many courses are in which status, and for how long the oldest.
pub(super) fn counts(outbox: &Outbox<'_>) -> Markup {
    let Some(snapshot) = outbox.snapshot else { return html! {} };
    let oldest = snapshot.readings.oldest;
    let since = |status: Status| match status {
        Status::Pending => oldest.pending,
        Status::InFlight => oldest.in_flight,
        Status::Unconfirmed => oldest.unconfirmed,
        Status::Synced | Status::Failed => None,
    };
    html! {
        section aria-labelledby="counts" {
            h2 #counts { "Courses" }
            dl.tiles {
                @for count in &snapshot.readings.counts {
                    div.(tone(count)) {
                        dt { (count.status.as_str().replace('_', " ")) }
                        dd {
                            b { @if !count.is_exact { span title="an estimate" { "≈ " } } (words::number(count.courses)) }
                            small {
                                @match since(count.status) {
                                    Some(since) => { "oldest " (words::duration(words::between(since, outbox.now))) }
                                    None => (meaning(count.status)),
                                }
                            }
                        }
                    }
                }
                div.(if outbox.seconds_to_empty.is_some_and(|seconds| seconds > 0.0) { "some" } else { "none" }) {
                    dt { "time to empty" }
                    dd {
                        @match outbox.seconds_to_empty {
                            Some(seconds) => { b { (words::duration(seconds.ceil())) } small { "at the quota's rate" } }
                            None => { b { "–" } small { "while nothing is sent" } }
                        }
                    }
                }
            }
        }
    }
}

fn tone(count: &Count) -> &'static str {
    match (count.status, count.courses) {
        (_, 0) => "none",
        (Status::Failed, _) => "bad",
        (Status::Unconfirmed, _) => "warn",
        (Status::Pending | Status::InFlight | Status::Synced, _) => "some",
    }
}

fn meaning(status: Status) -> &'static str {
    match status {
        Status::Pending => "to be sent",
        Status::InFlight => "being sent",
        Status::Unconfirmed => "answer lost",
        Status::Synced => "in HubSpot",
        Status::Failed => "refused for good",
    }
}

/// Throughput, delay and quota over the span asked for; on an instance that stands by, who leads.
pub(super) fn plots(here: &Here, outbox: &Outbox<'_>, asked: &Asked) -> Markup {
    html! {
        section aria-labelledby="trend" {
            div.titled {
                h2 #trend { "Trend" }
                nav.choices aria-label="How far back" {
                    @for (span, name) in [(Span::Quarter, "15 min"), (Span::Hour, "1 hour")] {
                        a href=(asked.with_span(span).link()) aria-current=[(asked.span() == span).then_some("true")] { (name) }
                    }
                }
            }
            @if here.leads_since.is_some() {
                div.plots {
                    (throughput(here, asked.span()))
                    (delay(here, asked.span()))
                    (quota(here, asked.span()))
                }
            } @else {
                p.card { (stands_by(outbox)) " Throughput, delay and quota are drawn by the instance that sends." }
            }
        }
    }
}

/// Who sends, where this instance does not.
pub(super) fn stands_by(outbox: &Outbox<'_>) -> Markup {
    let leader = outbox.snapshot.and_then(|snapshot| snapshot.readings.leader.as_ref());
    html! {
        @match leader {
            Some(leader) => {
                "This instance stands by: "
                strong { (words::clean(leader.host.as_deref().unwrap_or("an unknown host"))) }
                " leads, in term " (leader.term) "."
            }
            None => "This instance does not lead, and knows of none that does.",
        }
    }
}

/// A plot with its name, its latest value, its axis and its words.
struct Card<'a> {
    name: &'a str,
    now: String,
    unit: &'a str,
    top: String,
    plot: Plot<'a>,
    span: Span,
}

impl Card<'_> {
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
                    span { (ago(self.span)) }
                    span { "now" }
                }
                p.in-words { (self.plot.in_words) }
            }
        }
    }
}

fn ago(span: Span) -> &'static str {
    match span {
        Span::Quarter => "15 min ago",
        Span::Hour => "1 h ago",
    }
}

fn highest(points: &[Point], value: impl Fn(&Point) -> Option<f64>) -> Option<f64> {
    points.iter().filter_map(value).reduce(f64::max)
}

fn throughput(here: &Here, span: Span) -> Markup {
    let values = |point: &Point| point.per_minute;
    let highest = highest(&here.points, values);
    let top = round_top(highest.unwrap_or_default());
    let in_words = match highest {
        Some(highest) => format!("Highest: {} a minute.", words::rounded(highest)),
        None => "Not known yet.".to_owned(),
    };
    let lines = [Line { class: "flow", name: "", values: here.points.iter().map(values).collect() }];
    let plot = Plot {
        id: "throughput",
        title: "Courses synced a minute",
        in_words: &in_words,
        top,
        limit: None,
        lines: &lines,
    };
    let now = here.last_minute.per_minute.map_or("–".to_owned(), words::rounded);
    Card { name: "Throughput", now, unit: "courses a minute", top: words::rounded(top), plot, span }.draw()
}

fn delay(here: &Here, span: Span) -> Markup {
    let most = |point: &Point| point.most;
    let highest = highest(&here.points, most);
    let top = round_duration(highest.unwrap_or_default());
    let now = here.last_minute;
    let in_words = match (now.most, highest) {
        (Some(now), Some(highest)) => format!(
            "95 of 100 within {}; highest of these: {}.",
            words::duration(now),
            words::duration(highest)
        ),
        (Some(now), None) => format!("95 of 100 within {}.", words::duration(now)),
        (None, Some(highest)) => {
            format!("No course in the last minute; 95 of 100 took {} at most.", words::duration(highest))
        }
        (None, None) => "No course was synced in this time.".to_owned(),
    };
    let lines = [
        Line { class: "half", name: "half", values: here.points.iter().map(|point| point.half).collect() },
        Line { class: "most", name: "95 of 100", values: here.points.iter().map(most).collect() },
    ];
    let title = "From the catalogue's insert to HubSpot: half of the courses, and 95 of 100";
    let plot = Plot { id: "delay", title, in_words: &in_words, top, limit: None, lines: &lines };
    let half = now.half.map_or("–".to_owned(), words::duration);
    Card { name: "Delay", now: half, unit: "for half of the courses", top: words::duration(top), plot, span }
        .draw()
}

#[allow(clippy::cast_precision_loss)] // requests of a few seconds
fn quota(here: &Here, span: Span) -> Markup {
    let allowed = f64::from(here.quota.requests);
    let values = |point: &Point| point.quota_used.map(|used| used as f64);
    let (limit, per) =
        (words::number(here.quota_limit.into()), words::duration(here.quota.per.as_secs_f64()));
    let configured = words::number(here.quota.requests.into());
    let highest =
        highest(&here.points, values).map(|highest| format!("highest: {}", words::rounded(highest)));
    let shared = (here.quota_limit < here.quota.requests)
        .then(|| format!("others use the account, so {limit} at present"));
    let told = [Some(format!("Allowed: {configured} in {per}")), highest, shared];
    let in_words = format!("{}.", told.into_iter().flatten().collect::<Vec<_>>().join("; "));
    let lines = [Line { class: "flow", name: "", values: here.points.iter().map(values).collect() }];
    let title = "Requests that count against the account's window";
    // A little room above the limit, so that it shows.
    let plot = Plot {
        id: "quota",
        title,
        in_words: &in_words,
        top: allowed * 1.1,
        limit: Some(allowed),
        lines: &lines,
    };
    let now = words::rounded(here.quota_used as f64);
    let unit = format!("of {limit} requests in {per}");
    Card { name: "Quota", now, unit: &unit, top: configured, plot, span }.draw()
}
