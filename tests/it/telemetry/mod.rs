//! Logs, metrics and spans, and their generated documentation.

mod collector;
mod events;
mod lines;
mod metrics;
mod traces;
