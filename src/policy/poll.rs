//! When the outbox is read next, if no event comes before. Pure.
//!
//! While something happens, that is one poll interval. While nothing happens and notifications arrive, the wait grows, so
//! that an idle daemon leaves the database idle.

use std::time::{Duration, Instant};

/// The longest wait while nothing happens and notifications arrive: what a lost notification costs at most.
const MAX_WAIT: Duration = Duration::from_secs(30);
/// The wait grows to this fraction (1/n) of the time in which nothing happened. So a transaction that commits some time
/// after the notification of another one is found after at most half of that time.
const QUIET_DIVISOR: u32 = 2;
/// The outbox is read this long after an event, even if the poll interval is longer, because courses may be due before.
const AFTER_EVENT: Duration = Duration::from_secs(1);

/// The times at which the outbox is read.
#[derive(Debug, Clone, Copy)]
pub struct PollTimes {
    interval: Duration,
    /// The last event.
    event_at: Instant,
    last: Instant,
    wait: Duration,
    next: Instant,
}

impl PollTimes {
    /// Polls at this interval from now on.
    #[must_use]
    pub fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, event_at: now, last: now, wait: interval, next: now + interval }
    }

    /// When the outbox is read next.
    #[must_use]
    pub fn next(&self) -> Instant {
        self.next
    }

    /// How long the daemon waits now between two polls: at least the poll interval.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.wait
    }

    /// Something happened, such as a notification or the end of a request: the wait is short again.
    pub fn record_event(&mut self, now: Instant) {
        self.event_at = now;
        self.wait = self.interval;
        self.next = self.next.min((self.last + self.interval.min(AFTER_EVENT)).max(now));
    }

    /// The outbox was read. `due_in`: when the next course is due. `may_wait_longer`: an event would end the wait.
    pub fn record_poll(&mut self, due_in: Option<Duration>, may_wait_longer: bool, now: Instant) {
        let quiet = now.saturating_duration_since(self.event_at) / QUIET_DIVISOR;
        let longest = if may_wait_longer { MAX_WAIT } else { self.interval };
        self.wait = quiet.min(longest).max(self.interval);
        self.last = now;
        self.next = now + due_in.map_or(self.wait, |due_in| due_in.min(self.wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// The waits of the first polls after an event at which nothing is due.
    fn waits(interval: Duration, may_wait_longer: bool, polls: usize) -> Vec<u64> {
        let start = Instant::now();
        let mut times = PollTimes::new(interval, start);
        let mut waits = Vec::new();
        for _ in 0..polls {
            let now = times.next();
            times.record_poll(None, may_wait_longer, now);
            waits.push((times.next() - now).as_secs());
        }
        waits
    }

    #[test]
    fn the_wait_grows_while_nothing_happens_and_notifications_arrive() {
        assert_eq!(waits(SECOND, true, 13), [1, 1, 1, 2, 3, 5, 7, 11, 17, 25, 30, 30, 30]);
        assert_eq!(waits(SECOND, false, 100), [1; 100]);
        let hour = Duration::from_hours(1);
        assert_eq!(waits(hour, true, 3), [3600; 3], "a longer poll interval is kept");
    }

    #[test]
    fn an_event_makes_the_wait_short_again() {
        let start = Instant::now();
        let mut times = PollTimes::new(SECOND, start);
        times.record_poll(None, true, start + SECOND * 100);
        assert_eq!(times.wait(), SECOND * 30);
        let event = start + SECOND * 110;
        times.record_event(event);
        assert_eq!((times.next(), times.wait()), (event, SECOND));
        times.record_poll(None, true, event);
        times.record_event(event);
        assert_eq!(times.next(), event + SECOND, "events in quick succession cause no more polls");
    }

    #[test]
    fn the_outbox_is_read_when_the_next_course_is_due() {
        for (interval, due, expected) in [(1, 300, 1000), (60, 300, 60_000), (60, 3, 3000), (60, 0, 0)] {
            let now = Instant::now();
            let mut times = PollTimes::new(SECOND * interval, now);
            times.record_poll(Some(SECOND * due), false, now);
            assert_eq!((times.next() - now).as_millis(), expected);
        }
        let now = Instant::now();
        let mut times = PollTimes::new(SECOND * 3600, now);
        times.record_event(now);
        assert_eq!(times.next(), now + SECOND, "after an event it is not known when the next course is due");
    }
}
