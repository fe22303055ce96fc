//! A course and everything about it, as plain types: parsed once, valid afterwards.
//!
//! No I/O, no clock, no HTTP, no SQL. Imports nothing of this crate.

mod associations;
mod batch;
mod error;
mod ids;
mod key;
mod patch;
mod properties;
mod status;
mod unconfirmed;
mod verdict;
mod write;

pub use associations::{Association, AssociationCategory, AssociationType, Associations};
pub use batch::{Batch, ClaimedCourse, HeldRecord, MAX_COURSES};
pub use error::{Category, CourseError, clip};
pub use ids::{BatchId, InstanceId, RowId, Term};
pub use key::{CourseKey, fold_key};
pub use patch::{HeldProperties, Patch, patch};
pub use properties::{Properties, PropertyValue, is_property_name};
pub use status::{Doubt, HubSpotId, Provenance, Requeue, Status, Suspicion, Transition};
pub use unconfirmed::UnconfirmedCourse;
pub use verdict::{NotTaken, Verdict};
pub use write::Write;

/// Why an external value is not a valid key, properties object or associations list.
///
/// The text names the invalid part, not the course: the caller adds the line or the row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

impl InvalidValue {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
