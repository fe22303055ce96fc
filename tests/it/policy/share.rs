//! Sharing the account's window with others, in a model of time: HubSpot's rolling window, answers that take
//! their time, and a neighbour that does not care.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use course_sync::policy::answer::QuotaHeaders;
use course_sync::policy::share::{Ours, Share};
use proptest::prelude::*;

const MAX: u32 = 190;
const PER_MS: u64 = 10_000;

/// How the neighbour asks.
#[derive(Debug, Clone, Copy)]
struct Neighbour {
    /// Requests in a window.
    requests: u64,
    burst: u64,
    /// Milliseconds; it is there from the first to the second.
    from: u64,
    to: u64,
}

impl Neighbour {
    fn asks_at(&self, now: u64) -> u64 {
        let period = (PER_MS * self.burst).checked_div(self.requests).unwrap_or(u64::MAX).max(1);
        if (self.from..self.to).contains(&now) && (now - self.from).is_multiple_of(period) {
            self.burst
        } else {
            0
        }
    }
}

/// One request of ours.
#[derive(Debug, Clone, Copy)]
struct Sent {
    at: u64,
    arrives: u64,
    answered: u64,
    held: u32,
    given: u32,
    open: u32,
    answer: Option<(bool, u32)>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// When each was accepted, in milliseconds.
    accepted: Vec<u64>,
    refused: Vec<u64>,
    /// The limit at the end.
    limit: u32,
}

impl Outcome {
    /// Whether no more than so many in a thousand were refused.
    fn is_refused_at_most(&self, in_a_thousand: usize) -> bool {
        self.refused.len() * 1_000 <= (self.refused.len() + self.accepted.len()) * in_a_thousand
    }

    fn accepted_within(&self, from: u64, to: u64) -> usize {
        self.accepted.iter().filter(|at| (from..to).contains(*at)).count()
    }
}

/// What `daemon::pace` does with permits, millisecond by millisecond, against a window as HubSpot keeps it.
fn play(configured: u32, neighbour: Neighbour, latency: u64, until: u64) -> Outcome {
    let start = Instant::now();
    let at = |ms: u64| start + Duration::from_millis(ms);
    let mut share = Share::new(configured, Duration::from_millis(PER_MS));
    let (mut window, mut flying, mut held) = (VecDeque::new(), Vec::<Sent>::new(), VecDeque::new());
    let (mut given, mut next, mut closed_until, mut outcome) = (0_u32, Duration::ZERO, 0, Outcome::default());
    for now in 0..until {
        while window.front().is_some_and(|arrived| now - arrived >= PER_MS) {
            window.pop_front();
        }
        for _ in 0..neighbour.asks_at(now) {
            window.push_back(now);
        }
        for sent in flying.iter_mut().filter(|sent| sent.arrives == now) {
            let is_taken = window.len() < MAX as usize;
            // Refused ones count, too.
            window.push_back(now);
            if is_taken {
                outcome.accepted.push(now);
            } else {
                outcome.refused.push(now);
            }
            sent.answer = Some((is_taken, MAX.saturating_sub(u32::try_from(window.len()).unwrap())));
        }
        for sent in flying.extract_if(.., |sent| sent.answered == now) {
            let (is_taken, remaining) = sent.answer.unwrap();
            let since = given - sent.given;
            let ours = Ours { at_most: sent.held + since, uncertain: 2 * (since + sent.open) };
            let quota = QuotaHeaders {
                max: Some(MAX),
                remaining: Some(remaining),
                interval_ms: Some(PER_MS),
                ..QuotaHeaders::default()
            };
            share.heard(&quota, ours, at(now));
            if !is_taken {
                share.refused(at(sent.at), at(now));
                closed_until = closed_until.max(now + PER_MS + PER_MS / 20);
            }
            held.push_back(now + PER_MS);
        }
        while held.front().is_some_and(|free| *free <= now) {
            held.pop_front();
        }
        loop {
            let taken = u32::try_from(held.len() + flying.len()).unwrap();
            let (apart, elapsed) = (share.apart(taken + 1), Duration::from_millis(now));
            let is_time = apart.is_zero() || next <= elapsed;
            if now < closed_until || taken >= share.limit() || !is_time || flying.len() >= 32 {
                break;
            }
            next = next.max(elapsed) + apart;
            given += 1;
            let (held, open) = (taken + 1, u32::try_from(flying.len() + 1).unwrap());
            let (arrives, answered) = (now + 1 + u64::from(given) * 7 % latency, now + 2 + latency);
            flying.push(Sent { at: now, arrives, answered, held, given, open, answer: None });
        }
    }
    outcome.limit = share.limit();
    outcome
}

const NOBODY: Neighbour = Neighbour { requests: 0, burst: 1, from: 0, to: 0 };
const ALWAYS: Neighbour = Neighbour { requests: 114, burst: 1, from: 0, to: u64::MAX };

#[test]
fn alone_all_of_it_is_used_and_nobody_is_invented() {
    for latency in [1, 20, 100, 500] {
        let outcome = play(MAX, NOBODY, latency, 110_000);
        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
        assert_eq!(outcome.limit, MAX);
        // A slot is taken for a window and the time of an answer.
        let least = MAX as usize * 100_000 / (10_010 + usize::try_from(latency).unwrap()) * 99 / 100;
        let used = outcome.accepted_within(10_000, 110_000);
        assert!(used >= least, "{used} of {least} at {latency} ms");
    }
}

#[test]
fn beside_a_neighbour_what_is_left_is_used_and_hardly_anything_is_refused() {
    for burst in [1, 2, 6, 19, 38, 57, 114] {
        let outcome = play(MAX, Neighbour { burst, ..ALWAYS }, 100, 130_000);
        let left = usize::try_from(u64::from(MAX) - ALWAYS.requests).unwrap() * 10;
        let used = outcome.accepted_within(30_000, 130_000);
        assert!(outcome.is_refused_at_most(10), "bursts of {burst}: {:?}", outcome.refused);
        // Of two bursts, the next may come before the first has left: then less is left than on average.
        let least = if burst == 1 { left * 9 / 10 } else { left * 7 / 10 };
        assert!(used >= least, "bursts of {burst}: {used} of {left} were used");
    }
}

#[test]
fn the_neighbour_comes_into_a_full_window_and_goes_again() {
    for burst in [1, 38] {
        let neighbour = Neighbour { from: 33_000, to: 93_000, burst, ..ALWAYS };
        let outcome = play(MAX, neighbour, 100, 200_000);
        assert!(outcome.is_refused_at_most(10), "bursts of {burst}: {:?}", outcome.refused);
        assert_eq!(outcome.limit, MAX, "all of it is ours again");
        let after = outcome.accepted_within(130_000, 200_000);
        assert!(after >= MAX as usize * 7 * 97 / 100, "bursts of {burst}: {after}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_headers_say_the_limit_is_at_least_one_and_never_above_the_configured(
        configured in 0_u32..2_000,
        heard in prop::collection::vec(
            (any::<Option<u32>>(), any::<Option<u32>>(), prop::option::of(0_u64..100_000), any::<u32>(), 0_u32..50, 0_u64..20_000, any::<bool>()),
            0..40,
        ),
    ) {
        let per = Duration::from_millis(PER_MS);
        let mut share = Share::new(configured, per);
        let mut now = Instant::now();
        for (max, remaining, interval_ms, at_most, uncertain, later, is_refused) in heard {
            now += Duration::from_millis(later);
            let quota = QuotaHeaders { max, remaining, interval_ms, ..QuotaHeaders::default() };
            share.heard(&quota, Ours { at_most, uncertain }, now);
            if is_refused {
                share.refused(now, now);
            }
            prop_assert!((1..=configured.max(1)).contains(&share.limit()));
        }
        // Whatever it was: two answers of an account that is ours alone, a window apart from each other and
        // from refusals, and it is forgotten.
        for _ in 0..20 {
            now += per;
            let alone = QuotaHeaders { max: Some(configured.max(1)), remaining: Some(configured.max(1)), interval_ms: Some(PER_MS), ..QuotaHeaders::default() };
            share.heard(&alone, Ours { at_most: 1, uncertain: 0 }, now);
        }
        prop_assert_eq!(share.limit(), configured.max(1));
        prop_assert_eq!(share.apart(0), Duration::ZERO);
    }

    #[test]
    fn hardly_anything_is_refused_beside_any_steady_neighbour(requests in 1_u64..150, latency in 5_u64..300) {
        let outcome = play(MAX, Neighbour { requests, ..ALWAYS }, latency, 60_000);
        prop_assert!(outcome.is_refused_at_most(20), "{} of {}", outcome.refused.len(), outcome.accepted.len());
    }
}
