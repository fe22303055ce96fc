//! The protocol as designed, and broken variants without one of its parts. The checker must find the violation of each
//! variant, which shows that the check is effective.

use super::properties::{INTENT_FIRST, ONE_RECORD, SETTLES_AT_REST, STALE_IS_HARMLESS, SYNCED_IS_FINAL};

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

/// What a new leader does with the courses that earlier terms left in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    Unconfirmed,
    /// They are pending again, as in queues with a visibility timeout: the sender is assumed to be dead.
    Pending,
    /// They stay in flight.
    InFlight,
}

/// Which rows a response may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    BatchAndStatus,
    StatusOnly,
    BatchOnly,
}

/// Whether the intent is committed before the request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    BeforeSend,
    AfterSend,
}

/// The protocol with `hubspot.unique_property`: HubSpot refuses a second record.
pub fn designed(courses: usize, faults: u8) -> Protocol {
    Protocol {
        courses,
        faults,
        uniqueness: Uniqueness::Atomic,
        unconfirmed: UnconfirmedPolicy::LookUp,
        orphans: Orphans::Unconfirmed,
        guard: Guard::BatchAndStatus,
        claiming: Claiming::BeforeSend,
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
            "a result recorded without checking the batch: it changes a row claimed again",
            STALE_IS_HARMLESS,
            Protocol { guard: Guard::StatusOnly, ..designed(1) },
        ),
        variant(
            "a result recorded without checking the batch, without uniqueness",
            ONE_RECORD,
            Protocol { guard: Guard::StatusOnly, ..with_hold(2) },
        ),
        variant(
            "a result recorded without checking the status",
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
