//! How many keys one look-up contains, and what a failed look-up means. Pure.
//!
//! A look-up may fail because of one key, because of its size, or because HubSpot is unavailable. So look-ups are bisected
//! until a single key fails. That key is postponed, and the others are settled. Look-ups pause only when single keys fail
//! one after the other. Creates have a gate of their own and are not affected.

use crate::course::MAX_COURSES;

/// The size of look-ups.
#[derive(Debug, Clone)]
pub struct LookupSize {
    size: u16,
    /// The largest size at present, because a larger one failed. It grows after `successes_needed` look-ups succeeded.
    cap: u16,
    successes_needed: u32,
    /// The last look-up contained a single key and failed.
    single_key_failed: bool,
}

/// What a failed look-up means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupFailure {
    /// The next look-up contains fewer keys.
    Halved,
    /// It contained a single key, which is looked up again later.
    SetAside,
    /// The same, and the previous look-up of a single key failed as well: look-ups pause.
    SetAsideAndPause,
}

/// Look-ups that must succeed before a size that failed is tried again.
const SUCCESSES_NEEDED: u32 = 20;

impl Default for LookupSize {
    fn default() -> Self {
        Self { size: MAX_COURSES, cap: MAX_COURSES, successes_needed: 0, single_key_failed: false }
    }
}

impl LookupSize {
    /// The largest number of keys in the next look-up.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// Records that a look-up succeeded.
    pub fn record_success(&mut self) {
        self.single_key_failed = false;
        match self.successes_needed.checked_sub(1) {
            Some(left) => self.successes_needed = left,
            None => self.cap = self.cap.saturating_mul(2).min(MAX_COURSES),
        }
        self.size = self.size.saturating_mul(2).min(self.cap);
    }

    /// Records that a look-up of this many keys failed.
    pub fn record_failure(&mut self, keys: usize) -> LookupFailure {
        if keys > 1 {
            let half = u16::try_from(keys / 2).unwrap_or(MAX_COURSES);
            (self.size, self.cap, self.successes_needed) = (half, half, SUCCESSES_NEEDED);
            return LookupFailure::Halved;
        }
        // This key explains the failures of the larger look-ups, so their size is allowed again.
        (self.size, self.cap, self.successes_needed) = (1, MAX_COURSES, 0);
        if std::mem::replace(&mut self.single_key_failed, true) {
            LookupFailure::SetAsideAndPause
        } else {
            LookupFailure::SetAside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Looks up all keys until each is found or set aside. The number of look-ups, the number of pauses, and the keys
    /// that were set aside.
    fn look_up_all(keys: &[u32], fails: impl Fn(&[u32]) -> bool) -> (usize, usize, BTreeSet<u32>) {
        let (mut size, mut left) = (LookupSize::default(), keys.to_vec());
        let (mut requests, mut pauses, mut aside) = (0, 0, BTreeSet::new());
        while !left.is_empty() {
            let keys = &left[..left.len().min(usize::from(size.size()))];
            requests += 1;
            if !fails(keys) {
                size.record_success();
                left.drain(..keys.len());
                continue;
            }
            let key = keys[0];
            match size.record_failure(keys.len()) {
                LookupFailure::Halved => continue,
                LookupFailure::SetAside => {}
                LookupFailure::SetAsideAndPause => pauses += 1,
            }
            aside.insert(key);
            left.remove(0);
        }
        (requests, pauses, aside)
    }

    #[test]
    fn only_the_key_that_always_fails_is_set_aside() {
        let keys: Vec<u32> = (0..100).collect();
        for bad in [0, 1, 50, 99] {
            let (requests, pauses, aside) = look_up_all(&keys, |keys| keys.contains(&bad));
            assert_eq!((pauses, aside), (0, BTreeSet::from([bad])));
            assert!(requests <= 30, "{bad}: {requests}");
        }
    }

    #[test]
    fn a_size_limit_is_found_with_few_extra_requests() {
        let keys: Vec<u32> = (0..10_000).collect();
        let (requests, pauses, aside) = look_up_all(&keys, |keys| keys.len() > 50);
        assert!(pauses == 0 && aside.is_empty());
        assert!((200..=215).contains(&requests), "{requests}");
    }

    #[test]
    fn an_outage_pauses_lookups_after_two_single_keys_failed() {
        let (_, pauses, _) = look_up_all(&(0..20).collect::<Vec<_>>(), |_| true);
        assert_eq!(pauses, 19);
    }
}
