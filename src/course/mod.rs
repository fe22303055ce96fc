//! A course and everything that can be said of one, as plain types: parsed once, valid after.
//!
//! No I/O, no clock, no HTTP, no SQL. Imports nothing of this crate.

mod associations;
mod error;
mod key;
mod properties;
mod status;

pub use associations::{Association, AssociationCategory, AssociationType, Associations};
pub use error::{Category, CourseError, clip};
pub use key::{CourseKey, folded};
pub use properties::{Properties, PropertyValue};
pub use status::{Again, Doubt, HubSpotId, Provenance, Status, Suspicion, Transition};

/// Why a value from outside is not a course's key, properties or associations.
///
/// The text stands on its own and names the part that is wrong, not the course: whoever reports it
/// knows the line or the row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

impl Invalid {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
