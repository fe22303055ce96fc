//! The pauses in effect: those that the leader reports, and those that are stored in the database. Pure.

use crate::outbox::pause::DurablePause;
use crate::policy::leader_report::{PauseReport, ReportedReason};

/// Merges the pauses that the leader reports with the stored ones. The leader may not have read a stored pause yet,
/// and only the stored pause has its author and its begin before the last restart.
#[must_use]
pub fn merge_pauses(reported: Option<Vec<PauseReport>>, stored: &[DurablePause]) -> Vec<PauseReport> {
    let mut pauses = reported.unwrap_or_default();
    for pause in stored {
        let reason = ReportedReason::from(pause.reason.clone());
        match pauses.iter_mut().find(|reported| reported.reason == reason) {
            Some(reported) => {
                reported.author.clone_from(&pause.author);
                reported.since = Some(pause.since);
            }
            None => pauses.push(PauseReport {
                reason,
                message: pause.message.clone(),
                since: Some(pause.since),
                author: pause.author.clone(),
                operation: None,
                until: None,
                ends: pause.until,
            }),
        }
    }
    pauses
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::policy::gate::Reason;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn reported(reason: Reason, since: i64, until: Option<i64>) -> PauseReport {
        PauseReport {
            reason: reason.into(),
            message: "m".into(),
            since: Some(at(since)),
            author: None,
            operation: None,
            until: until.map(at),
            ends: None,
        }
    }

    #[test]
    fn a_pause_that_is_both_reported_and_stored_is_shown_once_with_its_author() {
        let stored = DurablePause {
            reason: "operator".to_owned(),
            message: "m".into(),
            author: Some("Ada".into()),
            since: at(9),
            until: None,
            seconds_left: None,
        };
        let operator = PauseReport { author: Some("Ada".into()), ..reported(Reason::Operator, 9, None) };
        let token = reported(Reason::Token, 20, Some(99));
        let by_leader = vec![reported(Reason::Operator, 10, None), token.clone()];
        let stored = [stored];
        assert_eq!(merge_pauses(Some(by_leader), &stored), [operator.clone(), token]);
        // The leader has not read the row yet, or there is no leader.
        assert_eq!(merge_pauses(Some(Vec::new()), &stored), vec![operator.clone()]);
        assert_eq!(merge_pauses(None, &stored), vec![operator]);
        assert_eq!(merge_pauses(None, &[]), []);
    }
}
