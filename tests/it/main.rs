//! All integration tests in one binary. They use a real Postgres, real sockets and the real program.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::print_stdout
)]

mod admin;
mod cli;
mod compared;
mod config;
mod daemon;
mod demo;
mod deploy;
mod guarantees;
mod hubspot;
mod integration;
mod model;
mod outbox;
mod policy;
mod simulation;
mod simulator;
mod support;
mod telemetry;
mod tidy;
