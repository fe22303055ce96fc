//! HubSpot's API as plain types: what is sent, what comes back, what a status means. Pure: no socket, no clock, no
//! configuration; imports only `course`.

pub mod account;
pub mod address;
pub mod decode;
pub mod error;
mod lenient;
pub mod limits;
pub mod listing;
pub(crate) mod oauth;
pub mod outcome;
pub mod properties;
pub mod read;
pub mod record_state;
pub mod request;
pub mod response;
pub mod status;

/// HubSpot's object type of courses.
pub(crate) const OBJECT_TYPE: &str = "0-410";
