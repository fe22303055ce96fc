//! Decisions in any order of events: what must hold for all of them.

mod attribution;
mod pauses;
mod share;
