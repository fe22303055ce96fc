//! A spell of trouble, and what of it is worth a line in the log: its beginning, its end, and once a minute
//! that it lasts. Pure: `now` is an argument.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A spell lasts from the first work that fails until each that failed has gone well again.
#[derive(Debug, Clone)]
pub struct Spell<W> {
    failing: BTreeSet<W>,
    since: Option<Instant>,
    told_at: Option<Instant>,
    is_told: bool,
}

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It began.
    Began,
    /// It goes on, for so long already.
    Lasts(Duration),
    /// It is over, after so long.
    Ended(Duration),
}

/// The shortest time between two lines that tell of trouble. One that comes and goes faster is told once in
/// this time.
const REMIND: Duration = Duration::from_mins(1);

impl<W> Default for Spell<W> {
    fn default() -> Self {
        Self { failing: BTreeSet::new(), since: None, told_at: None, is_told: false }
    }
}

impl<W: Copy + Ord> Spell<W> {
    /// A work failed.
    pub fn failed(&mut self, work: W, now: Instant) -> Option<Word> {
        let since = *self.since.get_or_insert(now);
        self.failing.insert(work);
        if self.told_at.is_some_and(|told| now.saturating_duration_since(told) < REMIND) {
            return None;
        }
        self.told_at = Some(now);
        let was_told = std::mem::replace(&mut self.is_told, true);
        Some(if was_told { Word::Lasts(now.saturating_duration_since(since)) } else { Word::Began })
    }

    /// A work went well, or is nobody's concern any more.
    pub fn is_well(&mut self, work: W, now: Instant) -> Option<Word> {
        if !self.failing.remove(&work) || !self.failing.is_empty() {
            return None;
        }
        let since = self.since.take()?;
        // Trouble whose beginning was not worth a line ends without one.
        std::mem::take(&mut self.is_told).then(|| Word::Ended(now.saturating_duration_since(since)))
    }

    /// The works that fail at present.
    pub fn failing(&self) -> impl Iterator<Item = W> + '_ {
        self.failing.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plays what happens at which second, and gives what was told when.
    fn told(events: &[(u64, char, bool)]) -> Vec<(u64, Word)> {
        let (mut spell, start) = (Spell::default(), Instant::now());
        let at = |second| start + Duration::from_secs(second);
        let play = |&(second, work, fails)| {
            let word = if fails { spell.failed(work, at(second)) } else { spell.is_well(work, at(second)) };
            word.map(|word| (second, word))
        };
        events.iter().filter_map(play).collect()
    }

    const fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn an_outage_is_told_at_its_beginning_each_minute_and_at_its_end() {
        let mut events: Vec<_> = (0..150).map(|second| (second, 'c', true)).collect();
        events.push((150, 'c', false));
        let words = [
            (0, Word::Began),
            (60, Word::Lasts(seconds(60))),
            (120, Word::Lasts(seconds(120))),
            (150, Word::Ended(seconds(150))),
        ];
        assert_eq!(told(&events), words);
    }

    #[test]
    fn it_ends_when_all_that_failed_goes_well() {
        let events = [
            (0, 'a', true),
            (1, 'b', true),
            (2, 'a', false),
            (3, 'a', false),
            (4, 'c', false),
            (5, 'b', false),
        ];
        assert_eq!(told(&events), [(0, Word::Began), (5, Word::Ended(seconds(5)))]);
    }

    #[test]
    fn what_comes_and_goes_is_told_once_a_minute() {
        let events: Vec<_> = (0..100).map(|second| (second, 'a', second % 2 == 0)).collect();
        let words = [
            (0, Word::Began),
            (1, Word::Ended(seconds(1))),
            (60, Word::Began),
            (61, Word::Ended(seconds(1))),
        ];
        assert_eq!(told(&events), words);
    }
}
