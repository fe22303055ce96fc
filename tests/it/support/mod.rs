//! What the integration tests share.

pub mod browser;
pub mod clock;
pub mod daemon;
pub mod eventually;
pub mod line;
pub mod mounted;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod standby;
pub mod world;
