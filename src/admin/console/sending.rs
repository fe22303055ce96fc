//! The leader and the newest requests. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{InstanceView, OutboxView, figures, words};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::outbox::ops::requests::JournalRequest;
use crate::outbox::overview::Leader;
use crate::policy::drift::AuditSummary;
use crate::policy::leader_report::ReportedQuota;

/// The leader and the calls left today.
pub(super) fn leader_card(here: &InstanceView, outbox: &OutboxView<'_>) -> Markup {
    let leader = outbox.snapshot.and_then(|snapshot| snapshot.readings.leader.as_ref());
    let since = here.leads_since.or_else(|| leader?.report.since);
    let calls = leader.and_then(|leader| leader.report.quota.as_ref()).and_then(calls_today);
    html! {
        section aria-labelledby="leader" {
            h2 #leader { "Leader" }
            dl.facts.card {
                div {
                    dt { "Leader" }
                    dd {
                        @match leader {
                            Some(leader) => strong { (words::sanitize(leader.host.as_deref().unwrap_or("unknown"))) },
                            None => "none",
                        }
                        @if here.leads_since.is_some() { " (this instance)" }
                    }
                }
                @if let Some(leader) = leader {
                    (term_entries(leader, since, outbox.now))
                }
                @if here.leads_since.is_none() {
                    div { dt { "This instance" } dd { (figures::standby_note(outbox)) } }
                }
                @if let Some(snapshot) = outbox.snapshot {
                    @let recent = snapshot.readings.recent;
                    div {
                        dt { "Last minute" }
                        dd { (words::pluralize(recent.requests, "request")) ", " (words::pluralize(recent.courses, "course")) " sent" }
                    }
                }
                @if let Some(audit) = outbox.snapshot.and_then(|snapshot| snapshot.readings.findings.audit.as_ref()) {
                    div { dt { "Last audit" } dd { (audit_note(audit, outbox.now)) } }
                }
                @if let Some((left, daily)) = calls {
                    div { dt { "Daily quota" } dd { (left) " of " (daily) " calls left, as reported by HubSpot" } }
                }
            }
        }
    }
}

/// When the last audit ended, and what is left to do.
fn audit_note(audit: &AuditSummary, now: Timestamp) -> Markup {
    let left = audit.left.values().copied().fold(0, u64::saturating_add);
    html! {
        (words::relative_time(audit.ended_at, now))
        @if !audit.last.is_complete { ", not complete" }
        ", "
        (words::pluralize(i64::try_from(left).unwrap_or(i64::MAX), "difference")) " left"
    }
}

/// The entries of [`leader_card`] about the leader's term.
fn term_entries(leader: &Leader, since: Option<Timestamp>, now: Timestamp) -> Markup {
    html! {
        div {
            dt { "Since" }
            dd {
                @match since {
                    Some(since) => { (words::time_of_day(since)) " UTC, " (words::relative_time(since, now)) }
                    None => "not reported yet",
                }
            }
        }
        div { dt { "Term" } dd { (leader.term.0) } }
        div { dt { "Instance" } dd { code { (leader.holder.0) } } }
    }
}

/// Calls left today, and calls allowed in a day.
fn calls_today(quota: &ReportedQuota) -> Option<(String, String)> {
    Some((format_calls(quota.daily_remaining?), format_calls(quota.daily?)))
}

fn format_calls(calls: u64) -> String {
    words::format_number(i64::try_from(calls).unwrap_or(i64::MAX))
}

/// The newest requests, newest first.
pub(super) fn request_table(outbox: &OutboxView<'_>) -> Markup {
    let Some(snapshot) = outbox.snapshot else { return html! {} };
    html! {
        section aria-labelledby="requests" {
            h2 #requests { "Recent requests" }
            @if snapshot.requests.is_empty() {
                p.card.quiet { "No requests yet." }
            } @else {
                table.card.requests {
                    caption.unseen { "The newest " (snapshot.requests.len()) " requests to HubSpot" }
                    thead {
                        tr {
                            th scope="col" { "UTC" }
                            th scope="col" { "Request" }
                            th.n scope="col" { "Courses" }
                            th scope="col" { "Answer" }
                            th.n.took scope="col" { "Took" }
                        }
                    }
                    tbody { @for request in &snapshot.requests { (request_row(request, outbox)) } }
                }
            }
        }
    }
}

fn request_row(request: &JournalRequest, outbox: &OutboxView<'_>) -> Markup {
    // A partial response did its work: the courses that it refused are shown as failures.
    let good = [RequestOutcome::Ok, RequestOutcome::Partial].map(RequestOutcome::as_str);
    let is_good = request.outcome.as_deref().is_none_or(|outcome| good.contains(&outcome));
    html! {
        tr {
            td { (words::time_of_day(request.claimed_at)) }
            td { (words::sanitize(&request.operation)) }
            td.n { (words::format_number(request.courses.into())) }
            td.(if is_good { "fine" } else { "odd" }) {
                @match &request.outcome {
                    Some(outcome) => (words::sanitize(outcome).replace('_', " ")),
                    None if request.is_open => "open",
                    None if request.answered_at.is_some() => "not sent",
                    None => "not stored",
                }
                @if let Some(status) = request.http_status { " " span.quiet { (status) } }
                @if let (false, Some(id)) = (is_good, &request.correlation_id) {
                    small title="Correlation id, for HubSpot support" { code { (words::sanitize(id)) } }
                }
            }
            td.n.took {
                @if let Some(end) = request.answered_at.or(request.is_open.then_some(outbox.now)) {
                    (words::format_duration(words::seconds_between(request.claimed_at, end)))
                }
            }
        }
    }
}
