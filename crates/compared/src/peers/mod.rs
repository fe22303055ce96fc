//! The programs that course-sync is compared with. Each is written as the documentation of its queue recommends for
//! batches, and is short enough to be read in full.

pub mod awa_worker;
pub mod graphile;
pub mod pgmq_worker;
pub mod plain_loop;
mod send;

use std::time::Duration;

pub use send::Sender;

/// Courses per request: HubSpot's limit.
pub const BATCH: usize = 100;
/// Requests at the same time.
pub const AT_ONCE: usize = 4;
/// Lease, visibility timeout, or age of a heartbeat after which another worker takes over.
pub const LEASE: Duration = Duration::from_secs(3);

/// The database's URL, from the environment.
pub fn database_url() -> anyhow::Result<String> {
    Ok(std::env::var("DATABASE_URL")?)
}
