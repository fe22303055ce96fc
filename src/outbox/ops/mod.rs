//! The statements behind the operators' commands and the console. The daemon's own path does not need them.

pub mod adopt;
pub mod audit;
pub mod drift;
pub mod enqueue;
pub mod pause;
pub mod preview;
pub mod property_values;
pub mod requests;
pub mod resolve;
pub mod retry;
pub mod rights;
