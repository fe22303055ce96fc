//! The commands, against a real database.

mod commands;
mod demo;
mod enqueue;
mod readme;
mod texts;
