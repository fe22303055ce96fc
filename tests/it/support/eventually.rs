//! Waits for a condition instead of a fixed time.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// How long a condition may take, on a slow machine, before the test fails.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// Polls `check` until it returns `Ok`. Panics after [`TIMEOUT`] with the last `Err` value.
pub async fn eventually<T, E: Debug>(what: &str, mut check: impl AsyncFnMut() -> Result<T, E>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match check().await {
            Ok(value) => return value,
            Err(last) if Instant::now() > deadline => {
                panic!("timed out waiting until {what}; last seen: {last:?}")
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
