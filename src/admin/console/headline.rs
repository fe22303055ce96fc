//! The state of everything in one line. Pure.

use maud::{Markup, html};

use super::pauses::Paused;
use super::words;
use crate::course::Status;
use crate::daemon::status::Readings;

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

/// What it is told from.
pub(super) struct Known<'a> {
    pub is_stopping: bool,
    /// The database cannot be read at present.
    pub is_away: bool,
    /// What it said last.
    pub readings: Option<&'a Readings>,
    pub pauses: &'a [Paused],
    pub seconds_to_empty: Option<f64>,
}

/// The worst of what is so.
pub(super) fn headline(known: &Known<'_>) -> Headline {
    let told = |tone, short, rest: String| Headline { tone, short, rest };
    if known.is_stopping {
        return told(Tone::Warn, "Stopping", "Open requests finish; nothing new is sent.".to_owned());
    }
    if known.is_away {
        return told(Tone::Bad, "Database away", String::new());
    }
    let Some(readings) = known.readings else { return told(Tone::Bad, "Nothing known yet", String::new()) };
    let count = |status: Status| readings.counts.iter().find(|count| count.status == status);
    let courses = |status: Status| count(status).map_or(0, |count| count.courses);
    let (pending, in_flight) = (courses(Status::Pending), courses(Status::InFlight));
    // Where the count is an estimate, none may mean some.
    let about = if count(Status::Pending).is_some_and(|count| !count.is_exact) { "about " } else { "" };
    let wait = match (pending, in_flight) {
        (0, _) if readings.oldest.pending.is_some() => "some courses wait".to_owned(),
        (0, 1..) => format!("{} under way", words::counted(in_flight, "course")),
        (0, _) => "no course waits".to_owned(),
        (1, _) => format!("{about}1 course waits"),
        _ => format!("{about}{} courses wait", words::number(pending)),
    };
    if readings.leader.is_none() {
        return told(
            Tone::Bad,
            "Nobody sends",
            format!(
                "{}. No instance holds the lease; one that runs takes it within seconds.",
                words::capital(&wait)
            ),
        );
    }
    if let Some(pause) = known.pauses.iter().find(|pause| pause.needs_a_person()).or(known.pauses.first()) {
        let tone = if pause.needs_a_person() { Tone::Bad } else { Tone::Warn };
        return told(tone, "Paused", format!("{}; {wait}.", words::capital(pause.title())));
    }
    if pending + in_flight == 0 && readings.oldest.pending.is_none() {
        return told(Tone::Good, "Up to date", "No course waits.".to_owned());
    }
    let empty = known.seconds_to_empty.filter(|seconds| *seconds >= 1.0);
    let empty = empty.map(|seconds| format!("; done in about {}", words::duration(seconds)));
    told(Tone::Good, "Sending", format!("{}{}.", words::capital(&wait), empty.unwrap_or_default()))
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

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::super::pauses::that_hold;
    use super::*;
    use crate::outbox::report::{Count, Leader, Oldest, Recent};

    fn readings(pending: i64, in_flight: i64, leader: Option<serde_json::Value>) -> Readings {
        let count = |status| Count {
            status,
            courses: match status {
                Status::Pending => pending,
                Status::InFlight => in_flight,
                Status::Unconfirmed | Status::Synced | Status::Failed => 7,
            },
            is_exact: true,
        };
        let leader = leader.map(|report| Leader {
            holder: Uuid::nil(),
            host: None,
            term: 1,
            expires_at: None,
            is_current: true,
            report,
        });
        Readings {
            counts: Status::ALL.map(count).to_vec(),
            oldest: Oldest::default(),
            recent: Recent::default(),
            leader,
            durable: Vec::new(),
        }
    }

    /// The headline, its tone's class before it.
    fn told(known: &Known<'_>) -> String {
        let Headline { tone, short, rest } = headline(known);
        format!("{}: {short}. {rest}", tone.class())
    }

    #[test]
    fn the_worst_of_what_is_so_is_told() {
        let said = |reasons: &[&str]| {
            let pauses = reasons.iter().map(|reason| json!({ "reason": reason, "message": "" }));
            Some(json!({ "pauses": pauses.collect::<Vec<_>>() }))
        };
        for (readings, expected) in [
            (readings(0, 0, said(&[])), "good: Up to date. No course waits."),
            (readings(1, 0, said(&[])), "good: Sending. 1 course waits; done in about 2 min."),
            (readings(0, 30, said(&[])), "good: Sending. 30 courses under way; done in about 2 min."),
            (
                readings(4_000, 0, said(&["unavailable"])),
                "warn: Paused. HubSpot is not available; 4,000 courses wait.",
            ),
            (
                readings(2, 0, said(&["interval_quota", "token"])),
                "bad: Paused. HubSpot does not accept the token; 2 courses wait.",
            ),
            (
                readings(2, 0, said(&["<new>"])),
                "bad: Paused. For a reason that this version does not know; 2 courses wait.",
            ),
        ] {
            let pauses = that_hold(None, Some(&readings));
            let known = |is_stopping, is_away| Known {
                is_stopping,
                is_away,
                readings: Some(&readings),
                pauses: &pauses,
                seconds_to_empty: Some(120.0),
            };
            assert_eq!(told(&known(false, false)), expected);
            assert_eq!(told(&known(false, true)), "bad: Database away. ");
            assert!(told(&known(true, true)).starts_with("warn: Stopping. "));
        }
        let mut estimated = readings(0, 0, said(&[]));
        estimated.oldest.pending = Some(jiff::Timestamp::UNIX_EPOCH);
        let known = Known {
            is_stopping: false,
            is_away: false,
            readings: Some(&estimated),
            pauses: &[],
            seconds_to_empty: Some(0.0),
        };
        assert_eq!(told(&known), "good: Sending. Some courses wait.");
        let unled = readings(5, 0, None);
        let known = Known {
            is_stopping: false,
            is_away: false,
            readings: Some(&unled),
            pauses: &[],
            seconds_to_empty: None,
        };
        assert!(told(&known).starts_with("bad: Nobody sends. 5 courses wait. "), "{}", told(&known));
    }
}
