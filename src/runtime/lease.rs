//! The lease, for as long as this process may rely on it; and deadlines that use two clocks.

use std::time::{Duration, Instant, SystemTime};

use crate::outbox::lease::Lease;

/// A lease, and how long this process may rely on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeldLease {
    pub lease: Lease,
    /// Nothing may start after this. Measured from before the request to the database, so it is never too late.
    pub valid_until: Deadline,
}

/// A time after which nothing may start, on two clocks: the monotonic clock stops while the machine is suspended, and the
/// system clock can be set. The deadline has passed as soon as one of them has reached it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    monotonic: Instant,
    system: SystemTime,
}

impl Deadline {
    /// This long from now.
    pub(crate) fn after(time: Duration) -> Self {
        Self { monotonic: Instant::now() + time, system: SystemTime::now() + time }
    }

    /// The earlier of two deadlines, on each clock.
    pub(crate) fn min(self, other: Self) -> Self {
        Self { monotonic: self.monotonic.min(other.monotonic), system: self.system.min(other.system) }
    }

    /// Whether it has passed on either clock.
    pub(crate) fn has_passed(self) -> bool {
        Instant::now() >= self.monotonic || SystemTime::now() >= self.system
    }
}

impl HeldLease {
    /// Whether work may start under this lease now.
    pub(crate) fn is_valid(&self) -> bool {
        !self.valid_until.has_passed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_while_the_machine_is_suspended() {
        let hour = Duration::from_hours(1);
        assert!(!Deadline::after(hour).has_passed());
        let resumed = Deadline { system: SystemTime::now() - hour, ..Deadline::after(hour) };
        assert!(resumed.has_passed());
        assert!(Deadline::after(hour).min(resumed).has_passed());
        assert!(Deadline::after(Duration::ZERO).has_passed());
    }
}
