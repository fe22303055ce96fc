//! course-sync: makes HubSpot hold the courses of a catalogue's Postgres outbox as their rows say.
//!
//! **The promise.** With a unique property, each course is created in HubSpot exactly once and ends as its row says, or
//! the row shows why not. No course is lost or duplicated, and the account's quota is neither wasted nor exceeded.
//!
//! **The path** of one course is in [`pipeline`], one file per stage:
//!
//! ```text
//! claim → batch → send → interpret → transition → record → reconcile
//! ClaimedCourse  Batch  Exchange  Verdict  Transition
//! ```
//!
//! **Imports point one way:** `cli demo admin` → `report daemon` → `pipeline` → `account runtime` → `outbox hubspot` →
//! `policy` → `hubspot::api` → `course`. `course`, `hubspot::api`, `policy` and the pure stages of `pipeline` have no
//! I/O, no clock and no randomness. `config` and `telemetry` serve everything above the pure code. The simulator is a
//! crate of its own (`crates/simulator`): it communicates with the client only through a socket.

pub mod account;
pub mod admin;
pub mod cli;
pub mod config;
pub mod course;
pub mod daemon;
pub mod demo;
pub mod hubspot;
pub mod outbox;
pub mod pipeline;
pub mod policy;
pub mod report;
pub mod runtime;
pub mod telemetry;
pub mod tls;
