//! The identifiers that are used while a course is processed, each with its own type so that they cannot be confused.
//!
//! Pure: they are created elsewhere, because creating one needs a clock or randomness.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The primary key of a course in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RowId(pub i64);

/// Identifies a claim and the request that sends it. A version 7 UUID, so that ids sort by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BatchId(pub Uuid);

/// Identifies one run of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub Uuid);

/// The term of a leader's lease. Each new leader gets a higher one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Term(pub i64);

macro_rules! display_inner {
    ($($id:ident),+) => {
        $(impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        })+
    };
}

display_inner!(RowId, BatchId, InstanceId, Term);
