//! The Postgres edge: the only place that holds SQL.
//!
//! One statement a function, with the index that serves it named above. Every write is a single
//! statement and so its own transaction: there is no `BEGIN` whose cancellation could poison a pooled
//! connection. Callers run these functions to their end and never race them against a timer.

pub mod audit;
pub mod claim;
pub mod connect;
mod database;
pub mod enqueue;
pub mod error;
pub mod failures;
pub mod history;
pub mod horizon;
pub mod lease;
pub mod listen;
pub mod pause;
pub mod preview;
pub mod record;
pub mod recover;
pub mod report;
pub mod requests;
pub mod resolve;
pub mod retention;
pub mod retry;
pub mod rights;
mod rows;
pub mod verify;

pub use database::{Database, Reach, Sessions};
pub use error::OutboxError;
