//! The life of a course: its states, and the transitions between them.
//!
//! ```text
//!              claim                    Synced
//!   pending ─────────────▶ in_flight ─────────────▶ synced
//!      ▲  ▲                 │  │  │     Failed
//!      │  └──── Pending ────┘  │  └───────────────▶ failed ──┐
//!      │                       │ Unconfirmed           ▲     │
//!      │                       ▼                       │     │ a person's retry
//!      └────── Pending ─── unconfirmed ── Failed ──────┘     │
//!      │                       │                             │
//!      │                       └── Synced ──▶ synced         │
//!      └─────────────────────────────────────────────────────┘
//! ```

use std::time::Duration;

use serde::Serialize;

use super::CourseError;

/// The five states of a course, as the outbox stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Entered by the catalogue's insert, by a transition back, by a person's retry. Left by a claim.
    /// A crash changes nothing: it was not sent.
    Pending,
    /// Entered by a claim, before a byte is sent. Left by the record of the answer. After a crash
    /// the next leader makes it unconfirmed.
    InFlight,
    /// Sent, outcome unknown. Left only by proof (HubSpot was asked) or by a person's word,
    /// never because time passed.
    Unconfirmed,
    /// HubSpot holds the record. Final.
    Synced,
    /// HubSpot refused it for good, or its attempts ran out. Left only by a person's retry.
    Failed,
}

impl Status {
    /// Every status, in the order of a course's life.
    pub const ALL: [Self; 5] = [Self::Pending, Self::InFlight, Self::Unconfirmed, Self::Synced, Self::Failed];

    /// The status as the outbox stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::InFlight => "in_flight",
            Self::Unconfirmed => "unconfirmed",
            Self::Synced => "synced",
            Self::Failed => "failed",
        }
    }

    /// The status that the outbox stores as `text`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether a record of an answer may take a course from here to `to`.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        match self {
            Self::Pending => to == Self::InFlight,
            Self::InFlight => to != Self::InFlight,
            Self::Unconfirmed => to != Self::InFlight,
            Self::Failed => to == Self::Pending,
            Self::Synced => false,
        }
    }
}

/// A record's identifier in HubSpot: not blank, at most 64 characters, no control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HubSpotId(String);

impl HubSpotId {
    /// The identifier, if `text` can be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let usable = !text.trim().is_empty() && text.len() <= 64 && !text.chars().any(char::is_control);
        usable.then(|| Self(text.to_owned()))
    }

    /// The identifier's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How a course's record in HubSpot came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// HubSpot's answer to the create named it.
    Created,
    /// It was in doubt whether HubSpot had created it, and HubSpot holds it.
    Confirmed,
    /// HubSpot held it before it was ever sent: somebody else made it under the same key.
    Adopted,
}

/// What is in doubt about an unconfirmed course. It stands in the row, so that no later step can read an unknown
/// outcome as a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// Whether HubSpot created it.
    Unknown,
    /// HubSpot created it; which record it is, is not known. It is never sent again.
    Created,
    /// HubSpot reports that a record holds its key, or another unique value of it.
    Conflict,
    /// HubSpot refused it, but an earlier request may have created it.
    Refused,
}

impl Doubt {
    /// Every kind of doubt.
    pub const ALL: [Self; 4] = [Self::Unknown, Self::Created, Self::Conflict, Self::Refused];

    /// The doubt as the outbox stores it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Created => "created",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }

    /// The doubt that the outbox stores as `text`. What is not readable is unknown: the most cautious reading.
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|doubt| text == Some(doubt.as_str())).unwrap_or(Self::Unknown)
    }
}

/// What the record of an answer does to one course. Each variant carries exactly the columns that
/// its state demands, so no state exists without them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Transition {
    /// HubSpot holds the record.
    Synced {
        /// The record's identifier.
        hubspot_id: HubSpotId,
        /// How it came to be known.
        provenance: Provenance,
        /// What HubSpot reported beside the record, such as an association that failed.
        warning: Option<CourseError>,
    },
    /// HubSpot refused it for good, or its attempts ran out.
    Failed {
        /// Why.
        error: CourseError,
    },
    /// HubSpot certainly did not take it; it goes again.
    Pending(Again),
    /// Sent, outcome unknown.
    Unconfirmed {
        /// What happened.
        error: CourseError,
        /// What is in doubt.
        doubt: Doubt,
        /// The largest batch it may travel in from now on, where the doubt is about a group; at least 1.
        batch_limit: Option<u16>,
        /// How long to wait before HubSpot is asked.
        look_after: Duration,
    },
}

/// How a course that HubSpot certainly did not take goes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Again {
    /// Nothing left this machine: the attempt is given back, nothing else changes.
    NotSent,
    /// The account or the world stood in the way: nothing but the status changes.
    Held,
    /// Later.
    Later {
        /// What HubSpot answered; `None` keeps the row's error.
        error: Option<CourseError>,
        /// How long to wait.
        after: Duration,
        /// What is known against the course.
        suspicion: Suspicion,
    },
}

/// What a request that failed without naming a course says against one of its courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suspicion {
    /// Nothing new.
    Unchanged,
    /// It may be the course that the request failed for: it goes behind the others.
    Among {
        /// The largest batch it may travel in from now on; at least 1.
        batch_limit: u16,
    },
    /// It failed alone while others passed: this counts towards `retry.max_attempts`.
    Alone,
}

impl Suspicion {
    /// The largest batch it may travel in from now on; `None`: as before.
    #[must_use]
    pub fn batch_limit(self) -> Option<u16> {
        match self {
            Self::Unchanged => None,
            Self::Among { batch_limit } => Some(batch_limit),
            Self::Alone => Some(1),
        }
    }
}

impl Transition {
    /// The state it leads to.
    #[must_use]
    pub fn to(&self) -> Status {
        match self {
            Self::Synced { .. } => Status::Synced,
            Self::Failed { .. } => Status::Failed,
            Self::Pending(_) => Status::Pending,
            Self::Unconfirmed { .. } => Status::Unconfirmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_diagram_as_a_table() {
        use Status::{Failed, InFlight, Pending, Synced, Unconfirmed};
        let arrows = [
            (Pending, InFlight),
            (InFlight, Pending),
            (InFlight, Unconfirmed),
            (InFlight, Synced),
            (InFlight, Failed),
            (Unconfirmed, Pending),
            (Unconfirmed, Unconfirmed),
            (Unconfirmed, Synced),
            (Unconfirmed, Failed),
            (Failed, Pending),
        ];
        for from in Status::ALL {
            for to in Status::ALL {
                assert_eq!(from.may_become(to), arrows.contains(&(from, to)), "{from:?} → {to:?}");
            }
        }
    }

    #[test]
    fn a_status_is_read_as_it_is_written() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
        }
        assert_eq!(Status::parse("done"), None);
    }

    #[test]
    fn what_may_be_an_identifier() {
        assert!(HubSpotId::parse("860247707").is_some());
        for bad in ["", "  ", "1\n2", &"9".repeat(65)] {
            assert!(HubSpotId::parse(bad).is_none(), "{bad:?} passed");
        }
    }
}
