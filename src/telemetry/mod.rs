//! What the program tells about itself.

pub mod logging;
pub mod metrics;
mod process;
pub mod summary;
pub mod traces;
pub mod trend;
