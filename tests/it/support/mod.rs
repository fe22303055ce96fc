//! What the integration tests share.

pub mod daemon;
pub mod eventually;
pub mod line;
pub mod postgres;
pub mod world;
