//! The protocol as designed, and what it would be without one of its parts. Were that not noticed, the
//! check would see nothing.

use super::properties::{ENDS_WELL, INTENT_FIRST, ONE_RECORD, STALE_IS_HARMLESS, SYNCED_IS_FINAL};

/// The protocol, with its faults bounded so that the check ends.
#[derive(Debug, Clone)]
pub struct Protocol {
    pub courses: usize,
    /// How many faults may happen in one run, of whatever kind.
    pub faults: u8,
    pub uniqueness: Uniqueness,
    pub doubts: Doubts,
    pub orphans: Orphans,
    pub guard: Guard,
    pub claiming: Claiming,
}

/// What HubSpot does about a key that some record carries already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Uniqueness {
    /// It refuses the second record, however close the two come: `hubspot.unique_property`.
    Atomic,
    /// It looks for a holder, and inserts later.
    LooksFirst,
    /// Nothing.
    None,
}

/// What is done about courses in doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubts {
    /// HubSpot is asked; what it does not hold is sent again.
    LookUp,
    /// They wait for a person: `outbox.unconfirmed = "hold"`.
    Hold,
    /// They are sent again: `outbox.unconfirmed = "resend"`.
    Resend,
}

/// What a new leader makes of the courses that older terms left in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orphans {
    Unconfirmed,
    /// As queues with a visibility timeout do: whoever was to send them is taken for dead.
    Pending,
    /// Nothing.
    InFlight,
}

/// Which rows an answer may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    BatchAndStatus,
    StatusOnly,
    BatchOnly,
}

/// Whether the intent to send is in the database before a byte is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claiming {
    BeforeSend,
    AfterSend,
}

/// With `hubspot.unique_property`: HubSpot refuses a second record.
pub fn designed(courses: usize, faults: u8) -> Protocol {
    Protocol {
        courses,
        faults,
        uniqueness: Uniqueness::Atomic,
        doubts: Doubts::LookUp,
        orphans: Orphans::Unconfirmed,
        guard: Guard::BatchAndStatus,
        claiming: Claiming::BeforeSend,
    }
}

/// Without it, and `outbox.unconfirmed = "hold"`: no duplicate either, at the price of courses that wait
/// for a person.
pub fn holding(courses: usize, faults: u8) -> Protocol {
    Protocol { uniqueness: Uniqueness::None, doubts: Doubts::Hold, ..designed(courses, faults) }
}

/// A protocol that breaks a property, and must be caught at it.
pub struct Broken {
    pub what: &'static str,
    pub protocol: Protocol,
    pub breaks: &'static str,
}

/// Each with the faults that it takes to notice.
pub fn broken() -> Vec<Broken> {
    let with = |what, breaks, protocol| Broken { what, protocol, breaks };
    let (designed, holding) = (|faults| designed(1, faults), |faults| holding(1, faults));
    vec![
        with(
            "a read before the resend, and no uniqueness",
            ONE_RECORD,
            Protocol { uniqueness: Uniqueness::None, ..designed(1) },
        ),
        with(
            "a resend without a read, and no uniqueness",
            ONE_RECORD,
            Protocol { doubts: Doubts::Resend, ..holding(1) },
        ),
        with(
            "a uniqueness that HubSpot checks before it inserts",
            ONE_RECORD,
            Protocol { uniqueness: Uniqueness::LooksFirst, ..designed(1) },
        ),
        with(
            "courses sent again because time passed, and no uniqueness",
            ONE_RECORD,
            Protocol { orphans: Orphans::Pending, ..holding(1) },
        ),
        with(
            "courses that a dead daemon left in flight, left alone",
            ENDS_WELL,
            Protocol { orphans: Orphans::InFlight, ..designed(1) },
        ),
        with(
            "an answer recorded for whatever batch: it changes a row claimed since",
            STALE_IS_HARMLESS,
            Protocol { guard: Guard::StatusOnly, ..designed(1) },
        ),
        with(
            "an answer recorded for whatever batch, and no uniqueness",
            ONE_RECORD,
            Protocol { guard: Guard::StatusOnly, ..holding(2) },
        ),
        with(
            "an answer recorded whatever the status",
            SYNCED_IS_FINAL,
            Protocol { guard: Guard::BatchOnly, ..designed(2) },
        ),
        with(
            "a claim that commits after the send",
            INTENT_FIRST,
            Protocol { claiming: Claiming::AfterSend, ..holding(0) },
        ),
        with(
            "a claim that commits after the send, and no uniqueness",
            ONE_RECORD,
            Protocol { claiming: Claiming::AfterSend, ..holding(1) },
        ),
    ]
}
