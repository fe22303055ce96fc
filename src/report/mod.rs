//! The reports for operators: the state of the outbox (`status`), the pauses (`pauses`), one course (`explain`).
//!
//! Reads the database through `outbox` and describes it by the rules of `policy`, so any instance can make a report,
//! and a command can without a running daemon. `cli` and `admin` show the reports.

pub mod explain;
pub mod gauges;
pub mod pauses;
pub mod status;
