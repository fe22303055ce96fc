//! The values of the labels of metrics: closed sets. Pure.

use crate::course::Write;

/// The outcome of a course, as counted in `courses_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum CourseOutcome {
    Synced,
    Adopted,
    Failed,
    Deferred,
    Unconfirmed,
    Updated,
    Archived,
}

impl CourseOutcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Synced,
        Self::Adopted,
        Self::Failed,
        Self::Deferred,
        Self::Unconfirmed,
        Self::Updated,
        Self::Archived,
    ];

    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Adopted => "adopted",
            Self::Failed => "failed",
            Self::Deferred => "deferred",
            Self::Unconfirmed => "unconfirmed",
            Self::Updated => "updated",
            Self::Archived => "archived",
        }
    }
}

/// The purpose of a request to HubSpot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Operation {
    Create,
    Update,
    Archive,
    Read,
    Schema,
    Token,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 6] =
        [Self::Create, Self::Update, Self::Archive, Self::Read, Self::Schema, Self::Token];

    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Archive => "archive",
            Self::Read => "read",
            Self::Schema => "schema",
            Self::Token => "token",
        }
    }
}

impl From<Write> for Operation {
    fn from(write: Write) -> Self {
        match write {
            Write::Create => Self::Create,
            Write::Update => Self::Update,
            Write::Archive => Self::Archive,
        }
    }
}

/// Why the daemon checked the outbox for courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Wakeup {
    Notify,
    Poll,
    Completion,
    Resume,
}

impl Wakeup {
    /// Every reason.
    pub const ALL: [Self; 4] = [Self::Notify, Self::Poll, Self::Completion, Self::Resume];

    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Poll => "poll",
            Self::Completion => "completion",
            Self::Resume => "resume",
        }
    }
}

/// One of the account's quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Window {
    Interval,
    Daily,
}

impl Window {
    /// The value of the label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Interval => "interval",
            Self::Daily => "daily",
        }
    }
}
