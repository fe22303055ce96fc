//! What limits the requests that sending would make. Pure.

use crate::config::RateLimit;

/// The limits of sending: batch size and quota.
#[derive(Debug, Clone, Copy)]
pub(super) struct SendingLimits {
    pub batch_size: usize,
    pub batch_bytes: u64,
    pub quota: RateLimit,
    /// More archives pending at once are held.
    pub archive_limit: u32,
}
