//! The embedded default.

mod postgres;
