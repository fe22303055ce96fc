//! The pauses as they are shown. Reads the account's gates and changes nothing.

use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use super::Account;
use crate::policy::pause::Reason;
use crate::telemetry::metrics::Operation;

/// A pause as `status`, `/readyz` and the leader's report show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PauseView {
    /// Why.
    pub reason: &'static str,
    /// What happened.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
    /// `read` where it stops look-ups alone; absent where it stops creates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
    /// When the next try is due; absent where only a person ends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// When it is over, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends: Option<Timestamp>,
}

impl Account {
    /// The reasons that stop creates and that the daemon cannot end by itself.
    #[must_use]
    pub fn stops(&self) -> Vec<PauseView> {
        self.view_of(|reason, operation| match reason {
            Reason::Token
            | Reason::Scopes
            | Reason::ObjectType
            | Reason::Schema
            | Reason::DailyQuota
            | Reason::Rejected => operation.is_none(),
            Reason::Operator | Reason::IntervalQuota | Reason::Unavailable => false,
        })
    }

    /// The pauses that hold: those that stop creates first.
    #[must_use]
    pub fn view(&self) -> Vec<PauseView> {
        self.view_of(|_, _| true)
    }

    pub(super) fn view_of(&self, is_wanted: impl Fn(Reason, Option<&'static str>) -> bool) -> Vec<PauseView> {
        let (now, clock) = (Instant::now(), Timestamp::now());
        let wall = |at: Instant| match at.checked_duration_since(now) {
            Some(ahead) => clock.checked_add(ahead),
            None => clock.checked_sub(now.saturating_duration_since(at)),
        };
        let gates = self.gates();
        let read = Some(Operation::Read.as_str());
        [(&gates.shared, None), (&gates.create, None), (&gates.read, read)]
            .into_iter()
            .flat_map(|(pauses, operation)| pauses.active().into_iter().map(move |pause| (pause, operation)))
            .filter(|((reason, _), operation)| is_wanted(*reason, *operation))
            .map(|((reason, pause), operation)| PauseView {
                reason: reason.as_str(),
                message: pause.message.clone(),
                since: wall(pause.since).unwrap_or(clock),
                operation,
                until: pause.until.and_then(|until| wall(until).ok()),
                ends: pause.ends.and_then(|ends| wall(ends).ok()),
            })
            .collect()
    }
}
