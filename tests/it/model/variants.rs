//! The protocol as designed, and broken variants without one of its parts. The checker must find the violation of each
//! variant, which shows that the check is effective.

use super::properties::{
    INTENT_FIRST, ONE_INTENT, ONE_RECORD, SETTLES_AT_REST, STALE_IS_HARMLESS, SYNCED_IS_FINAL,
};

/// A protocol, with a limited number of faults so that the check ends.
#[derive(Debug, Clone)]
pub struct Protocol {
    pub courses: usize,
    /// The number of faults, of any kind, in one run.
    pub faults: u8,
    pub uniqueness: Uniqueness,
    pub unconfirmed: UnconfirmedPolicy,
    pub orphans: Orphans,
    pub guard: Guard,
    pub claiming: Claiming,
    pub claim_check: ClaimCheck,
    pub locked_rows: LockedRows,
    pub retention: Retention,
}

/// How HubSpot handles a key that a record already has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    /// HubSpot refuses the second record, also for concurrent requests: `hubspot.unique_property`.
    Atomic,
    /// HubSpot checks for a record with the key, and inserts in a later step.
    LooksFirst,
    /// HubSpot does not check keys.
    None,
}

/// What happens to unconfirmed courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnconfirmedPolicy {
    /// They are looked up, and sent again if HubSpot has no record.
    LookUp,
    /// They are held for an operator: `outbox.unconfirmed = "hold"`.
    Hold,
    /// They are sent again: `outbox.unconfirmed = "resend"`.
    Resend,
}

/// What a leader does with the courses that earlier terms, or dead tasks, left in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    Unconfirmed,
    /// They are sent again, as in queues with a visibility timeout: the sender is assumed to be dead.
    Pending,
    /// They stay in flight.
    InFlight,
}

/// Which rows a result may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// Pending rows that are in flight for the batch, and unconfirmed rows of the batch.
    IntentAndBatch,
    /// All pending and unconfirmed rows.
    StatusOnly,
    /// Rows in flight for the batch, and all rows of the batch, whatever their status.
    BatchOnly,
}

/// Whether the intent is committed before the request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    BeforeSend,
    AfterSend,
}

/// Why no course is in two open intents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimCheck {
    /// A claim leaves out the courses in flight, and fails if another claim was committed since its snapshot.
    CoursesAndNumber,
    /// Claims have no numbers.
    CoursesOnly,
    /// A claim takes any pending course.
    NumberOnly,
}

/// What happens to a course whose row is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockedRows {
    /// It stays in flight until its row is written.
    StayInFlight,
    /// After its result was recorded, it is not in flight any more, although its row was not written.
    DroppedByRecord,
    /// The same after it was to be marked unconfirmed.
    DroppedByMark,
}

/// Which closed claims are deleted from the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Old ones, but never the last one.
    KeepsLastClaim,
    /// All old ones. The number of the last claim is given again.
    DeletesLastClaim,
}

/// The protocol with `hubspot.unique_property`: HubSpot refuses a second record.
pub fn designed(courses: usize, faults: u8) -> Protocol {
    Protocol {
        courses,
        faults,
        uniqueness: Uniqueness::Atomic,
        unconfirmed: UnconfirmedPolicy::LookUp,
        orphans: Orphans::Unconfirmed,
        guard: Guard::IntentAndBatch,
        claiming: Claiming::BeforeSend,
        claim_check: ClaimCheck::CoursesAndNumber,
        locked_rows: LockedRows::StayInFlight,
        retention: Retention::KeepsLastClaim,
    }
}

/// The protocol without a unique property and with `outbox.unconfirmed = "hold"`: no duplicates either, but some
/// courses wait for an operator.
pub fn with_hold(courses: usize, faults: u8) -> Protocol {
    Protocol {
        uniqueness: Uniqueness::None,
        unconfirmed: UnconfirmedPolicy::Hold,
        ..designed(courses, faults)
    }
}

/// A protocol that violates a property. The checker must find the violation.
pub struct BrokenVariant {
    pub name: &'static str,
    pub protocol: Protocol,
    pub violates: &'static str,
}

/// The broken variants, each with the number of faults that is needed to find the violation.
pub fn broken_variants() -> Vec<BrokenVariant> {
    let variant = |name, violates, protocol| BrokenVariant { name, protocol, violates };
    let (designed, with_hold) = (|faults| designed(1, faults), |faults| with_hold(1, faults));
    vec![
        variant(
            "a look-up before the resend, without uniqueness",
            ONE_RECORD,
            Protocol { uniqueness: Uniqueness::None, ..designed(1) },
        ),
        variant(
            "a resend without a look-up, without uniqueness",
            ONE_RECORD,
            Protocol { unconfirmed: UnconfirmedPolicy::Resend, ..with_hold(1) },
        ),
        variant(
            "a uniqueness check that is not atomic with the insert",
            ONE_RECORD,
            Protocol { uniqueness: Uniqueness::LooksFirst, ..designed(1) },
        ),
        variant(
            "courses of earlier terms sent again without a look-up, without uniqueness",
            ONE_RECORD,
            Protocol { orphans: Orphans::Pending, ..with_hold(1) },
        ),
        variant(
            "courses of earlier terms left in flight",
            SETTLES_AT_REST,
            Protocol { orphans: Orphans::InFlight, ..designed(1) },
        ),
        variant(
            "claims without numbers: two statements have the same snapshot",
            ONE_INTENT,
            Protocol { claim_check: ClaimCheck::CoursesOnly, ..designed(1) },
        ),
        variant(
            "claims without numbers, without uniqueness",
            ONE_RECORD,
            Protocol { claim_check: ClaimCheck::CoursesOnly, ..with_hold(2) },
        ),
        variant(
            "a journal without its last claim: the number is given again",
            ONE_INTENT,
            Protocol { retention: Retention::DeletesLastClaim, ..designed(2) },
        ),
        variant(
            "a claim that does not leave out the courses in flight",
            ONE_INTENT,
            Protocol { claim_check: ClaimCheck::NumberOnly, ..designed(0) },
        ),
        variant(
            "a claim that does not leave out the courses in flight, without uniqueness",
            ONE_RECORD,
            Protocol { claim_check: ClaimCheck::NumberOnly, ..with_hold(0) },
        ),
        variant(
            "a locked row that a recorded result drops, without uniqueness",
            ONE_RECORD,
            Protocol { locked_rows: LockedRows::DroppedByRecord, ..with_hold(1) },
        ),
        variant(
            "a locked row that is dropped instead of marked unconfirmed, without uniqueness",
            ONE_RECORD,
            Protocol { locked_rows: LockedRows::DroppedByMark, ..with_hold(1) },
        ),
        variant(
            "a result recorded by the status of the row only: it changes a row claimed again",
            STALE_IS_HARMLESS,
            Protocol { guard: Guard::StatusOnly, ..designed(1) },
        ),
        variant(
            "a result recorded by the status of the row only, without uniqueness",
            ONE_RECORD,
            Protocol { guard: Guard::StatusOnly, ..with_hold(3) },
        ),
        variant(
            "a late result recorded without checking the status",
            SYNCED_IS_FINAL,
            Protocol { guard: Guard::BatchOnly, ..designed(2) },
        ),
        variant(
            "a claim that commits after the send",
            INTENT_FIRST,
            Protocol { claiming: Claiming::AfterSend, ..with_hold(0) },
        ),
        variant(
            "a claim that commits after the send, without uniqueness",
            ONE_RECORD,
            Protocol { claiming: Claiming::AfterSend, ..with_hold(1) },
        ),
    ]
}
