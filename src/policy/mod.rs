//! Every decision, as pure functions over plain types: what an answer means, how batches are made,
//! when to claim, to try again, to stand still.
//!
//! Values in, values out: `now` and `jitter` are arguments. Imports `course` only.

pub mod access;
pub mod address;
pub mod answer;
pub mod attribution;
pub mod backlog;
pub mod batch;
pub mod batch_size;
pub mod day;
pub mod explain;
pub mod interpret;
pub mod key_property;
pub mod lookup;
pub mod pause;
pub mod reconcile;
pub mod retry;
pub mod schema;
pub mod share;
pub mod spell;
pub mod turns;
