//! The batch size in use: smaller than configured while large requests fail and small ones pass. Pure.
//!
//! A proxy or HubSpot may refuse large requests (413) or fail to process them (502, 504, a timeout). A single course
//! may cause the same error, so the size is reduced only after two requests of that size failed with no such request
//! passing in between. It grows again slowly, and more slowly after each attempt that fails.

/// The size in use.
#[derive(Debug, Clone)]
pub struct BatchSize {
    max: u16,
    current: u16,
    /// Requests of about the size in use that failed since one passed.
    failed: u32,
    /// Requests of the size in use that passed since it last changed.
    passed: u32,
    /// Requests that must pass before a larger size is tried.
    passes_needed: u32,
    /// The size was reduced, and the largest size has not passed often enough since.
    is_limited: bool,
}

/// Requests that must pass before a larger size is tried for the first time.
const PASSES_NEEDED: u32 = 10;
/// The most requests that must pass, after several larger sizes failed.
const PASSES_NEEDED_MAX: u32 = 640;
/// The number of failures after which the size is reduced for the first time.
const FAILURES: u32 = 2;
/// The size grows by this fraction (1/n).
const GROWTH_DIVISOR: u16 = 4;

impl BatchSize {
    /// Starts with the largest size.
    #[must_use]
    pub fn new(max: u16) -> Self {
        Self {
            max: max.max(1),
            current: max.max(1),
            failed: 0,
            passed: 0,
            passes_needed: PASSES_NEEDED,
            is_limited: false,
        }
    }

    /// The size in use.
    #[must_use]
    pub fn current(&self) -> u16 {
        self.current
    }

    /// Records that a request of this many courses passed.
    pub fn record_success(&mut self, courses: usize) {
        if courses < usize::from(self.current) {
            return;
        }
        self.failed = 0;
        self.passed += 1;
        if self.passed < self.passes_needed {
            return;
        }
        if self.current == self.max {
            (self.passes_needed, self.is_limited) = (PASSES_NEEDED, false);
        } else {
            self.current = self.current.saturating_add((self.current / GROWTH_DIVISOR).max(1)).min(self.max);
            self.passed = 0;
        }
    }

    /// Records that a request of this many courses failed, possibly because of its size. `is_certain`: the response names
    /// the size as the reason. True if the size was reduced.
    pub fn record_failure(&mut self, courses: usize, is_certain: bool) -> bool {
        // Smaller requests prove nothing about this size. Larger ones were sent before the size was reduced.
        let (least, most) = (usize::from(self.current / 2 + 1), usize::from(self.current));
        if courses < 2 || !(least..=most).contains(&courses) {
            return false;
        }
        self.failed += 1;
        if !is_certain && !self.is_limited && self.failed < FAILURES {
            return false;
        }
        if self.is_limited && self.passed == 0 {
            // A larger size was tried, or this one never passed.
            self.passes_needed = (self.passes_needed * 2).min(PASSES_NEEDED_MAX);
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
    fn the_size_is_reduced_after_two_failures_because_a_course_may_cause_one() {
        let mut size = BatchSize::new(100);
        assert!(!size.record_failure(100, false));
        size.record_success(100);
        assert!(!size.record_failure(100, false));
        assert!(!size.record_failure(10, false), "a small request shows nothing about a large one");
        assert!(size.record_failure(100, false));
        assert_eq!(size.current(), 50);
        assert!(!size.record_failure(100, false), "it was sent before the size was reduced");
        assert!(size.record_failure(50, false), "after a first reduction, one failure is enough");
        assert_eq!(size.current(), 25);
    }

    #[test]
    fn a_413_reduces_the_size_at_once() {
        let mut size = BatchSize::new(100);
        assert!(size.record_failure(100, true));
        assert_eq!(size.current(), 50);
    }

    #[test]
    fn every_limit_is_found_and_kept() {
        for limit in [1, 2, 3, 10, 49, 50, 51, 99] {
            let mut size = BatchSize::new(100);
            let mut failures = 0;
            for _ in 0..2_000 {
                let courses = usize::from(size.current());
                if courses > limit {
                    size.record_failure(courses, false);
                    failures += 1;
                } else {
                    size.record_success(courses);
                }
            }
            assert!(usize::from(size.current()) <= limit.max(1) * 5 / 4 + 1, "{limit}: {size:?}");
            assert!(failures <= 25, "{limit}: {failures} of 2,000 requests failed");
        }
    }

    #[test]
    fn the_size_grows_back_once_the_limit_is_gone() {
        let mut size = BatchSize::new(100);
        size.record_failure(100, true);
        size.record_failure(50, false);
        let mut requests = 0;
        while size.current() < 100 {
            size.record_success(usize::from(size.current()));
            requests += 1;
        }
        assert!((20..300).contains(&requests), "{requests}");
    }
}
