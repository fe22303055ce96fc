//! Why nothing is sent, and what a person can do about it. Pure.

use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;

use super::words;
use crate::daemon::account::PauseView;
use crate::daemon::status::Readings;
use crate::policy::pause::Reason;

/// A pause, wherever it was learnt of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Paused {
    /// As it was said; `known` where it is one of ours.
    pub reason: String,
    pub message: String,
    pub author: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
}

/// The pauses that hold: from the leader's own memory where it is this instance (`own`), else from what the
/// leader said last; a person's, from the database, wherever the other two have not heard of it yet.
pub(super) fn that_hold(own: Option<&[PauseView]>, readings: Option<&Readings>) -> Vec<Paused> {
    let said = readings.and_then(|readings| readings.leader.as_ref()?.report.get("pauses")?.as_array());
    let mut pauses: Vec<Paused> = match own {
        Some(own) => own.iter().map(Paused::of).collect(),
        None => said.into_iter().flatten().map(Paused::said).collect(),
    };
    for durable in readings.into_iter().flat_map(|readings| &readings.durable) {
        match pauses.iter_mut().find(|pause| pause.reason == durable.reason) {
            Some(pause) => pause.author.clone_from(&durable.author),
            None => pauses.push(Paused {
                reason: durable.reason.clone(),
                message: durable.message.clone(),
                author: durable.author.clone(),
                since: Some(durable.since),
                until: durable.until,
            }),
        }
    }
    pauses
}

impl Paused {
    fn of(view: &PauseView) -> Self {
        Self {
            reason: view.reason.to_owned(),
            message: view.message.clone(),
            author: None,
            since: Some(view.since),
            until: view.until,
        }
    }

    fn said(pause: &Value) -> Self {
        let text = |name: &str| pause.get(name).and_then(Value::as_str);
        let time = |name: &str| text(name).and_then(|time| time.parse().ok());
        Self {
            reason: text("reason").unwrap_or_default().to_owned(),
            message: text("message").unwrap_or_default().to_owned(),
            author: text("author").map(str::to_owned),
            since: time("since"),
            until: time("until"),
        }
    }

    fn known(&self) -> Option<Reason> {
        Reason::ALL.into_iter().find(|reason| reason.as_str() == self.reason)
    }

    /// Whether it ends by a person's hand only.
    pub(super) fn needs_a_person(&self) -> bool {
        self.known().is_none_or(Reason::needs_a_person)
    }

    /// In a few words.
    pub(super) fn title(&self) -> &'static str {
        match self.known() {
            Some(Reason::Operator) => "a person paused the sending",
            Some(Reason::Token) => "HubSpot does not accept the token",
            Some(Reason::Scopes) => "the token lacks a scope",
            Some(Reason::ObjectType) => "the account has no courses",
            Some(Reason::IntervalQuota) => "the quota of the moment is used up",
            Some(Reason::DailyQuota) => "the quota of the day is used up",
            Some(Reason::Unavailable) => "HubSpot is not available",
            Some(Reason::Schema) => "the unique property cannot be used",
            Some(Reason::Rejected) => "HubSpot refuses every course for the same reason",
            None => "for a reason that this version does not know",
        }
    }

    /// What a person can do.
    fn mend(&self) -> &'static str {
        match self.known() {
            Some(Reason::Operator) => "Run `course-sync resume` to go on.",
            Some(Reason::Token) => {
                "Give it a valid token (HUBSPOT_ACCESS_TOKEN; a token file is read again by itself). It is tried again at least once a minute."
            }
            Some(Reason::Scopes) => {
                "Give the private app crm.objects.courses.read and crm.objects.courses.write; or switch Courses on, which `course-sync check` tells apart. It is tried again at least once a minute."
            }
            Some(Reason::ObjectType) => {
                "Switch Courses on in the account's object library, or mend hubspot.base_url. It is tried again at least once a minute."
            }
            Some(Reason::IntervalQuota) => {
                "Nothing to do: it goes on by itself. If it comes often, lower rate_limit.requests, or see what else uses the account."
            }
            Some(Reason::DailyQuota) => {
                "It goes on by itself at the account's midnight. If there are more calls before, run `course-sync resume`; if it comes often, see what else uses the account, or lower rate_limit.daily_reserve."
            }
            Some(Reason::Unavailable) => {
                "Nothing to do: it is tried again by itself, with one course first. If it lasts, see status.hubspot.com and the way there."
            }
            Some(Reason::Schema) => {
                "Create the property that hubspot.unique_property names, with unique values (`course-sync check --fix`), or name another one. Its definition is read again at least once a minute."
            }
            Some(Reason::Rejected) => {
                "Fix what HubSpot's message names (a record limit, a property that is required now, a property that is gone), then run `course-sync resume`. One course is tried at least once a minute; none fails meanwhile."
            }
            None => "See the log of the instance that leads.",
        }
    }
}

/// The pauses as cards.
pub(super) fn cards(pauses: &[Paused], now: Timestamp) -> Markup {
    html! {
        @if !pauses.is_empty() {
            section.pauses aria-labelledby="pauses" {
                h2.unseen #pauses { "Paused" }
                @for pause in pauses {
                    article.card.(if pause.needs_a_person() { "bad" } else { "warn" }) {
                        h3 { (words::capital(pause.title())) " " code { (words::clean(&pause.reason)) } }
                        @if !pause.message.is_empty() { p.said { (words::clean(&pause.message)) } }
                        p.quiet {
                            @if let Some(author) = &pause.author { "By " (words::clean(author)) ". " }
                            @if let Some(since) = pause.since { "Since " (words::clock(since)) " UTC, " (words::relative(since, now)) ". " }
                            @match pause.until {
                                Some(until) if until > now => { "Next try " (words::relative(until, now)) "." }
                                Some(_) => { "The next try is due." }
                                None => { "Until a person ends it." }
                            }
                        }
                        p.mend { strong { "What to do: " } (in_code(pause.mend())) }
                    }
                }
            }
        }
    }
}

/// What stands between backticks, as code. Only for texts of our own.
pub(super) fn in_code(text: &str) -> Markup {
    html! {
        @for (number, part) in text.split('`').enumerate() {
            @if number.is_multiple_of(2) { (part) } @else { code { (part) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::outbox::pause::DurablePause;
    use crate::outbox::report::{Leader, Oldest, Recent};

    #[test]
    fn a_pause_is_told_once_by_who_knows_it_best() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let report = json!({ "pauses": [
            { "reason": "operator", "message": "m", "since": at(10) },
            { "reason": "token", "message": "t", "since": "nonsense", "until": at(99) },
        ] });
        let leader =
            Leader { holder: Uuid::nil(), host: None, term: 1, expires_at: None, is_current: true, report };
        let person = |reason: &str| DurablePause {
            reason: reason.to_owned(),
            message: "m".into(),
            author: Some("Ada".into()),
            since: at(9),
            until: None,
            seconds_left: None,
        };
        let readings = Readings {
            counts: Vec::new(),
            oldest: Oldest::default(),
            recent: Recent::default(),
            leader: Some(leader),
            durable: vec![person("operator")],
        };
        let told = |own: Option<&[PauseView]>| {
            let short = |pause: Paused| (pause.reason, pause.author, pause.since, pause.until);
            that_hold(own, Some(&readings)).into_iter().map(short).collect::<Vec<_>>()
        };
        let ada = Some("Ada".to_owned());
        // A standby: as the leader said, with the author from the row.
        assert_eq!(
            told(None),
            [
                ("operator".into(), ada.clone(), Some(at(10)), None),
                ("token".into(), None, None, Some(at(99)))
            ]
        );
        // The leader: what it said some seconds ago is over; the row is news to it.
        assert_eq!(told(Some(&[])), [("operator".into(), ada, Some(at(9)), None)]);
        assert_eq!(that_hold(Some(&[]), None), []);
    }
}
