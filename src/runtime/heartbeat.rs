//! The heartbeat of the main task. `/livez` reports the process as stuck when it stops.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Beats while the engine's task is polled and timers fire. Uses the monotonic clock, which stops while the machine is
/// suspended.
#[derive(Debug, Default)]
pub struct Heartbeat(Mutex<Option<Instant>>);

/// The interval between two beats.
const INTERVAL: Duration = Duration::from_secs(1);
/// After this long without a beat, the task is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

impl Heartbeat {
    /// Beats for as long as the future is polled. So it must be polled by the task that it monitors.
    pub(crate) async fn run(&self) {
        loop {
            self.set(Some(Instant::now()));
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Stops the heartbeat: the shutdown has begun, and it has a time limit of its own.
    pub(crate) fn stop(&self) {
        self.set(None);
    }

    fn set(&self, beat: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = beat;
    }

    /// The time since the last beat, if the task is stuck.
    #[must_use]
    pub fn stuck_for(&self, now: Instant) -> Option<Duration> {
        let last = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(now.saturating_duration_since(last)).filter(|silence| *silence > STUCK_AFTER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_is_no_longer_polled_is_stuck_unless_its_heartbeat_was_stopped() {
        let heartbeat = Heartbeat::default();
        let much_later = Instant::now() + STUCK_AFTER * 2;
        assert_eq!(heartbeat.stuck_for(much_later), None, "it has not started");
        // Polled once, and never again.
        tokio::select! {
            biased;
            () = heartbeat.run() => {}
            () = std::future::ready(()) => {}
        }
        assert_eq!(heartbeat.stuck_for(Instant::now()), None);
        assert!(heartbeat.stuck_for(much_later).is_some());
        heartbeat.stop();
        assert_eq!(heartbeat.stuck_for(much_later), None);
    }
}
