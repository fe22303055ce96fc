//! The pauses in effect: why nothing is sent, and what an operator can do about it. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use super::words;
use crate::policy::gate::Reason;
use crate::policy::leader_report::PauseReport;
use crate::report::pauses::merge_pauses;
use crate::report::status::StatusReadings;

/// The pauses in effect. The leader passes its own pauses; on any other instance they come from the leader's report.
pub(super) fn pauses_in_effect(
    own: Option<Vec<PauseReport>>,
    readings: Option<&StatusReadings>,
) -> Vec<PauseReport> {
    let leader = readings.and_then(|readings| readings.leader.as_ref());
    let reported = own.or_else(|| leader.map(|leader| leader.report.pauses.clone()));
    merge_pauses(reported, readings.map(|readings| readings.stored_pauses.as_slice()).unwrap_or_default())
}

/// Whether only an operator can end the pause.
pub(super) fn needs_operator(pause: &PauseReport) -> bool {
    pause.reason.known().is_none_or(Reason::needs_operator)
}

/// What is paused.
pub(super) fn pause_scope(pause: &PauseReport) -> &'static str {
    if pause.stops_only_archives() {
        "Archives held"
    } else if pause.stops_creates() {
        "Paused"
    } else {
        "Look-ups paused"
    }
}

/// The reason in a few words.
pub(super) fn pause_title(pause: &PauseReport) -> &'static str {
    match pause.reason.known() {
        Some(Reason::Operator) => "an operator paused sending",
        Some(Reason::Token) => "HubSpot does not accept the token",
        Some(Reason::Scopes) => "the token lacks a scope",
        Some(Reason::ObjectType) => "Courses are not available in the account",
        Some(Reason::IntervalQuota) => "the quota of the rolling window is used up",
        Some(Reason::DailyQuota) => "the daily quota is used up",
        Some(Reason::Unavailable) => "HubSpot is not available",
        Some(Reason::Schema) => "the unique property cannot be used",
        Some(Reason::Rejected) => "HubSpot rejects every course for the same reason",
        Some(Reason::ArchiveLimit) => "too many courses are withdrawn at once",
        None => "the reason is unknown to this version",
    }
}

/// What an operator can do.
fn suggest_fix(pause: &PauseReport) -> &'static str {
    match pause.reason.known() {
        Some(Reason::Operator) => "Run `course-sync resume` to continue.",
        Some(Reason::Token) => {
            "Set a valid token in HUBSPOT_ACCESS_TOKEN or in the token file, which is read again \
             automatically. Sending is retried at least once a minute."
        }
        Some(Reason::Scopes) => {
            "Add the scopes crm.objects.courses.read and crm.objects.courses.write to the private app, or \
             switch Courses on; `course-sync check` shows which. Sending is retried at least once a \
             minute."
        }
        Some(Reason::ObjectType) => {
            "Switch Courses on in the account's object library, or correct hubspot.base_url. Sending is \
             retried at least once a minute."
        }
        Some(Reason::IntervalQuota) => {
            "Nothing: sending continues automatically. If this happens often, lower rate_limit.requests, \
             or check which other integrations use the account."
        }
        Some(Reason::DailyQuota) => {
            "Nothing: sending continues at midnight in the account's time zone. If the account has calls \
             left earlier, run `course-sync resume`. If this happens often, check which other integrations \
             use the account, or lower rate_limit.daily_reserve."
        }
        Some(Reason::Unavailable) => {
            "Nothing: sending is retried automatically, with one course first. If it lasts, check \
             status.hubspot.com and the network."
        }
        Some(Reason::Schema) => {
            "Create the property named by hubspot.unique_property, with unique values (`course-sync check \
             --fix`), or configure another property. Its definition is read again at least once a minute."
        }
        Some(Reason::Rejected) => {
            "Fix what HubSpot's message names (a record limit, a property that is now required, a deleted \
             property), then run `course-sync resume`. One course is retried at least once a minute; no \
             course fails meanwhile."
        }
        Some(Reason::ArchiveLimit) => {
            "Find out whether the catalogue withdrew these courses on purpose. Then run `course-sync resume \
             --archives`, or correct the rows. Creates and updates continue."
        }
        None => "See the log of the leader.",
    }
}

/// The pauses as cards.
pub(super) fn pause_cards(pauses: &[PauseReport], now: Timestamp) -> Markup {
    html! {
        @if !pauses.is_empty() {
            section.pauses aria-labelledby="pauses" {
                h2.unseen #pauses { "Pauses" }
                @for pause in pauses { (pause_card(pause, now)) }
            }
        }
    }
}

fn pause_card(pause: &PauseReport, now: Timestamp) -> Markup {
    html! {
        article.card.(if needs_operator(pause) { "bad" } else { "warn" }) {
            h3 { (words::capitalize(pause_title(pause))) " " code { (words::sanitize(pause.reason.as_str())) } }
            @if !pause.message.is_empty() { p.message { (words::sanitize(&pause.message)) } }
            p.quiet {
                @if let Some(scope) = pause.scope() { (words::capitalize(scope)) ". " }
                @if let Some(author) = &pause.author { "By " (words::sanitize(author)) ". " }
                @if let Some(since) = pause.since { "Since " (words::time_of_day(since)) " UTC, " (words::relative_time(since, now)) ". " }
                // The leader knows the next attempt. A stored pause that it has not read yet has only its end.
                @match pause.until.or(pause.ends) {
                    Some(until) if until > now => { "Next attempt " (words::relative_time(until, now)) "." }
                    Some(_) => { "The next attempt is due." }
                    None => { "Until an operator ends it." }
                }
            }
            p { strong { "What to do: " } (in_code(suggest_fix(pause))) }
        }
    }
}

/// The text, with parts between backticks as code.
pub(super) fn in_code(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number.is_multiple_of(2) { (part) } @else { code { (part) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::course::{InstanceId, Term};
    use crate::outbox::overview::{Leader, OutboxFindings, RecentRequests};
    use crate::outbox::pause::DurablePause;
    use crate::policy::leader_report::LeaderReport;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn reported(reason: Reason, since: Option<Timestamp>, until: Option<Timestamp>) -> PauseReport {
        PauseReport {
            reason: reason.into(),
            message: "m".into(),
            since,
            author: None,
            operation: None,
            until,
            ends: None,
        }
    }

    #[test]
    fn the_leader_shows_its_own_pauses_and_a_standby_those_of_the_report() {
        let pauses =
            vec![reported(Reason::Operator, Some(at(10)), None), reported(Reason::Token, None, Some(at(99)))];
        let leader = Leader {
            holder: InstanceId(Uuid::nil()),
            host: None,
            term: Term(1),
            expires_at: None,
            is_current: true,
            report: LeaderReport { pauses, ..LeaderReport::default() },
        };
        let stored = DurablePause {
            reason: "operator".to_owned(),
            message: "m".into(),
            author: Some("Ada".into()),
            since: at(9),
            until: None,
            seconds_left: None,
        };
        let readings = StatusReadings {
            counts: Vec::new(),
            findings: OutboxFindings::default(),
            recent: RecentRequests::default(),
            leader: Some(leader),
            stored_pauses: vec![stored],
        };
        let shown = |own: Option<Vec<PauseReport>>| {
            let pauses = pauses_in_effect(own, Some(&readings)).into_iter();
            pauses
                .map(|it| (it.reason.into(), it.author, it.since, it.until))
                .collect::<Vec<(String, _, _, _)>>()
        };
        let ada = Some("Ada".to_owned());
        // A standby shows the leader's report, with author and begin from the row.
        assert_eq!(
            shown(None),
            [("operator".into(), ada.clone(), Some(at(9)), None), ("token".into(), None, None, Some(at(99)))]
        );
        // On the leader the reported pauses are over, and it has not read the row yet.
        assert_eq!(shown(Some(Vec::new())), [("operator".into(), ada, Some(at(9)), None)]);
        assert_eq!(pauses_in_effect(Some(Vec::new()), None), []);
    }
}
