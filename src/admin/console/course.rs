//! The life of the course that was searched for: what happened, what comes next, what a person can do. Pure.

use maud::{Markup, html};

use super::{Asked, Outbox, pauses::in_code, words};
use crate::course::Status;
use crate::policy::explain::Explanation;

/// What a search for a key found.
#[derive(Debug)]
pub(super) enum Found {
    Course(Box<Explanation>),
    /// No course has this key; these keys stand next to it in order.
    Nobody(Vec<String>),
    /// Why nothing can be told.
    Unread(String),
}

/// What was found under the key that was asked for.
pub(super) fn found(key: &str, found: &Found, outbox: &Outbox<'_>, asked: &Asked) -> Markup {
    html! {
        section.card.course.(tone(found)) aria-labelledby="found" {
            div.titled {
                h2 #found { "Course " code { (words::clean(key)) } }
                a href=(asked.with_course(None).link()) { "close" }
            }
            @match found {
                Found::Course(explanation) => (life(explanation, outbox)),
                Found::Nobody(neighbours) => {
                    p.said { "No course with this key is in the outbox. A key counts to the letter, capitals and spaces included." }
                    @if !neighbours.is_empty() {
                        p.quiet { "Next to it in order:" }
                        ul { @for key in neighbours { li { a href=(asked.with_course(Some(key)).link()) { (words::clean(key)) } } } }
                    }
                }
                Found::Unread(why) => p.said { "Its life cannot be read: " (words::clean(why)) },
            }
        }
    }
}

fn tone(found: &Found) -> &'static str {
    let Found::Course(explanation) = found else { return "plain" };
    match explanation.life.course.status {
        Status::Failed => "bad",
        Status::Unconfirmed => "warn",
        Status::Synced => "good",
        Status::Pending | Status::InFlight => "plain",
    }
}

fn life(explanation: &Explanation, outbox: &Outbox<'_>) -> Markup {
    html! {
        p.said { (said(&words::capital(&explanation.summary))) }
        div.halves {
            div {
                h3 #happened { "What happened" }
                ol.steps aria-labelledby="happened" {
                    @for step in &explanation.happened {
                        li { span.quiet { (words::relative(step.at, outbox.now)) } " " span { (said(&words::capital(&step.what))) } }
                    }
                }
            }
            div {
                h3 { "What comes next" }
                p {
                    (said(&words::capital(&explanation.next)))
                    @if let Some(at) = explanation.next_at.filter(|at| *at > outbox.now) { ", " (words::relative(at, outbox.now)) }
                    "."
                }
                @if !explanation.you_can.is_empty() {
                    h3 #you-can { "What you can do" }
                    ul aria-labelledby="you-can" {
                        @for what in &explanation.you_can { li { (said(&words::capital(what))) } }
                    }
                }
            }
        }
    }
}

fn said(text: &str) -> Markup {
    in_code(&words::clean(text))
}
