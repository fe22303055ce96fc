//! Throughput, delay and quota of the last hour: samples in memory, for the console's plots.
//! Pure except for the counters: callers pass the time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The time between two samples.
pub const SAMPLE_INTERVAL: Duration = Duration::from_secs(5);
/// Points per plot.
pub const POINTS: u32 = 60;

/// The upper bound of the first bucket of delays, in seconds. Each further bound is √2 times the one before.
const FIRST_BOUND: f64 = 0.01;
/// Up to forty days. Longer delays count in the last bucket.
const BUCKETS: usize = 58;

/// The period that a plot shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Period {
    /// 15 minutes.
    #[default]
    QuarterHour,
    /// An hour.
    Hour,
}

impl Period {
    /// Its duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        match self {
            Self::QuarterHour => Duration::from_mins(15),
            Self::Hour => Duration::from_hours(1),
        }
    }

    /// The time between two points.
    fn step(self) -> Duration {
        self.duration() / POINTS
    }
}

/// Counts delays in fine buckets, so that the quantiles of any period can be computed.
#[derive(Debug)]
pub struct DelayRecorder([AtomicU64; BUCKETS]);

impl Default for DelayRecorder {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl DelayRecorder {
    /// Counts a delay.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // clamped
    pub fn observe(&self, delay: Duration) {
        let bucket = (2.0 * (delay.as_secs_f64() / FIRST_BOUND).max(f64::MIN_POSITIVE).log2()).ceil();
        let bucket = bucket.clamp(0.0, (BUCKETS - 1) as f64) as usize;
        if let Some(count) = self.0.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> DelayCounts {
        DelayCounts(self.0.each_ref().map(|count| count.load(Ordering::Relaxed)))
    }
}

/// The number of delays in each bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DelayCounts([u64; BUCKETS]);

impl Default for DelayCounts {
    fn default() -> Self {
        Self([0; BUCKETS])
    }
}

impl DelayCounts {
    /// The quantile of the delays since `earlier`, in seconds, interpolated within its bucket.
    #[allow(clippy::cast_precision_loss)] // a part of a count
    pub(super) fn quantile_since(&self, earlier: &Self, quantile: f64) -> Option<f64> {
        let grown = || self.0.iter().zip(&earlier.0).map(|(now, then)| now.saturating_sub(*then) as f64);
        let rank = grown().sum::<f64>() * quantile;
        let mut below = 0.0;
        for (bucket, count) in grown().enumerate() {
            if count > 0.0 && below + count >= rank {
                let within = (rank - below) / count;
                return Some(FIRST_BOUND * ((bucket as f64 - 1.0 + within) * 0.5).exp2());
            }
            below += count;
        }
        None
    }
}

/// The state at one moment. Counters only grow.
#[derive(Debug, Clone)]
pub struct Sample {
    /// The time of the sample.
    pub at: Instant,
    /// Courses synced so far.
    pub synced: u64,
    /// Their delays so far.
    pub delays: DelayCounts,
    /// Requests within the account's rolling interval.
    pub quota_used: usize,
}

/// The values of one step of a plot. `None` where nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Point {
    /// Courses synced per minute.
    pub per_minute: Option<f64>,
    /// The median delay in seconds.
    pub delay_p50: Option<f64>,
    /// The 95th percentile of the delays in seconds.
    pub delay_p95: Option<f64>,
    /// The highest use of the account's rolling interval.
    pub quota_used: Option<usize>,
}

/// The samples of the last hour.
#[derive(Debug)]
pub struct Trend {
    started: Instant,
    samples: Mutex<VecDeque<Sample>>,
}

impl Trend {
    /// No samples yet. Steps are counted from `now`, so that a completed point does not move.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { started: now, samples: Mutex::default() }
    }

    fn samples(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a sample, and removes those that are too old for any plot.
    pub fn push(&self, sample: Sample) {
        let mut samples = self.samples();
        let reach = Period::Hour.duration() + 2 * Period::Hour.step();
        while samples.front().is_some_and(|first| sample.at.duration_since(first.at) > reach) {
            samples.pop_front();
        }
        samples.push_back(sample);
    }

    /// The latest steps, oldest first. The last one may be incomplete.
    #[must_use]
    pub fn points(&self, now: Instant, period: Period) -> Vec<Point> {
        let (samples, step) = (self.samples(), period.step());
        let begun = now.saturating_duration_since(self.started).as_secs() / step.as_secs().max(1) + 1;
        let end = |number: u64| self.started + step * u32::try_from(number).unwrap_or(u32::MAX);
        (0..u64::from(POINTS))
            .map(|point| match (begun + point).checked_sub(u64::from(POINTS)) {
                Some(number) => between(&samples, end(number), end(number + 1).min(now)),
                None => Point::default(),
            })
            .collect()
    }

    /// The last minute, or the part of it that has samples.
    #[must_use]
    pub fn last_minute(&self, now: Instant) -> Point {
        let samples = self.samples();
        let minute_ago = now.checked_sub(Duration::from_mins(1)).unwrap_or(self.started);
        let from = samples.front().map_or(minute_ago, |first| first.at.max(minute_ago));
        between(&samples, from, now)
    }
}

/// The values between the latest samples before or at these two times.
#[allow(clippy::cast_precision_loss)] // a rate
fn between(samples: &VecDeque<Sample>, from: Instant, to: Instant) -> Point {
    let begin = samples.partition_point(|sample| sample.at <= from);
    let end = samples.partition_point(|sample| sample.at <= to);
    let quota_used = samples.range(begin.min(end)..end).map(|sample| sample.quota_used).max();
    // Without a sample before `from`: since the first one after it.
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
        delay_p50: last.delays.quantile_since(&first.delays, 0.5),
        delay_p95: last.delays.quantile_since(&first.delays, 0.95),
        quota_used,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trend with a sample every 5 s. Each has the courses synced since the one before, and the quota in use.
    fn trend_of(began: Instant, samples: impl IntoIterator<Item = (u64, usize)>) -> Trend {
        let (trend, delays, mut synced) = (Trend::new(began), DelayRecorder::default(), 0);
        for (number, (courses, quota_used)) in (0_u32..).zip(samples) {
            synced += courses;
            (0..courses).for_each(|_| delays.observe(Duration::from_secs(2)));
            trend.push(Sample {
                at: began + SAMPLE_INTERVAL * number,
                synced,
                delays: delays.counts(),
                quota_used,
            });
        }
        trend
    }

    #[test]
    fn steady_rate_is_the_same_in_every_point() {
        let began = Instant::now();
        let trend = trend_of(began, (0..=720).map(|number| (100, number % 7)));
        // The current step, almost complete, is drawn, too.
        let now = began + Duration::from_millis(3_599_999);
        for period in [Period::QuarterHour, Period::Hour] {
            let points = trend.points(now, period);
            assert_eq!(points.len(), 60);
            assert!(points.iter().all(|point| point.per_minute == Some(1200.0)), "{period:?}: {points:?}");
            assert!(points.iter().all(|point| point.quota_used.is_some()), "{points:?}");
        }
        assert_eq!(trend.last_minute(began + Duration::from_hours(1)).per_minute, Some(1200.0));
    }

    #[test]
    fn unknown_values_are_absent() {
        let began = Instant::now();
        let trend = trend_of(began, [(0, 3), (100, 4), (0, 9), (0, 5)]);
        let points = trend.points(began + Duration::from_secs(14), Period::QuarterHour);
        let (last, before) = points.split_last().unwrap();
        assert_eq!(last.per_minute, Some(600.0));
        assert_eq!(last.quota_used, Some(9));
        assert!(before.iter().all(|point| *point == Point::default()), "{before:?}");
        assert_eq!(Trend::new(began).last_minute(began), Point::default());
        // Nothing synced: a rate of 0, and no delays.
        let idle = trend_of(began, [(0, 0); 4]).last_minute(began + Duration::from_secs(15));
        assert_eq!((idle.per_minute, idle.delay_p50), (Some(0.0), None));
    }

    #[test]
    fn samples_older_than_an_hour_are_removed() {
        let began = Instant::now();
        let trend = trend_of(began, (0..5_000).map(|_| (1, 1)));
        let kept = trend.samples().len();
        assert!((720..800).contains(&kept), "{kept}");
    }

    #[test]
    fn quantiles_are_exact_to_one_bucket() {
        let counter = DelayRecorder::default();
        let before = counter.counts();
        for milliseconds in 1..=1000 {
            counter.observe(Duration::from_millis(milliseconds));
        }
        for (quantile, expected) in [(0.5, 0.5), (0.95, 0.95), (1.0, 1.0)] {
            let found = counter.counts().quantile_since(&before, quantile).unwrap();
            assert!((expected / 1.45..expected * 1.45).contains(&found), "{quantile}: {found}");
        }
        assert_eq!(before.quantile_since(&before, 0.5), None);
        // The shortest and the longest delays are counted, too.
        for delay in [Duration::ZERO, Duration::MAX] {
            let before = counter.counts();
            counter.observe(delay);
            assert!(counter.counts().quantile_since(&before, 0.5).is_some(), "{delay:?}");
        }
    }
}
