//! The course that was searched for: its history, what happens next, what an operator can do. Pure.

use maud::{Markup, html};

use super::{OutboxView, PageQuery, pauses::in_code, words};
use crate::course::Status;
use crate::policy::explain::Explanation;

/// The result of a search for a key.
#[derive(Debug)]
pub(super) enum SearchResult {
    Found(Box<Explanation>),
    /// No course has this key. These keys are next to it in order.
    NotFound(Vec<String>),
    /// Why the database could not be read.
    Failed(String),
}

/// The result of the search for `key`.
pub(super) fn search_card(
    key: &str,
    result: &SearchResult,
    outbox: &OutboxView<'_>,
    asked: &PageQuery,
) -> Markup {
    html! {
        section.card.course.(search_tone(result)) aria-labelledby="found" {
            div.titled {
                h2 #found { "Course " code { (words::sanitize(key)) } }
                a href=(asked.with_course(None).link()) { "close" }
            }
            @match result {
                SearchResult::Found(explanation) => (explanation_details(explanation, outbox)),
                SearchResult::NotFound(adjacent_keys) => {
                    p.message { "The outbox has no course with this key. Keys are case-sensitive, and spaces count." }
                    @if !adjacent_keys.is_empty() {
                        p.quiet { "The next keys in order:" }
                        ul { @for key in adjacent_keys { li { a href=(asked.with_course(Some(key)).link()) { (words::sanitize(key)) } } } }
                    }
                }
                SearchResult::Failed(why) => p.message { "The course cannot be read: " (words::sanitize(why)) },
            }
        }
    }
}

fn search_tone(result: &SearchResult) -> &'static str {
    let SearchResult::Found(explanation) = result else { return "plain" };
    match explanation.history.course.status {
        Status::Failed => "bad",
        Status::Unconfirmed => "warn",
        Status::Synced | Status::Archived => "good",
        Status::Pending | Status::InFlight => "plain",
    }
}

fn explanation_details(explanation: &Explanation, outbox: &OutboxView<'_>) -> Markup {
    html! {
        p.message { (external_text(&words::capitalize(&explanation.summary))) }
        div.halves {
            div {
                h3 #happened { "History" }
                ol.steps aria-labelledby="happened" {
                    @for step in &explanation.happened {
                        li { span.quiet { (words::relative_time(step.at, outbox.now)) } " " span { (external_text(&words::capitalize(&step.what))) } }
                    }
                }
            }
            div {
                h3 { "Next" }
                p {
                    (external_text(&words::capitalize(&explanation.next)))
                    @if let Some(at) = explanation.next_at.filter(|at| *at > outbox.now) { ", " (words::relative_time(at, outbox.now)) }
                    "."
                }
                @if !explanation.you_can.is_empty() {
                    h3 #you-can { "What you can do" }
                    ul aria-labelledby="you-can" {
                        @for what in &explanation.you_can { li { (external_text(&words::capitalize(what))) } }
                    }
                }
            }
        }
    }
}

fn external_text(text: &str) -> Markup {
    in_code(&words::sanitize(text))
}
