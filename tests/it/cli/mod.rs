//! The commands, against a real database.

mod enqueue;
