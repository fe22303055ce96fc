//! How many courses a request may carry at present: fewer where large requests fail and small ones pass.
//!
//! A proxy or HubSpot's own processing limit may refuse large requests (413) or fail at them (502, 504, a timeout).
//! The same failure may be due to one course, so a size is given up only when two requests of it failed with no
//! request of that size passing in between. It grows again slowly, and ever more slowly after each failed try. Pure.

/// The size in use, and what is known of it.
#[derive(Debug, Clone)]
pub struct BatchSize {
    max: u16,
    current: u16,
    /// Requests of about the size in use that failed since one passed.
    failed: u32,
    /// Requests of the size in use that passed since it last changed.
    passed: u32,
    /// So many have to pass before a larger size is tried.
    patience: u32,
    /// A smaller size was needed, and the largest has not passed as often since.
    is_limited: bool,
}

/// How many requests pass before a larger size is tried, at first and at most.
const PATIENCE: u32 = 10;
const PATIENCE_MAX: u32 = 640;
/// A size that nothing is known against is given up after so many failures.
const FAILURES: u32 = 2;
/// The size in use grows by one part in so many.
const GROWTH: u16 = 4;

impl BatchSize {
    /// The largest size that is allowed.
    #[must_use]
    pub fn new(max: u16) -> Self {
        Self {
            max: max.max(1),
            current: max.max(1),
            failed: 0,
            passed: 0,
            patience: PATIENCE,
            is_limited: false,
        }
    }

    /// The size in use.
    #[must_use]
    pub fn current(&self) -> u16 {
        self.current
    }

    /// A request of so many courses was answered as it should be.
    pub fn passed(&mut self, courses: usize) {
        if courses < usize::from(self.current) {
            return;
        }
        self.failed = 0;
        self.passed += 1;
        if self.passed < self.patience {
            return;
        }
        if self.current == self.max {
            (self.patience, self.is_limited) = (PATIENCE, false);
        } else {
            self.current = self.current.saturating_add((self.current / GROWTH).max(1)).min(self.max);
            self.passed = 0;
        }
    }

    /// A request of so many courses failed as one that is too large does. `is_certain`: HubSpot, or something in front
    /// of it, gave the size as the reason. True where a smaller size is used from now on.
    pub fn failed(&mut self, courses: usize, is_certain: bool) -> bool {
        // Only what is about as large as the size in use says anything about it; what is larger was sent before it shrank.
        let (least, most) = (usize::from(self.current / 2 + 1), usize::from(self.current));
        if courses < 2 || !(least..=most).contains(&courses) {
            return false;
        }
        self.failed += 1;
        if !is_certain && !self.is_limited && self.failed < FAILURES {
            return false;
        }
        if self.is_limited && self.passed == 0 {
            // A try of a larger size, or a size that never passed.
            self.patience = (self.patience * 2).min(PATIENCE_MAX);
        }
        self.current = (self.current / 2).max(1);
        (self.failed, self.passed, self.is_limited) = (0, 0, true);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_may_be_due_to_a_course_and_two_are_not() {
        let mut size = BatchSize::new(100);
        assert!(!size.failed(100, false));
        size.passed(100);
        assert!(!size.failed(100, false));
        assert!(!size.failed(10, false), "a small request shows nothing about a large one");
        assert!(size.failed(100, false));
        assert_eq!(size.current(), 50);
        assert!(!size.failed(100, false), "it was sent before the size shrank");
        assert!(size.failed(50, false), "once size is known to matter, one failure is enough");
        assert_eq!(size.current(), 25);
    }

    #[test]
    fn a_size_that_is_refused_as_too_large_is_given_up_at_once() {
        let mut size = BatchSize::new(100);
        assert!(size.failed(100, true));
        assert_eq!(size.current(), 50);
    }

    #[test]
    fn it_finds_every_limit_and_stays_below_it() {
        for limit in [1, 2, 3, 10, 49, 50, 51, 99] {
            let mut size = BatchSize::new(100);
            let mut failures = 0;
            for _ in 0..2_000 {
                let courses = usize::from(size.current());
                if courses > limit {
                    size.failed(courses, false);
                    failures += 1;
                } else {
                    size.passed(courses);
                }
            }
            assert!(usize::from(size.current()) <= limit.max(1) * 5 / 4 + 1, "{limit}: {size:?}");
            assert!(failures <= 25, "{limit}: {failures} of 2,000 requests failed");
        }
    }

    #[test]
    fn it_grows_back_once_the_limit_is_gone() {
        let mut size = BatchSize::new(100);
        size.failed(100, true);
        size.failed(50, false);
        let mut requests = 0;
        while size.current() < 100 {
            size.passed(usize::from(size.current()));
            requests += 1;
        }
        assert!((20..300).contains(&requests), "{requests}");
    }
}
