//! The response to a read about the account: the value that was read, and how the request ended.

use super::response::Exchange;

/// The response to one read.
#[derive(Debug, Clone)]
pub struct ReadResponse<T> {
    /// The value that was read; only from a successful response.
    pub value: Option<T>,
    /// How the request ended.
    pub exchange: Exchange,
}
