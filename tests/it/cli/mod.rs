//! The commands, against a real database.

mod check;
mod commands;
mod demo;
mod enqueue;
mod preview;
mod readme;
mod texts;
