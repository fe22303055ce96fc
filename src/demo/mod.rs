//! The whole of course-sync in one process, on an embedded default that needs no account.
//!
//! May touch: child processes and the temp directory. The tests share [`postgres`].

pub mod postgres;
