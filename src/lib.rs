//! course-sync: creates the courses of a catalogue's Postgres outbox in HubSpot.
//!
//! **The promise.** Each course is created in HubSpot exactly once, or its row says why not. Nothing
//! is lost, nothing is duplicated, the account's quota is never wasted and never overrun.
//!
//! **The flow** goes one way, as plain values:
//!
//! ```text
//! enqueue → claim → batch → send → interpret → record
//!           Claimed  Batch  Exchange  Verdict    Transition
//! ```
//!
//! **Imports point one way:** `cli demo admin` → `daemon` → `outbox hubspot` → `policy` → `course`.
//! The edges (`outbox`: SQL, `hubspot`: HTTP) know the pure types; `policy` and `course` know no edge,
//! no clock and no randomness. `config` and `telemetry` serve everything above `policy`, never it.
//! `simulator` imports none of them: it meets the client at the socket only.

pub mod admin;
pub mod cli;
pub mod config;
pub mod course;
pub mod daemon;
pub mod demo;
pub mod hubspot;
pub mod outbox;
pub mod policy;
pub mod simulator;
pub mod telemetry;
