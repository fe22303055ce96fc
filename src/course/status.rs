//! The states of a course, and the transitions between them.
//!
//! ```text
//!              claim                Synced, Archived
//!   pending ─────────────▶ in_flight ─────────────▶ synced, archived ──┐
//!      ▲  ▲                 │  │  │     Failed                         │
//!      │  └──── Pending ────┘  │  └───────────────▶ failed ──┐         │
//!      │                       │ Unconfirmed           ▲     │         │
//!      │                       ▼                       │     │ a change, or
//!      └────── Pending ─── unconfirmed ── Failed ──────┘     │ retry   │ a change
//!      │                       │                             │         │
//!      │                       └── Synced, Archived ─────────┼─────────┤
//!      └─────────────────────────────────────────────────────┴─────────┘
//! ```
//!
//! A result that concerns an older revision than the row's leads to pending (`migrations/0017_changes.sql`).

use std::time::Duration;

use serde::Serialize;

use super::CourseError;

/// The states of a course, as the outbox stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Entered by the catalogue's insert, by a transition back, or by an operator's retry. Left by a claim. A crash
    /// changes nothing: the course was not sent.
    Pending,
    /// Entered by a claim, before a byte is sent. Left when the result is recorded. After a crash the next leader marks
    /// it unconfirmed.
    InFlight,
    /// Sent, outcome unknown. Left only by proof (a look-up in HubSpot) or by an operator's decision, never because
    /// time passed.
    Unconfirmed,
    /// HubSpot holds the record as the row says. Left by a change.
    Synced,
    /// HubSpot refused it permanently, or its attempts were used up. Left by a change, or by an operator's retry.
    Failed,
    /// The course is withdrawn: its record is in the recycle bin, or it never had one. Left by a change.
    Archived,
}

impl Status {
    /// Every status, in the order of a course's life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::InFlight, Self::Unconfirmed, Self::Synced, Self::Failed, Self::Archived];

    /// The status as the outbox stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Unconfirmed => "unconfirmed",
            Self::Synced => "synced",
            Self::Failed => "failed",
            Self::Archived => "archived",
        }
    }

    /// The status that the outbox stores as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a transition from this status to `to` is allowed.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Pending => to == Self::InFlight,
            Self::InFlight => to != Self::InFlight,
            Self::Unconfirmed => to != Self::InFlight,
            Self::Synced | Self::Failed | Self::Archived => to == Self::Pending,
        }
    }
}

/// The id of a record in HubSpot: not blank, at most 64 characters, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubSpotId(String);

impl HubSpotId {
    /// The id, if `text` is a valid one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_valid = !text.trim().is_empty() && text.len() <= 64 && !text.chars().any(char::is_control);
        is_valid.then(|| Self(text.to_owned()))
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How the HubSpot record of a course was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// The response to the create request named it.
    Created,
    /// The outcome of the create was unknown, and a look-up found the record.
    Confirmed,
    /// HubSpot held a record with this key before the course was sent: another writer created it.
    Adopted,
    /// HubSpot updated the record.
    Updated,
    /// The record needed no change, so nothing was sent.
    Unchanged,
}

/// What is not known about an unconfirmed course. The row stores it, so that no later step can treat an unknown outcome
/// as a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It is not known whether HubSpot created it.
    Unknown,
    /// HubSpot created it, but the id of the record is not known. It is never sent again.
    Created,
    /// HubSpot reports that a record holds its key, or another unique value of it.
    Conflict,
    /// HubSpot refused it, but an earlier request may have created it.
    Refused,
    /// It is not known whether HubSpot's record has the last change.
    Change,
}

impl Doubt {
    /// Every kind of doubt.
    pub const ALL: [Self; 5] = [Self::Unknown, Self::Created, Self::Conflict, Self::Refused, Self::Change];

    /// The doubt as the outbox stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Created => "created",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
            Self::Change => "change",
        }
    }

    /// The doubt that the outbox stores as `text`. Any other text counts as unknown, which is the most cautious choice.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|doubt| text == Some(doubt.as_str())).unwrap_or(Self::Unknown)
    }
}

/// What a result changes about one course. Each variant carries exactly the columns that its state needs, so no state
/// exists without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// HubSpot holds the record.
    Synced {
        /// The id of the record.
        hubspot_id: HubSpotId,
        /// How it was found.
        provenance: Provenance,
        /// What HubSpot reported beside the record, such as an association that failed.
        warning: Option<CourseError>,
    },
    /// The course is withdrawn, and HubSpot shows no live record of it.
    Archived {
        /// The record in the recycle bin; `None` if there never was one.
        hubspot_id: Option<HubSpotId>,
        /// What is remarkable about it, such as a record that was deleted permanently.
        remark: Option<CourseError>,
    },
    /// HubSpot refused it permanently, or its attempts were used up.
    Failed {
        /// Why.
        error: CourseError,
    },
    /// HubSpot created it, and its record was deleted since. An operator decides.
    Gone {
        /// The record.
        hubspot_id: HubSpotId,
        /// What happened.
        error: CourseError,
    },
    /// HubSpot certainly did not take it; it is sent again.
    Pending(Requeue),
    /// Sent, outcome unknown.
    Unconfirmed {
        /// What happened.
        error: CourseError,
        /// What is not known.
        doubt: Doubt,
        /// The largest batch in which it may be sent from now on, if a whole group is in doubt; at least 1.
        batch_limit: Option<u16>,
        /// How long to wait before the look-up.
        look_after: Duration,
    },
}

/// How a course that HubSpot certainly did not create returns to pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Requeue {
    /// It was not sent: the attempt does not count, and nothing else changes.
    NotSent,
    /// The account or an outage prevented it: only the status changes.
    Held,
    /// It is retried after a wait.
    Later {
        /// The error to store; `None` keeps the row's error.
        error: Option<CourseError>,
        /// How long to wait.
        after: Duration,
        /// Whether the course is suspected of causing the failure.
        suspicion: Suspicion,
    },
}

/// Whether a course is suspected of the failure of a request that named no course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// As before.
    Unchanged,
    /// It may have caused the failure: it is sent after the others.
    InBatch {
        /// The largest batch in which it may be sent from now on; at least 1.
        batch_limit: u16,
    },
    /// It failed in a request of its own while others passed: this counts towards `retry.max_attempts`.
    Single,
}

impl Suspicion {
    /// The largest batch in which it may be sent from now on; `None`: as before.
    #[must_use]
    pub fn batch_limit(self) -> Option<u16> {
        match self {
            Self::Unchanged => None,
            Self::InBatch { batch_limit } => Some(batch_limit),
            Self::Single => Some(1),
        }
    }
}

impl Transition {
    /// The state it leads to.
    #[must_use]
    pub fn status(&self) -> Status {
        match self {
            Self::Synced { .. } => Status::Synced,
            Self::Archived { .. } => Status::Archived,
            Self::Failed { .. } | Self::Gone { .. } => Status::Failed,
            Self::Pending(_) => Status::Pending,
            Self::Unconfirmed { .. } => Status::Unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allowed_transitions_match_the_diagram() {
        use Status::{Archived, Failed, InFlight, Pending, Synced, Unconfirmed};
        let arrows = [
            (Pending, InFlight),
            (InFlight, Pending),
            (InFlight, Unconfirmed),
            (InFlight, Synced),
            (InFlight, Failed),
            (InFlight, Archived),
            (Unconfirmed, Pending),
            (Unconfirmed, Unconfirmed),
            (Unconfirmed, Synced),
            (Unconfirmed, Failed),
            (Unconfirmed, Archived),
            (Synced, Pending),
            (Failed, Pending),
            (Archived, Pending),
        ];
        for from in Status::ALL {
            for to in Status::ALL {
                assert_eq!(from.may_become(to), arrows.contains(&(from, to)), "{from:?} → {to:?}");
            }
        }
    }

    #[test]
    fn a_status_is_parsed_as_it_is_stored() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!(Status::parse("done"), None);
    }

    #[test]
    fn a_blank_multiline_or_long_text_is_no_hubspot_id() {
        assert!(HubSpotId::parse("860247707").is_some());
        for bad in ["", "  ", "1\n2", &"9".repeat(65)] {
            assert!(HubSpotId::parse(bad).is_none(), "{bad:?} passed");
        }
    }
}
