//! Who sends, and the newest requests. Pure.

use maud::{Markup, html};

use super::{Here, Outbox, figures, words};
use crate::outbox::requests::Request;
use crate::policy::interpret::RequestOutcome;

/// Who leads, since when, and what the account has left.
pub(super) fn leader(here: &Here, outbox: &Outbox<'_>) -> Markup {
    let leader = outbox.snapshot.and_then(|snapshot| snapshot.readings.leader.as_ref());
    let said = |name: &str| leader.and_then(|leader| leader.report.get(name)).cloned().unwrap_or_default();
    let since = here.leads_since.or_else(|| said("since").as_str().and_then(|since| since.parse().ok()));
    let hubspot = said("quota");
    let left = |name: &str| hubspot.get(name).and_then(serde_json::Value::as_i64).map(words::number);
    html! {
        section aria-labelledby="leader" {
            h2 #leader { "Who sends" }
            dl.facts.card {
                div {
                    dt { "Leader" }
                    dd {
                        @match leader {
                            Some(leader) => strong { (words::clean(leader.host.as_deref().unwrap_or("unknown"))) },
                            None => "nobody",
                        }
                        @if here.leads_since.is_some() { " (this instance)" }
                    }
                }
                @if let Some(leader) = leader {
                    div {
                        dt { "Since" }
                        dd {
                            @match since {
                                Some(since) => { (words::clock(since)) " UTC, " (words::relative(since, outbox.now)) }
                                None => "it has not said yet",
                            }
                        }
                    }
                    div { dt { "Term" } dd { (leader.term) } }
                    div { dt { "Instance" } dd { code { (leader.holder) } } }
                }
                @if here.leads_since.is_none() {
                    div { dt { "This instance" } dd { (figures::stands_by(outbox)) } }
                }
                @if let Some(snapshot) = outbox.snapshot {
                    @let recent = snapshot.readings.recent;
                    div {
                        dt { "Last minute" }
                        dd { (words::counted(recent.requests, "request")) ", " (words::counted(recent.courses, "course")) " sent" }
                    }
                }
                @if let (Some(daily), Some(remaining)) = (left("daily"), left("daily_remaining")) {
                    div { dt { "Day's quota" } dd { (remaining) " of " (daily) " calls left, HubSpot says" } }
                }
            }
        }
    }
}

/// The newest requests, newest first.
pub(super) fn requests(outbox: &Outbox<'_>) -> Markup {
    let Some(snapshot) = outbox.snapshot else { return html! {} };
    html! {
        section aria-labelledby="requests" {
            h2 #requests { "Recent requests" }
            @if snapshot.requests.is_empty() {
                p.card.quiet { "None yet." }
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
                    tbody { @for request in &snapshot.requests { (row(request, outbox)) } }
                }
            }
        }
    }
}

fn row(request: &Request, outbox: &Outbox<'_>) -> Markup {
    // A partial answer did its work; the courses that it refused tell of it themselves.
    let good = [RequestOutcome::Ok, RequestOutcome::Partial].map(RequestOutcome::as_str);
    let is_good = request.outcome.as_deref().is_none_or(|outcome| good.contains(&outcome));
    html! {
        tr {
            td { (words::clock(request.claimed_at)) }
            td { (words::clean(&request.operation)) }
            td.n { (words::number(request.courses.into())) }
            td.(if is_good { "fine" } else { "odd" }) {
                @match &request.outcome {
                    Some(outcome) => (words::clean(outcome).replace('_', " ")),
                    None if request.is_open => "open",
                    None if request.answered_at.is_some() => "not sent",
                    None => "not kept",
                }
                @if let Some(status) = request.http_status { " " span.quiet { (status) } }
                @if let (false, Some(id)) = (is_good, &request.correlation_id) {
                    small title="HubSpot's identifier of the request, for its support" { code { (words::clean(id)) } }
                }
            }
            td.n.took {
                @if let Some(end) = request.answered_at.or(request.is_open.then_some(outbox.now)) {
                    (words::duration(words::between(request.claimed_at, end)))
                }
            }
        }
    }
}
