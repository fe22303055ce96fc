//! The state of everything in one line. Pure.

use maud::{Markup, html};

use super::pauses::Paused;
use super::words;
use super::{Here, Outbox};
use crate::course::Status;

/// How good the news is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
}

impl Tone {
    /// Its class in the stylesheet.
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// What a person reads first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Headline {
    tone: Tone,
    /// Also the page's title.
    pub short: &'static str,
    rest: String,
}

/// The worst of what is so.
pub(super) fn headline(here: &Here, outbox: &Outbox<'_>, pauses: &[Paused]) -> Headline {
    let told = |tone, short, rest: String| Headline { tone, short, rest };
    if here.is_stopping {
        let rest = "Open requests finish; nothing new is sent.".to_owned();
        return told(Tone::Warn, "Stopping", rest);
    }
    if outbox.trouble.is_some() {
        return told(Tone::Bad, "Database away", String::new());
    }
    let Some(snapshot) = outbox.snapshot else { return told(Tone::Bad, "Nothing known yet", String::new()) };
    let count = |status: Status| {
        snapshot.readings.counts.iter().find(|count| count.status == status).map_or(0, |count| count.courses)
    };
    let (pending, in_flight) = (count(Status::Pending), count(Status::InFlight));
    let wait = match (pending, in_flight) {
        (0, in_flight) if in_flight > 0 => format!("{} under way", words::counted(in_flight, "course")),
        (1, _) => "1 course waits".to_owned(),
        (pending, _) => format!("{} courses wait", words::number(pending)),
    };
    if snapshot.readings.leader.is_none() {
        return told(
            Tone::Bad,
            "Nobody sends",
            format!("{wait}. No instance holds the lease; one that runs takes it within seconds."),
        );
    }
    if let Some(pause) = pauses.iter().find(|pause| pause.needs_a_person()).or(pauses.first()) {
        let tone = if pause.needs_a_person() { Tone::Bad } else { Tone::Warn };
        return told(tone, "Paused", format!("{}; {wait}.", words::capital(pause.title())));
    }
    if pending + in_flight == 0 {
        return told(Tone::Good, "Up to date", "No course waits.".to_owned());
    }
    let empty = outbox.seconds_to_empty.filter(|seconds| *seconds >= 1.0);
    let empty = empty.map(|seconds| format!(", sent in about {}", words::duration(seconds)));
    told(Tone::Good, "Sending", format!("{wait}{}.", empty.unwrap_or_default()))
}

impl Headline {
    pub(super) fn draw(&self) -> Markup {
        html! {
            p.headline.(self.tone.class()) {
                span.dot aria-hidden="true" {}
                strong { (self.short) }
                @if !self.rest.is_empty() { " " span { (self.rest) } }
            }
        }
    }
}
