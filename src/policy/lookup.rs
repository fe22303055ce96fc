//! How many doubts one look-up asks about, and what a look-up that failed means. Pure.
//!
//! A look-up that fails may do so for one key, for its size, or because HubSpot is away. So it is halved until a single
//! key fails, which is set aside alone with its reason; the others are settled. Only when single keys keep failing with
//! nothing passing in between do look-ups pause. Creates have a gate of their own and are never slowed down.

use super::batch::MAX_COURSES;

/// The size of look-ups.
#[derive(Debug, Clone)]
pub struct LookUps {
    size: u16,
    /// A size that was refused is not tried again before so many look-ups have passed.
    cap: u16,
    patience: u32,
    /// The last look-up was about a single key, and failed.
    failed_alone: bool,
}

/// What a look-up that failed means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// A smaller one goes next.
    Halved,
    /// It was about a single key, which is looked up again later.
    SetAside,
    /// The same, and the one before failed as well: look-ups pause.
    SetAsideAndPause,
}

const PATIENCE: u32 = 20;

impl Default for LookUps {
    fn default() -> Self {
        Self { size: MAX_COURSES, cap: MAX_COURSES, patience: 0, failed_alone: false }
    }
}

impl LookUps {
    /// How many keys the next look-up may ask about.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.size
    }

    /// A look-up was answered.
    pub fn passed(&mut self) {
        self.failed_alone = false;
        match self.patience.checked_sub(1) {
            Some(left) => self.patience = left,
            None => self.cap = self.cap.saturating_mul(2).min(MAX_COURSES),
        }
        self.size = self.size.saturating_mul(2).min(self.cap);
    }

    /// A look-up about so many keys failed.
    pub fn failed(&mut self, keys: usize) -> Failure {
        if keys > 1 {
            let half = u16::try_from(keys / 2).unwrap_or(MAX_COURSES);
            (self.size, self.cap, self.patience) = (half, half, PATIENCE);
            return Failure::Halved;
        }
        // The key explains why the larger ones failed.
        (self.size, self.cap, self.patience) = (1, MAX_COURSES, 0);
        if std::mem::replace(&mut self.failed_alone, true) {
            Failure::SetAsideAndPause
        } else {
            Failure::SetAside
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Looks `doubts` up until all are settled or set aside. The look-ups it took, how often they paused, and what was
    /// set aside.
    fn play(doubts: &[u32], fails: impl Fn(&[u32]) -> bool) -> (usize, usize, BTreeSet<u32>) {
        let (mut look_ups, mut left) = (LookUps::default(), doubts.to_vec());
        let (mut requests, mut pauses, mut aside) = (0, 0, BTreeSet::new());
        while !left.is_empty() {
            let keys = &left[..left.len().min(usize::from(look_ups.size()))];
            requests += 1;
            if !fails(keys) {
                look_ups.passed();
                left.drain(..keys.len());
                continue;
            }
            let key = keys[0];
            match look_ups.failed(keys.len()) {
                Failure::Halved => continue,
                Failure::SetAside => {}
                Failure::SetAsideAndPause => pauses += 1,
            }
            aside.insert(key);
            left.remove(0);
        }
        (requests, pauses, aside)
    }

    #[test]
    fn one_key_that_always_fails_is_set_aside_alone_wherever_it_stands() {
        let doubts: Vec<u32> = (0..100).collect();
        for bad in [0, 1, 50, 99] {
            let (requests, pauses, aside) = play(&doubts, |keys| keys.contains(&bad));
            assert_eq!((pauses, aside), (0, BTreeSet::from([bad])));
            assert!(requests <= 30, "{bad}: {requests}");
        }
    }

    #[test]
    fn a_limit_of_the_size_is_found_and_costs_little() {
        let doubts: Vec<u32> = (0..10_000).collect();
        let (requests, pauses, aside) = play(&doubts, |keys| keys.len() > 50);
        assert!(pauses == 0 && aside.is_empty());
        assert!((200..=215).contains(&requests), "{requests}");
    }

    #[test]
    fn an_outage_pauses_soon() {
        let (_, pauses, _) = play(&(0..20).collect::<Vec<_>>(), |_| true);
        assert_eq!(pauses, 19);
    }
}
