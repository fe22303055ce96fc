//! The commands, against a real database.

mod demo;
mod enqueue;
