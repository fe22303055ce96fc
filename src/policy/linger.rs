//! How long a batch that may be short waits for more courses. Pure.
//!
//! A wait saves requests, so it is only worth its delay while the quota's window is in use. The first quarter of the window is
//! spent without a wait: a few courses leave at once. From there the wait grows in a straight line, and from three quarters of
//! the window it is the whole of `batch.linger`.
//!
//! **What short batches use at most.** Take any window that ends now, and the last request in it that found less than three
//! quarters of the window in use. Until then the window contained less than three quarters of its requests. Each short batch
//! after it waited for the whole of `batch.linger`, so there are at most `per / batch.linger` of them. So short batches of one
//! kind use at most three quarters of the window and `per / batch.linger` requests, one more for the request itself: with the
//! defaults 164 of 190, or 86 %. The rest is left to full batches and to reads. `tests/it/policy/linger.rs` shows what is
//! used at different rates: a catalogue that commits a course every few milliseconds uses about 40 %.

use std::time::Duration;

/// Up to this part of the window, no batch waits.
const NO_WAIT: f64 = 0.25;
/// From this part of the window on, a short batch waits for the whole of `batch.linger`.
const FULL_WAIT: f64 = 0.75;

/// How long a batch that may be short waits. `longest`: the setting `batch.linger`. `in_use`: the requests that count in the
/// window now, open ones included. `limit`: the requests that a window may contain.
#[must_use]
pub fn linger(longest: Duration, in_use: u32, limit: u32) -> Duration {
    let used = f64::from(in_use) / f64::from(limit.max(1));
    longest.mul_f64(((used - NO_WAIT) / (FULL_WAIT - NO_WAIT)).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_batch_waits_only_while_the_window_is_in_use() {
        for (longest, in_use, limit, wait) in [
            (500, 0, 190, 0),
            (500, 1, 190, 0),
            (500, 47, 190, 0),
            (500, 76, 190, 150),
            (500, 95, 190, 250),
            (500, 133, 190, 450),
            (500, 143, 190, 500),
            (500, 190, 190, 500),
            // More may be in use than is allowed, after the limit was lowered.
            (500, 190, 76, 500),
            (500, 19, 76, 0),
            (500, 38, 76, 250),
            // A quota of few requests.
            (500, 0, 1, 0),
            (500, 1, 1, 500),
            (500, 1, 4, 0),
            (500, 2, 4, 250),
            (500, 3, 4, 500),
            (500, 0, 0, 0),
            // Other settings.
            (0, 190, 190, 0),
            (50, 95, 190, 25),
            (60_000, 95, 190, 30_000),
        ] {
            let waited = linger(MS * longest, in_use, limit);
            assert!(waited.abs_diff(MS * wait) < MS, "{longest} ms, {in_use} of {limit}: {waited:?}");
        }
    }

    proptest! {
        #[test]
        fn the_wait_grows_with_the_use_and_is_never_longer_than_the_setting(
            longest in 0_u64..600_000, less: u32, more: u32, limit: u32,
        ) {
            let longest = MS * u32::try_from(longest).unwrap();
            let (less, more) = (less.min(more), less.max(more));
            let (shorter, wait) = (linger(longest, less, limit), linger(longest, more, limit));
            prop_assert!(shorter <= wait && wait <= longest);
            prop_assert_eq!(linger(longest, limit / 4, limit), Duration::ZERO);
            prop_assert_eq!(linger(longest, limit.max(1), limit), longest);
            // A lower limit makes the wait no shorter.
            prop_assert!(linger(longest, less, limit / 2) >= shorter);
        }
    }
}
