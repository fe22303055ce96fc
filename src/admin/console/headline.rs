//! The most important fact about the daemon, in one line. Pure.

use maud::{Markup, html};

use super::{pauses, words};
use crate::course::Status;
use crate::outbox::overview::StatusCount;
use crate::policy::leader_report::PauseReport;
use crate::report::status::StatusReadings;

/// How serious the headline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warn,
    Bad,
}

impl Tone {
    /// The class in the stylesheet.
    fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

/// The first line of the page.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Headline {
    tone: Tone,
    /// Also the page's title.
    pub short: &'static str,
    rest: String,
}

/// The facts that the headline is chosen from.
pub(super) struct HeadlineInput<'a> {
    pub is_stopping: bool,
    /// The database cannot be read at present.
    pub is_database_down: bool,
    /// The last readings of the database.
    pub readings: Option<&'a StatusReadings>,
    pub pauses: &'a [PauseReport],
    pub seconds_to_empty: Option<f64>,
}

/// The most serious fact.
pub(super) fn choose_headline(input: &HeadlineInput<'_>) -> Headline {
    if input.is_stopping {
        return Headline::new(Tone::Warn, "Stopping", "Open requests finish; nothing new is sent.");
    }
    if input.is_database_down {
        return Headline::new(Tone::Bad, "Database not available", "");
    }
    let Some(readings) = input.readings else { return Headline::new(Tone::Bad, "No data yet", "") };
    let unsent = UnsentCourses::of(readings);
    let waiting = unsent.describe();
    if readings.leader.is_none() {
        let rest = format!(
            "{}. No instance holds the lease; a running instance acquires it within seconds.",
            words::capitalize(&waiting)
        );
        return Headline::new(Tone::Bad, "No leader", rest);
    }
    // A pause of look-ups or of archives does not stop the other requests.
    let by_severity = |pause: &&PauseReport| (!pause.stops_creates(), !pauses::needs_operator(pause));
    if let Some(pause) = input.pauses.iter().min_by_key(by_severity) {
        let tone = if pauses::needs_operator(pause) { Tone::Bad } else { Tone::Warn };
        let rest = format!("{}; {waiting}.", words::capitalize(pauses::pause_title(pause)));
        return Headline::new(tone, pauses::pause_scope(pause), rest);
    }
    if unsent.is_empty() {
        return Headline::new(Tone::Good, "Up to date", "No course is waiting.");
    }
    let time_left = input.seconds_to_empty.filter(|seconds| *seconds >= 1.0);
    let time_left = time_left.map(|seconds| format!("; done in about {}", words::format_duration(seconds)));
    let rest = format!("{}{}.", words::capitalize(&waiting), time_left.unwrap_or_default());
    Headline::new(Tone::Good, "Sending", rest)
}

/// The courses that are still to be sent.
struct UnsentCourses {
    pending: i64,
    in_flight: i64,
    /// The pending count is an estimate, so 0 does not mean that no course is pending.
    is_estimate: bool,
    has_pending: bool,
}

impl UnsentCourses {
    fn of(readings: &StatusReadings) -> Self {
        let pending = find_count(&readings.counts, Status::Pending);
        let in_flight = find_count(&readings.counts, Status::InFlight);
        Self {
            pending: pending.map_or(0, |count| count.courses),
            in_flight: in_flight.map_or(0, |count| count.courses),
            is_estimate: pending.is_some_and(|count| !count.is_exact),
            has_pending: readings.findings.oldest.pending.is_some(),
        }
    }

    fn is_empty(&self) -> bool {
        self.pending + self.in_flight == 0 && !self.has_pending
    }

    fn describe(&self) -> String {
        let about = if self.is_estimate { "about " } else { "" };
        match (self.pending, self.in_flight) {
            (0, _) if self.has_pending => "some courses are waiting".to_owned(),
            (0, 1..) => format!("{} in flight", words::pluralize(self.in_flight, "course")),
            (0, _) => "no course is waiting".to_owned(),
            (1, _) => format!("{about}1 course is waiting"),
            _ => format!("{about}{} courses are waiting", words::format_number(self.pending)),
        }
    }
}

fn find_count(counts: &[StatusCount], status: Status) -> Option<&StatusCount> {
    counts.iter().find(|count| count.status == status)
}

impl Headline {
    fn new(tone: Tone, short: &'static str, rest: impl Into<String>) -> Self {
        Self { tone, short, rest: rest.into() }
    }

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
    use uuid::Uuid;

    use super::*;
    use crate::course::{InstanceId, Term};
    use crate::outbox::overview::{Leader, OutboxFindings, RecentRequests};
    use crate::policy::leader_report::{LeaderReport, ReportedReason};

    fn readings(pending: i64, in_flight: i64, has_leader: bool) -> StatusReadings {
        let counts = Status::ALL.map(|status| StatusCount {
            status,
            courses: match status {
                Status::Pending => pending,
                Status::InFlight => in_flight,
                Status::Unconfirmed | Status::Synced | Status::Failed | Status::Archived => 7,
            },
            is_exact: true,
        });
        let leader = has_leader.then(|| Leader {
            holder: InstanceId(Uuid::nil()),
            host: None,
            term: Term(1),
            expires_at: None,
            is_current: true,
            report: LeaderReport::default(),
        });
        StatusReadings {
            counts: counts.to_vec(),
            findings: OutboxFindings::default(),
            recent: RecentRequests::default(),
            leader,
            stored_pauses: Vec::new(),
        }
    }

    fn pause(reason: &str) -> PauseReport {
        PauseReport {
            reason: ReportedReason::from(reason.to_owned()),
            message: String::new(),
            since: None,
            author: None,
            operation: None,
            until: None,
            ends: None,
        }
    }

    /// The headline as text, with the class of its tone.
    fn as_text(input: &HeadlineInput<'_>) -> String {
        let Headline { tone, short, rest } = choose_headline(input);
        format!("{}: {short}. {rest}", tone.class())
    }

    #[test]
    fn the_most_serious_fact_is_shown() {
        for (readings, reasons, expected) in [
            (readings(0, 0, true), &[] as &[&str], "good: Up to date. No course is waiting."),
            (readings(1, 0, true), &[], "good: Sending. 1 course is waiting; done in about 2 min."),
            (readings(0, 30, true), &[], "good: Sending. 30 courses in flight; done in about 2 min."),
            (
                readings(4_000, 0, true),
                &["unavailable"],
                "warn: Paused. HubSpot is not available; 4,000 courses are waiting.",
            ),
            (
                readings(2, 0, true),
                &["interval_quota", "token"],
                "bad: Paused. HubSpot does not accept the token; 2 courses are waiting.",
            ),
            (
                readings(2, 0, true),
                &["<new>"],
                "bad: Paused. The reason is unknown to this version; 2 courses are waiting.",
            ),
        ] {
            let pauses: Vec<_> = reasons.iter().map(|reason| pause(reason)).collect();
            let input = |is_stopping, is_database_down| HeadlineInput {
                is_stopping,
                is_database_down,
                readings: Some(&readings),
                pauses: &pauses,
                seconds_to_empty: Some(120.0),
            };
            assert_eq!(as_text(&input(false, false)), expected);
            assert_eq!(as_text(&input(false, true)), "bad: Database not available. ");
            assert!(as_text(&input(true, true)).starts_with("warn: Stopping. "));
        }
        let held = PauseReport { operation: Some("archive".to_owned()), ..pause("archive_limit") };
        let sending = readings(2, 0, true);
        for (pauses, expected) in [
            (
                vec![held.clone()],
                "bad: Archives held. Too many courses are withdrawn at once; 2 courses are waiting.",
            ),
            (
                vec![held, pause("unavailable")],
                "warn: Paused. HubSpot is not available; 2 courses are waiting.",
            ),
        ] {
            let input = HeadlineInput {
                is_stopping: false,
                is_database_down: false,
                readings: Some(&sending),
                pauses: &pauses,
                seconds_to_empty: None,
            };
            assert_eq!(as_text(&input), expected);
        }
        let mut estimated = readings(0, 0, true);
        estimated.findings.oldest.pending = Some(jiff::Timestamp::UNIX_EPOCH);
        let input = HeadlineInput {
            is_stopping: false,
            is_database_down: false,
            readings: Some(&estimated),
            pauses: &[],
            seconds_to_empty: Some(0.0),
        };
        assert_eq!(as_text(&input), "good: Sending. Some courses are waiting.");
        let without_leader = readings(5, 0, false);
        let input = HeadlineInput { readings: Some(&without_leader), seconds_to_empty: None, ..input };
        assert!(
            as_text(&input).starts_with("bad: No leader. 5 courses are waiting. "),
            "{}",
            as_text(&input)
        );
    }
}
