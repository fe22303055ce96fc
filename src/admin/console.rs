//! The console's page: server-rendered, read-only, everything from outside escaped by the template.

use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use crate::daemon::status::StatusReport;

/// The page at `/`.
pub(super) fn page(report: &Result<StatusReport, String>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="5";
                title { "course-sync" }
            }
            body {
                h1 { "course-sync" }
                @match report {
                    Ok(report) => (summary(report)),
                    Err(error) => p role="alert" { strong { "The database cannot be read: " } (error) },
                }
                p { a href="/status" { "status" } " · " a href="/metrics" { "metrics" } " · " a href="/readyz" { "readiness" } }
            }
        }
    }
}

fn summary(report: &StatusReport) -> Markup {
    html! {
        @for pause in &report.pauses {
            p role="alert" { strong { "Paused (" (text(pause, "reason")) "): " } (text(pause, "message")) }
        }
        h2 { "Courses" }
        table {
            @for status in crate::course::Status::ALL {
                @let name = status.as_str();
                tr {
                    th scope="row" { (name) }
                    td { @if report.estimated.contains(&name) { "≈ " } (report.counts.get(name).copied().unwrap_or_default()) }
                }
            }
        }
        h2 { "Sending" }
        table {
            tr { th scope="row" { "leader" } td { @match &report.leader {
                Some(leader) => { (leader.host.as_deref().unwrap_or("unknown")) " (term " (leader.term) ")" },
                None => "nobody",
            } } }
            tr { th scope="row" { "last minute" } td { (report.last_minute.requests) " requests, " (report.last_minute.courses) " courses" } }
            tr { th scope="row" { "quota" } td { (report.quota.used) " of " (report.quota.requests) " in " (report.quota.per_seconds) " s" } }
        }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value.get(name).and_then(Value::as_str).unwrap_or_default()
}
