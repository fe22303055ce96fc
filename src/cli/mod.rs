//! The commands, one file each: what a person asks for, and how the answer reads.
//!
//! Results go to stdout, progress and errors to stderr.

pub mod enqueue;

/// A mistake in how a command was called, as opposed to a failure of what it did: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);
