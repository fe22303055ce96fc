//! The protocol as designed, and its parts. Without any one of them the checker must find a violation.

use super::properties::{CONVERGES, IN_ORDER, ONE_OPEN, SYNCED_IS_TRUE};
use super::state::Content;

/// A protocol, with a limited number of writes and faults so that the check ends.
#[derive(Debug, Clone)]
pub struct Protocol {
    /// The course is not created yet. Otherwise its record exists.
    pub is_new: bool,
    /// The number of writes by the catalogue.
    pub writes: u8,
    /// The number of faults, of any kind, in one run.
    pub faults: u8,
    /// What the catalogue may write.
    pub contents: &'static [Content],
    /// The part that is left out.
    pub without: Option<Part>,
}

/// The parts of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A claim leaves out a course of an open request.
    OpenRequestsAreLeftOut,
    /// A takeover marks the courses of open requests unconfirmed.
    MarkOrphans,
    /// The record statement keeps a row pending that has a newer revision.
    RevisionOfRecord,
    /// The settlement of a read is refused if the row has a newer revision.
    RevisionOfSettlement,
    /// After the success of an older revision, `hubspot_properties` is what was sent.
    HeldIsWhatWasSent,
    /// After an unknown outcome the record is read before anything is sent.
    LookUp,
    /// After a resend the record is read once more.
    Recheck,
    /// The recheck knows that a late request may archive the record.
    LateArchive,
    /// What was sent is also known if a takeover has marked the course unconfirmed before its success is recorded.
    HeldOfLateAnswer,
    /// A read that finds the values which were sent leads to a recheck if it does not prove that the request was
    /// executed: the record may have held the values before, or received them from an earlier request.
    RecheckAfterUnprovedSuccess,
    /// A record that is found by its key may hold another revision than the last request sent.
    ContentOfFoundRecord,
    /// A record that was archived for an earlier revision does not count as a later one.
    RevisionOfArchive,
    /// A withdrawn course is looked up by its key before its archive if a request to create it may be executed late.
    LookUpOfWithdrawn,
}

/// What the catalogue may write. A withdrawal keeps the value of the row.
const CONTENTS: [Content; 4] = [
    Content { value: 1, archived: false },
    Content { value: 0, archived: false },
    Content { value: 2, archived: false },
    Content { value: 0, archived: true },
];

impl Protocol {
    /// Whether this part is not left out.
    pub fn has(&self, part: Part) -> bool {
        self.without != Some(part)
    }
}

/// A course whose values change: also back, and to no value.
pub fn values(writes: u8, faults: u8) -> Protocol {
    Protocol { is_new: false, writes, faults, contents: &CONTENTS[..3], without: None }
}

/// A course that is changed, withdrawn and offered again.
pub fn lifecycle(writes: u8, faults: u8) -> Protocol {
    Protocol { contents: &CONTENTS[1..], ..values(writes, faults) }
}

/// A course that is not created yet.
pub fn new_course(writes: u8, faults: u8) -> Protocol {
    Protocol { is_new: true, ..lifecycle(writes, faults) }
}

/// A protocol without one of its parts, and the property that it violates.
pub struct BrokenVariant {
    pub protocol: Protocol,
    pub violates: &'static str,
}

/// The broken variants, each with the number of writes and faults that is needed to find the violation.
pub fn broken_variants() -> Vec<BrokenVariant> {
    let variant = |part, protocol, violates| BrokenVariant {
        protocol: Protocol { without: Some(part), ..protocol },
        violates,
    };
    vec![
        variant(Part::OpenRequestsAreLeftOut, values(1, 0), ONE_OPEN),
        variant(Part::MarkOrphans, values(1, 1), CONVERGES),
        variant(Part::RevisionOfRecord, values(2, 0), SYNCED_IS_TRUE),
        variant(Part::RevisionOfRecord, values(2, 0), CONVERGES),
        variant(Part::RevisionOfSettlement, values(2, 1), CONVERGES),
        variant(Part::HeldIsWhatWasSent, values(2, 0), CONVERGES),
        variant(Part::LookUp, values(2, 1), CONVERGES),
        variant(Part::LookUp, values(2, 1), IN_ORDER),
        variant(Part::Recheck, values(2, 1), CONVERGES),
        variant(Part::LateArchive, lifecycle(2, 1), CONVERGES),
        variant(Part::HeldOfLateAnswer, values(2, 1), CONVERGES),
        variant(Part::RecheckAfterUnprovedSuccess, values(2, 2), CONVERGES),
        variant(Part::ContentOfFoundRecord, new_course(1, 1), CONVERGES),
        variant(Part::ContentOfFoundRecord, lifecycle(3, 1), CONVERGES),
        variant(Part::RevisionOfArchive, lifecycle(3, 1), SYNCED_IS_TRUE),
        variant(Part::LookUpOfWithdrawn, new_course(1, 1), CONVERGES),
        variant(Part::LookUpOfWithdrawn, lifecycle(3, 1), CONVERGES),
    ]
}
