//! Logs, metrics and traces.

pub mod events;
mod labels;
pub mod logging;
pub mod metrics;
mod process;
pub mod progress;
pub mod traces;
pub mod trend;
