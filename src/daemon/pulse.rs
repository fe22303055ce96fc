//! Whether the daemon's main task is still turned by its runtime: what `/livez` asks.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Beats while the engine's task is polled and timers fire. On the steady clock, which stands still while
/// the machine is suspended.
#[derive(Debug, Default)]
pub struct Pulse(Mutex<Option<Instant>>);

/// Between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// Without a beat for so long, it does not come back by itself.
const STUCK: Duration = Duration::from_secs(30);

impl Pulse {
    /// Beats for as long as it is polled, which is the point: by the task that it speaks of.
    pub(super) async fn keep(&self) {
        loop {
            self.set(Some(Instant::now()));
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Beats no more, and need not: the end is bounded by its own grace.
    pub(super) fn rest(&self) {
        self.set(None);
    }

    fn set(&self, beat: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = beat;
    }

    /// For how long it has been stuck at `now`, if it is.
    #[must_use]
    pub fn stuck_for(&self, now: Instant) -> Option<Duration> {
        let last = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(now.saturating_duration_since(last)).filter(|silence| *silence > STUCK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_is_not_polled_any_more_is_stuck_and_one_that_rests_is_not() {
        let pulse = Pulse::default();
        let much_later = Instant::now() + STUCK * 2;
        assert_eq!(pulse.stuck_for(much_later), None, "it has not begun");
        // Polled once, and never again.
        tokio::select! {
            biased;
            () = pulse.keep() => {}
            () = std::future::ready(()) => {}
        }
        assert_eq!(pulse.stuck_for(Instant::now()), None);
        assert!(pulse.stuck_for(much_later).is_some());
        pulse.rest();
        assert_eq!(pulse.stuck_for(much_later), None);
    }
}
