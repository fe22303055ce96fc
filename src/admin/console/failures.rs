//! Failed and unconfirmed courses, grouped by error. Pure.

use maud::{Markup, html};

use super::{OutboxView, PageQuery, pauses::in_code, words};
use crate::course::{Category, Status, clip};
use crate::outbox::failures::ErrorGroup;

/// A longer key is truncated to so many bytes; the link contains it in full.
const SHOWN_KEY_BYTES: usize = 80;

/// The groups, largest first, each with a link to an example.
pub(super) fn failure_groups(outbox: &OutboxView<'_>, asked: &PageQuery) -> Markup {
    let Some(snapshot) = outbox.snapshot else { return html! {} };
    html! {
        section aria-labelledby="failures" {
            h2 #failures { "Failures" }
            @if snapshot.failures.groups.is_empty() {
                p.card.quiet { "No course is failed or unconfirmed." }
            } @else {
                table.card.failures {
                    caption.unseen { "Failed and unconfirmed courses, by reason" }
                    thead {
                        tr {
                            th.n scope="col" { "Courses" }
                            th scope="col" { "Reason, and what to do" }
                        }
                    }
                    tbody { @for group in &snapshot.failures.groups { (group_row(group, outbox, asked)) } }
                }
            }
        }
    }
}

fn group_row(group: &ErrorGroup, outbox: &OutboxView<'_>, asked: &PageQuery) -> Markup {
    let tone = match group.status {
        Status::Failed => "bad",
        Status::Pending | Status::InFlight | Status::Unconfirmed | Status::Synced | Status::Archived => {
            "warn"
        }
    };
    html! {
        tr {
            td.n.large { @if !group.is_exact { "≥ " } (words::format_number(group.courses)) }
            td {
                p {
                    strong.(tone) { (group.status.as_str()) } " "
                    (group.category.map_or("with an unreadable error", Category::as_str))
                    @if let Some(code) = &group.code { " " code { (words::sanitize(code)) } }
                    @if let Some(property) = &group.property { ", property " code { (words::sanitize(property)) } }
                }
                p { (in_code(&words::capitalize(&words::sanitize(&group.fix)))) "." }
                p.quiet {
                    "For example "
                    a href=(asked.with_course(Some(&group.example)).link()) { (clip(&words::sanitize(&group.example), SHOWN_KEY_BYTES)) }
                    ", latest " (words::relative_time(group.latest, outbox.now))
                }
            }
        }
    }
}
