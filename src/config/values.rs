//! Reads one value from its text: durations, sizes, percentages, numbers. Pure.

use std::fmt;

/// A share of a whole, from `0%` to below `100%`, exact to a hundredth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent {
    hundredths: u16,
}

impl Percent {
    /// Whole percents; anything above 100 counts as 100.
    #[must_use]
    pub const fn new(percent: u8) -> Self {
        let percent = if percent > 100 { 100 } else { percent };
        Self { hundredths: percent as u16 * 100 }
    }

    /// This share of `whole`, rounded up.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        let share = (u128::from(whole) * u128::from(self.hundredths)).div_ceil(10_000);
        u64::try_from(share).unwrap_or(whole)
    }

    /// 0.05 for `5%`.
    #[must_use]
    pub fn as_fraction(self) -> f64 {
        f64::from(self.hundredths) / 10_000.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", f64::from(self.hundredths) / 100.0)
    }
}
