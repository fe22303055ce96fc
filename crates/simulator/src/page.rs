//! The HTML page at `/`, which shows the simulator's state. Self-contained; all values are escaped.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::handle::Handle;
use super::journal::Entry;
use super::store::Record;
use super::summary::Summary;
use super::wire::iso;

/// Maximum number of rows of a table.
const MAX_ROWS: usize = 100;

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2rem;color:#213343}\
    table{border-collapse:collapse;width:100%;margin-bottom:2rem}\
    th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #dfe3eb;vertical-align:top}\
    th{color:#516f90;font-weight:600}code{font-size:12px}.quiet{color:#7c98b6}";

/// Serves the page; its content security policy allows no other resources.
pub(super) async fn show(State(handle): State<Handle>) -> Response {
    let page = render(&handle);
    let headers: [(HeaderName, &str); 2] = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    (headers, Html(page.into_string())).into_response()
}

fn render(handle: &Handle) -> Markup {
    let summary = handle.summary();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "HubSpot simulator" }
                style { (STYLE) }
            }
            body {
                h1 { "HubSpot simulator" }
                p.quiet { "Not HubSpot: everything here lives in memory and ends with the process." }
                (overview(&summary))
                h2 { "Newest courses" }
                (courses(&handle.latest_records(MAX_ROWS)))
                @let merged = handle.merged_records();
                @if !merged.is_empty() {
                    h2 { "Merged courses" }
                    (merged_courses(&merged))
                }
                h2 { "Newest requests" }
                (requests(&handle.latest_requests(MAX_ROWS)))
                h2 { "Faults" }
                @let faults = handle.faults();
                @if faults.is_empty() { p.quiet { "None: every request is answered honestly." } }
                @for fault in faults {
                    p { code { (serde_json::to_string(&fault).unwrap_or_default()) } }
                }
            }
        }
    }
}

fn overview(summary: &Summary) -> Markup {
    let rows = [
        ("Courses", summary.records.to_string()),
        ("In the recycle bin", summary.archived.to_string()),
        ("Unique values held twice", summary.duplicates_by_unique.to_string()),
        ("Requests", summary.requests.to_string()),
        ("Without a whole answer", summary.unanswered.to_string()),
        ("Busiest interval", format!("{} of {} requests", summary.worst_window, summary.limit)),
        ("Used today", summary.used_today.to_string()),
        ("Open at once, at most", summary.max_open.to_string()),
    ];
    html! {
        table { @for (name, value) in rows { tr { th { (name) } td { (value) } } } }
    }
}

fn courses(records: &[(Record, BTreeMap<&'static str, usize>)]) -> Markup {
    html! {
        table {
            tr { th { "Id" } th { "Name" } th { "Properties" } th { "Changes" } th { "Created" } }
            @for (record, changes) in records {
                tr {
                    td { (record.id) @if record.archived { " (archived)" } }
                    td { (record.properties.get("hs_course_name").map_or("", String::as_str)) }
                    td {
                        @for (name, value) in record.properties.iter().filter(|(n, _)| *n != "hs_course_name") {
                            div { code { (name) } ": " (value.chars().take(200).collect::<String>()) }
                        }
                    }
                    td { @for (change, count) in changes { div { (change) ": " (count) } } }
                    td { (iso(record.created_at)) }
                }
            }
        }
    }
}

fn merged_courses(merged: &BTreeMap<u64, u64>) -> Markup {
    html! {
        table {
            tr { th { "Id" } th { "Merged into" } }
            @for (id, survivor) in merged.iter().rev().take(MAX_ROWS) {
                tr { td { (id) } td { (survivor) } }
            }
        }
    }
}

fn requests(journal: &[Entry]) -> Markup {
    html! {
        table {
            tr { th { "Received" } th { "Request" } th { "Inputs" } th { "Status" } th { "" } }
            @for entry in journal {
                tr {
                    td { (iso(entry.received_at)) }
                    td { (entry.method) " " code { (entry.path) } }
                    td { (entry.inputs.len()) }
                    td { @if let Some(status) = entry.status { (status) } @else { "none" } }
                    td { @if entry.faulted { "fault" } }
                }
            }
        }
    }
}
