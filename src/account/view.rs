//! The account's pauses as reports show them. Reads the gates and changes nothing.

use std::time::Instant;

use jiff::Timestamp;

use crate::account::Account;
use crate::policy::gate::{Pause, Reason};
use crate::policy::leader_report::PauseReport;
use crate::telemetry::metrics::Operation;

impl Account {
    /// The pauses that stop creates and that the daemon cannot end on its own.
    #[must_use]
    pub fn blocking_pauses(&self) -> Vec<PauseReport> {
        self.select_pauses(|reason, operation| match reason {
            Reason::Token
            | Reason::Scopes
            | Reason::ObjectType
            | Reason::Schema
            | Reason::DailyQuota
            | Reason::Rejected => operation.is_none(),
            Reason::Operator | Reason::IntervalQuota | Reason::Unavailable | Reason::ArchiveLimit => false,
        })
    }

    /// The pauses in effect, those that stop creates first.
    #[must_use]
    pub fn pauses(&self) -> Vec<PauseReport> {
        self.select_pauses(|_, _| true)
    }

    /// When the pause for this reason ends, if known.
    pub(super) fn pause_end(&self, reason: Reason) -> Option<Timestamp> {
        self.select_pauses(|other, _| other == reason).first()?.ends
    }

    fn select_pauses(&self, is_selected: impl Fn(Reason, Option<&'static str>) -> bool) -> Vec<PauseReport> {
        let clock = ReportClock { instant: Instant::now(), timestamp: Timestamp::now() };
        let gates = self.gates();
        let (archive, read) = (Some(Operation::Archive.as_str()), Some(Operation::Read.as_str()));
        [(&gates.shared, None), (&gates.create, None), (&gates.archive, archive), (&gates.read, read)]
            .into_iter()
            .flat_map(|(pauses, operation)| pauses.active().into_iter().map(move |pause| (pause, operation)))
            .filter(|((reason, _), operation)| is_selected(*reason, *operation))
            .map(|((reason, pause), operation)| clock.report(reason, pause, operation))
            .collect()
    }
}

/// The same moment on both clocks: pauses are kept on the monotonic clock, reports show the time of day.
struct ReportClock {
    instant: Instant,
    timestamp: Timestamp,
}

impl ReportClock {
    fn report(&self, reason: Reason, pause: &Pause, operation: Option<&str>) -> PauseReport {
        PauseReport {
            reason: reason.into(),
            message: pause.message.clone(),
            since: Some(self.timestamp_of(pause.since).unwrap_or(self.timestamp)),
            author: None,
            operation: operation.map(str::to_owned),
            until: pause.until.and_then(|until| self.timestamp_of(until)),
            ends: pause.ends.and_then(|ends| self.timestamp_of(ends)),
        }
    }

    /// The timestamp of a monotonic instant; `None` if it is out of range.
    fn timestamp_of(&self, at: Instant) -> Option<Timestamp> {
        match at.checked_duration_since(self.instant) {
            Some(ahead) => self.timestamp.checked_add(ahead).ok(),
            None => self.timestamp.checked_sub(self.instant.saturating_duration_since(at)).ok(),
        }
    }
}
