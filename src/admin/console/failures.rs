//! Courses that failed or are in doubt, grouped by what was said of them. Pure.

use maud::{Markup, html};

use super::{Asked, Outbox, pauses::in_code, words};
use crate::course::{Category, Status, clip};
use crate::outbox::failures::Group;

/// As much of a long key as is shown; where it leads, it stands in full.
const SHOWN_KEY_BYTES: usize = 80;

/// The groups, largest first, each with an example that leads to its course's life.
pub(super) fn groups(outbox: &Outbox<'_>, asked: &Asked) -> Markup {
    let Some(snapshot) = outbox.snapshot else { return html! {} };
    html! {
        section aria-labelledby="failures" {
            h2 #failures { "Failures" }
            @if snapshot.failures.groups.is_empty() {
                p.card.quiet { "No course failed, and none is in doubt." }
            } @else {
                table.card.failures {
                    caption.unseen { "Failed and unconfirmed courses, by reason" }
                    thead {
                        tr {
                            th.n scope="col" { "Courses" }
                            th scope="col" { "Reason, and what to do" }
                        }
                    }
                    tbody { @for group in &snapshot.failures.groups { (row(group, outbox, asked)) } }
                }
            }
        }
    }
}

fn row(group: &Group, outbox: &Outbox<'_>, asked: &Asked) -> Markup {
    let tone = match group.status {
        Status::Failed => "bad",
        Status::Pending | Status::InFlight | Status::Unconfirmed | Status::Synced => "warn",
    };
    html! {
        tr {
            td.n.large { @if !group.is_exact { "≥ " } (words::number(group.courses)) }
            td {
                p {
                    strong.(tone) { (group.status.as_str()) } " "
                    (group.category.map_or("for a reason that cannot be read", Category::as_str))
                    @if let Some(code) = &group.code { " " code { (words::clean(code)) } }
                    @if let Some(property) = &group.property { ", property " code { (words::clean(property)) } }
                }
                p { (in_code(&words::capital(&words::clean(&group.mend)))) "." }
                p.quiet {
                    "For example "
                    a href=(asked.with_course(Some(&group.example)).link()) { (clip(&words::clean(&group.example), SHOWN_KEY_BYTES)) }
                    ", latest " (words::relative(group.latest, outbox.now))
                }
            }
        }
    }
}
