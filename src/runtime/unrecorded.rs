//! Counts the courses whose outcome is known and not recorded yet. They are kept in memory, so their number limits the
//! claims.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of courses whose outcome waits to be recorded.
#[derive(Debug, Default)]
pub(crate) struct Unrecorded(Arc<AtomicUsize>);

/// Courses whose outcome is being recorded, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Recording {
    unrecorded: Arc<AtomicUsize>,
    courses: usize,
}

impl Unrecorded {
    /// Counts so many courses until the result is dropped.
    pub(crate) fn count(&self, courses: usize) -> Recording {
        self.0.fetch_add(courses, Ordering::Relaxed);
        Recording { unrecorded: Arc::clone(&self.0), courses }
    }

    /// The number of courses that wait.
    pub(crate) fn courses(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.unrecorded.fetch_sub(self.courses, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_count_until_they_are_recorded() {
        let unrecorded = Unrecorded::default();
        let one = unrecorded.count(100);
        let other = unrecorded.count(7);
        assert_eq!(unrecorded.courses(), 107);
        drop(one);
        assert_eq!(unrecorded.courses(), 7);
        drop(other);
        assert_eq!(unrecorded.courses(), 0);
    }
}
