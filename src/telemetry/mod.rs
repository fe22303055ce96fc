//! What the program tells about itself.

pub mod logging;
pub mod metrics;
pub mod trend;
