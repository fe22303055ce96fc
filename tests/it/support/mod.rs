//! Fixtures that the integration tests share: a world around the daemon, the real program, faulty networks, databases.

pub mod browser;
pub mod daemon;
pub mod eventually;
pub mod fake_clock;
pub mod generated;
pub mod http;
pub mod mounted_secret;
pub mod pgbouncer;
pub mod postgres;
pub mod proxy;
pub mod silent_relay;
pub mod standby;
pub mod unreadable;
pub mod world;
