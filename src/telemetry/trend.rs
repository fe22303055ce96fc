//! How throughput, delay and quota went over the last hour: a ring of samples in memory, for the console.
//! Pure but for the counters; whoever samples brings the time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How often a sample is to be taken.
pub const EVERY: Duration = Duration::from_secs(5);
/// Points of a plot.
pub const POINTS: u32 = 60;

/// Where the first step of the delays ends, in seconds; each further one ends at √2 times as much.
const FIRST_STEP: f64 = 0.01;
/// Up to forty days; what took longer counts as that.
const STEPS: usize = 58;

/// How far back a plot reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Span {
    /// A quarter of an hour.
    #[default]
    Quarter,
    /// An hour.
    Hour,
}

impl Span {
    /// Its length.
    #[must_use]
    pub fn length(self) -> Duration {
        match self {
            Self::Quarter => Duration::from_mins(15),
            Self::Hour => Duration::from_hours(1),
        }
    }

    fn step(self) -> Duration {
        self.length() / POINTS
    }
}

/// Counts delays by size, so that quantiles can be told of any stretch of time.
#[derive(Debug)]
pub struct DelayCounter([AtomicU64; STEPS]);

impl Default for DelayCounter {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl DelayCounter {
    /// One more delay.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // clamped to the steps
    pub fn observe(&self, delay: Duration) {
        let step = (2.0 * (delay.as_secs_f64() / FIRST_STEP).max(f64::MIN_POSITIVE).log2()).ceil();
        let step = step.clamp(0.0, (STEPS - 1) as f64) as usize;
        if let Some(count) = self.0.get(step) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn so_far(&self) -> Delays {
        Delays(self.0.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// How many delays there were of each size.
#[derive(Debug, Clone)]
pub struct Delays([u64; STEPS]);

impl Delays {
    /// The delay in seconds that this share of those since `earlier` did not exceed, to within a step.
    #[allow(clippy::cast_precision_loss)] // a share of a count
    fn quantile_since(&self, earlier: &Self, share: f64) -> Option<f64> {
        let grown = || self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then) as f64);
        let rank = grown().sum::<f64>() * share;
        let mut below = 0.0;
        for (step, count) in grown().enumerate() {
            if count > 0.0 && below + count >= rank {
                let within = (rank - below) / count;
                return Some(FIRST_STEP * ((step as f64 - 1.0 + within) * 0.5).exp2());
            }
            below += count;
        }
        None
    }
}

/// What is remembered of one moment. Counters only grow.
#[derive(Debug, Clone)]
pub struct Sample {
    /// When.
    pub at: Instant,
    /// Courses synced so far.
    pub synced: u64,
    /// Their delays so far.
    pub delays: Delays,
    /// Requests that count against the account's rolling window.
    pub quota_used: usize,
}

/// What a plot shows of one stretch of time; nothing where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Courses synced a minute.
    pub per_minute: Option<f64>,
    /// The delay in seconds that half of the courses did not exceed.
    pub half: Option<f64>,
    /// The delay in seconds that 95 of 100 did not exceed.
    pub most: Option<f64>,
    /// The most of the quota's window that was used.
    pub quota_used: Option<usize>,
}

/// The samples of the last hour.
#[derive(Debug)]
pub struct Trend {
    began: Instant,
    samples: Mutex<VecDeque<Sample>>,
}

impl Trend {
    /// Nothing yet. `now` is where the points' stretches are counted from, so that a point once drawn stays.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, samples: Mutex::default() }
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a sample, and forgets what no plot reaches.
    pub fn push(&self, sample: Sample) {
        let mut samples = self.samples();
        let reach = Span::Hour.length() + 2 * Span::Hour.step();
        while samples.front().is_some_and(|first| sample.at.duration_since(first.at) > reach) {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The last stretches of time, oldest first; of the current one what there is of it.
    #[must_use]
    pub fn points(&self, now: Instant, span: Span) -> Vec<Point> {
        let (samples, step) = (self.samples(), span.step());
        let begun = now.saturating_duration_since(self.began).as_secs() / step.as_secs().max(1) + 1;
        let end = |number: u64| self.began + step * u32::try_from(number).unwrap_or(u32::MAX);
        (0..u64::from(POINTS))
            .map(|point| match (begun + point).checked_sub(u64::from(POINTS)) {
                Some(number) => between(&samples, end(number), end(number + 1).min(now)),
                None => Point::default(),
            })
            .collect()
    }

    /// The last minute, or what there is of it.
    #[must_use]
    pub fn last_minute(&self, now: Instant) -> Point {
        let samples = self.samples();
        let minute_ago = now.checked_sub(Duration::from_mins(1)).unwrap_or(self.began);
        let from = samples.front().map_or(minute_ago, |first| first.at.max(minute_ago));
        between(&samples, from, now)
    }
}

/// What happened between two samples: the last ones that are not later than the two times.
#[allow(clippy::cast_precision_loss)] // a rate
fn between(samples: &VecDeque<Sample>, from: Instant, to: Instant) -> Point {
    let begin = samples.partition_point(|sample| sample.at <= from);
    let end = samples.partition_point(|sample| sample.at <= to);
    let quota_used = samples.range(begin.min(end)..end).map(|sample| sample.quota_used).max();
    // Where it began within, from the first sample on.
    let first = samples.get(begin.saturating_sub(1)).filter(|first| first.at <= to);
    let last = end.checked_sub(1).and_then(|at| samples.get(at));
    let (Some(first), Some(last)) = (first, last) else {
        return Point { quota_used, ..Point::default() };
    };
    let took = last.at.saturating_duration_since(first.at);
    if took.is_zero() {
        return Point { quota_used, ..Point::default() };
    }
    Point {
        per_minute: Some(last.synced.saturating_sub(first.synced) as f64 / took.as_secs_f64() * 60.0),
        half: last.delays.quantile_since(&first.delays, 0.5),
        most: last.delays.quantile_since(&first.delays, 0.95),
        quota_used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring with a sample each 5 s, of so many courses synced in between and so much of the quota used.
    fn ring(began: Instant, samples: impl IntoIterator<Item = (u64, usize)>) -> Trend {
        let (trend, delays, mut synced) = (Trend::new(began), DelayCounter::default(), 0);
        for (number, (courses, quota_used)) in (0_u32..).zip(samples) {
            synced += courses;
            (0..courses).for_each(|_| delays.observe(Duration::from_secs(2)));
            trend.push(Sample { at: began + EVERY * number, synced, delays: delays.so_far(), quota_used });
        }
        trend
    }

    #[test]
    fn a_steady_rate_is_the_same_in_every_point() {
        let began = Instant::now();
        let trend = ring(began, (0..=720).map(|number| (100, number % 7)));
        // The current stretch, all but over, is drawn, too.
        let now = began + Duration::from_millis(3_599_999);
        for span in [Span::Quarter, Span::Hour] {
            let points = trend.points(now, span);
            assert_eq!(points.len(), 60);
            assert!(points.iter().all(|point| point.per_minute == Some(1200.0)), "{span:?}: {points:?}");
            assert!(points.iter().all(|point| point.quota_used.is_some()), "{points:?}");
        }
        assert_eq!(trend.last_minute(began + Duration::from_hours(1)).per_minute, Some(1200.0));
    }

    #[test]
    fn what_is_not_known_is_not_drawn() {
        let began = Instant::now();
        let trend = ring(began, [(0, 3), (100, 4), (0, 9), (0, 5)]);
        let points = trend.points(began + Duration::from_secs(14), Span::Quarter);
        let (last, before) = points.split_last().unwrap();
        assert_eq!(last.per_minute, Some(600.0));
        assert_eq!(last.quota_used, Some(9));
        assert!(before.iter().all(|point| *point == Point::default()), "{before:?}");
        assert_eq!(Trend::new(began).last_minute(began), Point::default());
        // Nothing synced: a rate of 0, and no delay to speak of.
        let idle = ring(began, [(0, 0); 4]).last_minute(began + Duration::from_secs(15));
        assert_eq!((idle.per_minute, idle.half), (Some(0.0), None));
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let began = Instant::now();
        let trend = ring(began, (0..5_000).map(|_| (1, 1)));
        let kept = trend.samples().len();
        assert!((720..800).contains(&kept), "{kept}");
    }

    #[test]
    fn quantiles_are_true_to_a_step() {
        let counter = DelayCounter::default();
        let before = counter.so_far();
        for milliseconds in 1..=1000 {
            counter.observe(Duration::from_millis(milliseconds));
        }
        for (share, expected) in [(0.5, 0.5), (0.95, 0.95), (1.0, 1.0)] {
            let found = counter.so_far().quantile_since(&before, share).unwrap();
            assert!((expected / 1.45..expected * 1.45).contains(&found), "{share}: {found}");
        }
        assert_eq!(before.quantile_since(&before, 0.5), None);
        // Neither the shortest nor the longest falls out.
        for delay in [Duration::ZERO, Duration::MAX] {
            let before = counter.so_far();
            counter.observe(delay);
            assert!(counter.so_far().quantile_since(&before, 0.5).is_some(), "{delay:?}");
        }
    }
}
