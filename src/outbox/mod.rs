//! The Postgres edge: the only place that holds SQL.
//!
//! Each function runs one statement; the comment above it names the index that the statement uses. Every write is a
//! single statement and therefore its own transaction. There is no `BEGIN`, so a cancelled call cannot leave a
//! transaction open on a pooled connection. Callers run these functions to their end and never race them against a
//! timer.

mod apply;
pub mod attach;
pub mod audits;
pub mod changes;
pub mod claim;
pub mod connect;
mod database;
pub mod due;
pub mod error;
pub mod evidence;
pub mod failures;
mod from_row;
pub mod history;
mod ids;
pub mod integrity;
pub mod journal;
pub mod lease;
mod lenient;
pub mod listen;
pub mod long_transactions;
pub mod migrations;
pub mod ops;
pub mod overview;
pub mod pause;
mod pooler;
pub mod record;
pub mod recover;
pub mod reservations;
pub mod retention;
mod roots;
mod rows;
mod schema;
mod server;
mod session;
mod session_state;
pub mod stranded;
pub mod verify;

pub use database::{Database, DatabaseRef};
pub use error::OutboxError;
pub use server::Server;
pub use session::SessionMode;
