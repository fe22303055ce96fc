//! Every decision, as pure functions over plain types: what a response means, how large a batch is, when to claim, when
//! to retry, when to pause.
//!
//! Values in, values out: `now` and `jitter` are arguments. Imports `course` only.

pub mod access;
pub mod attribution;
pub mod backlog;
pub mod backoff;
pub mod batch_size;
pub mod day;
pub mod drift;
pub mod explain;
pub mod gate;
pub mod key_property;
pub mod leader_report;
pub mod linger;
pub mod lookup_size;
pub mod outage;
pub mod poll;
pub mod properties;
pub mod queues;
pub mod quota_share;
pub mod read_result;
pub mod signal;
pub mod turns;
