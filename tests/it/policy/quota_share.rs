//! The quota share, in a model with virtual time: HubSpot's rolling window, latency, and another integration that uses
//! the same quota.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use course_sync::hubspot::api::response::QuotaHeaders;
use course_sync::policy::quota_share::{OwnRequests, QuotaShare};
use proptest::prelude::*;

const MAX: u32 = 190;
const PER_MS: u64 = 10_000;

/// The requests of another integration.
#[derive(Debug, Clone, Copy)]
struct OtherIntegration {
    /// Requests per window.
    requests: u64,
    burst: u64,
    /// The times of its first and last request, in milliseconds.
    from: u64,
    to: u64,
}

impl OtherIntegration {
    fn requests_at(&self, now: u64) -> u64 {
        let period = (PER_MS * self.burst).checked_div(self.requests).unwrap_or(u64::MAX).max(1);
        if (self.from..self.to).contains(&now) && (now - self.from).is_multiple_of(period) {
            self.burst
        } else {
            0
        }
    }
}

/// An open request of this integration. All times are in milliseconds.
#[derive(Debug, Clone, Copy)]
struct OpenRequest {
    sent_at: u64,
    arrives_at: u64,
    answered_at: u64,
    /// The slots in use, the requests sent so far, and the open requests, each including this one, when it was sent.
    slots_in_use: u32,
    sent_so_far: u32,
    open: u32,
    /// Whether HubSpot accepted it, and the remaining quota in its response.
    response: Option<(bool, u32)>,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The times of accepted requests, in milliseconds.
    accepted: Vec<u64>,
    /// The times of refused requests, in milliseconds.
    refused: Vec<u64>,
    /// The limit at the end.
    limit: u32,
}

impl Outcome {
    /// Whether at most this share of all requests, in thousandths, was refused.
    fn has_refusals_of_at_most(&self, per_mille: usize) -> bool {
        self.refused.len() * 1_000 <= (self.refused.len() + self.accepted.len()) * per_mille
    }

    fn accepted_within(&self, from: u64, to: u64) -> usize {
        self.accepted.iter().filter(|at| (from..to).contains(*at)).count()
    }
}

/// The permits of `account::rate_limiter` against the rolling window of HubSpot, millisecond by millisecond.
struct Simulation {
    start: Instant,
    latency: u64,
    share: QuotaShare,
    /// The times of the requests in HubSpot's window, oldest first.
    window: VecDeque<u64>,
    open: Vec<OpenRequest>,
    /// When the slots of ended requests become free, earliest first.
    slots_free_at: VecDeque<u64>,
    sent: u32,
    next_send_at: Duration,
    paused_until: u64,
    outcome: Outcome,
}

impl Simulation {
    fn new(configured: u32, latency: u64) -> Self {
        Self {
            start: Instant::now(),
            latency,
            share: QuotaShare::new(configured, Duration::from_millis(PER_MS)),
            window: VecDeque::new(),
            open: Vec::new(),
            slots_free_at: VecDeque::new(),
            sent: 0,
            next_send_at: Duration::ZERO,
            paused_until: 0,
            outcome: Outcome::default(),
        }
    }

    fn at(&self, ms: u64) -> Instant {
        self.start + Duration::from_millis(ms)
    }

    /// HubSpot counts the requests that arrive now, and accepts those within the quota.
    fn receive(&mut self, now: u64, other: OtherIntegration) {
        while self.window.front().is_some_and(|arrived| now - arrived >= PER_MS) {
            self.window.pop_front();
        }
        for _ in 0..other.requests_at(now) {
            self.window.push_back(now);
        }
        for request in self.open.iter_mut().filter(|request| request.arrives_at == now) {
            let is_accepted = self.window.len() < MAX as usize;
            // Refused requests count as well.
            self.window.push_back(now);
            if is_accepted {
                self.outcome.accepted.push(now);
            } else {
                self.outcome.refused.push(now);
            }
            let remaining = MAX.saturating_sub(u32::try_from(self.window.len()).unwrap());
            request.response = Some((is_accepted, remaining));
        }
    }

    /// Applies the responses that arrive now.
    fn apply_responses(&mut self, now: u64) {
        let answered: Vec<_> = self.open.extract_if(.., |request| request.answered_at == now).collect();
        for request in answered {
            let (is_accepted, remaining) = request.response.unwrap();
            let since = self.sent - request.sent_so_far;
            let own =
                OwnRequests { at_most: request.slots_in_use + since, uncertain: 2 * (since + request.open) };
            let quota = QuotaHeaders {
                max: Some(MAX),
                remaining: Some(remaining),
                interval_ms: Some(PER_MS),
                ..QuotaHeaders::default()
            };
            self.share.observe_headers(&quota, own, self.at(now));
            if !is_accepted {
                self.share.observe_refusal(self.at(request.sent_at), self.at(now));
                // The gate pauses for a window and some jitter.
                self.paused_until = self.paused_until.max(now + PER_MS + PER_MS / 20);
            }
            self.slots_free_at.push_back(now + PER_MS);
        }
    }

    /// Sends as many requests as the slots, their spacing and the gate permit now.
    fn send(&mut self, now: u64) {
        while self.slots_free_at.front().is_some_and(|free_at| *free_at <= now) {
            self.slots_free_at.pop_front();
        }
        loop {
            let in_use = u32::try_from(self.slots_free_at.len() + self.open.len()).unwrap();
            let (spacing, elapsed) = (self.share.spacing(in_use + 1), Duration::from_millis(now));
            let is_time = spacing.is_zero() || self.next_send_at <= elapsed;
            let is_paused = now < self.paused_until;
            if is_paused || in_use >= self.share.limit() || !is_time || self.open.len() >= 32 {
                return;
            }
            self.next_send_at = self.next_send_at.max(elapsed) + spacing;
            self.sent += 1;
            self.open.push(OpenRequest {
                sent_at: now,
                // Requests overtake each other on the way.
                arrives_at: now + 1 + u64::from(self.sent) * 7 % self.latency,
                answered_at: now + 2 + self.latency,
                slots_in_use: in_use + 1,
                sent_so_far: self.sent,
                open: u32::try_from(self.open.len() + 1).unwrap(),
                response: None,
            });
        }
    }
}

fn simulate(configured: u32, other: OtherIntegration, latency: u64, until: u64) -> Outcome {
    let mut simulation = Simulation::new(configured, latency);
    for now in 0..until {
        simulation.receive(now, other);
        simulation.apply_responses(now);
        simulation.send(now);
    }
    let limit = simulation.share.limit();
    Outcome { limit, ..simulation.outcome }
}

const NONE: OtherIntegration = OtherIntegration { requests: 0, burst: 1, from: 0, to: 0 };
const ALWAYS: OtherIntegration = OtherIntegration { requests: 114, burst: 1, from: 0, to: u64::MAX };

#[test]
fn without_other_integrations_the_whole_quota_is_used() {
    for latency in [1, 20, 100, 500] {
        let outcome = simulate(MAX, NONE, latency, 110_000);
        assert!(outcome.refused.is_empty(), "{:?}", outcome.refused);
        assert_eq!(outcome.limit, MAX);
        // A slot is in use for one window plus the latency.
        let least = MAX as usize * 100_000 / (10_010 + usize::try_from(latency).unwrap()) * 99 / 100;
        let used = outcome.accepted_within(10_000, 110_000);
        assert!(used >= least, "{used} of {least} at {latency} ms");
    }
}

#[test]
fn the_quota_left_by_another_integration_is_used_with_few_refusals() {
    for burst in [1, 2, 6, 19, 38, 57, 114] {
        let outcome = simulate(MAX, OtherIntegration { burst, ..ALWAYS }, 100, 130_000);
        let left = usize::try_from(u64::from(MAX) - ALWAYS.requests).unwrap() * 10;
        let used = outcome.accepted_within(30_000, 130_000);
        assert!(outcome.has_refusals_of_at_most(10), "bursts of {burst}: {:?}", outcome.refused);
        // The next burst may start before the previous one has left the window, so less than the average is left.
        let least = if burst == 1 { left * 9 / 10 } else { left * 7 / 10 };
        assert!(used >= least, "bursts of {burst}: {used} of {left} were used");
    }
}

#[test]
fn the_limit_recovers_after_another_integration_stops() {
    for burst in [1, 38] {
        let other = OtherIntegration { from: 33_000, to: 93_000, burst, ..ALWAYS };
        let outcome = simulate(MAX, other, 100, 200_000);
        assert!(outcome.has_refusals_of_at_most(10), "bursts of {burst}: {:?}", outcome.refused);
        assert_eq!(outcome.limit, MAX, "the whole quota is used again");
        let after = outcome.accepted_within(130_000, 200_000);
        assert!(after >= MAX as usize * 7 * 97 / 100, "bursts of {burst}: {after}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_limit_stays_between_one_and_the_configured_value_for_any_headers(
        configured in 0_u32..2_000,
        responses in prop::collection::vec(
            (
                any::<Option<u32>>(),
                any::<Option<u32>>(),
                prop::option::of(0_u64..100_000),
                any::<u32>(),
                0_u32..50,
                0_u64..20_000,
                any::<bool>(),
            ),
            0..40,
        ),
    ) {
        let per = Duration::from_millis(PER_MS);
        let mut share = QuotaShare::new(configured, per);
        let mut now = Instant::now();
        for (max, remaining, interval_ms, at_most, uncertain, later, is_refused) in responses {
            now += Duration::from_millis(later);
            let quota = QuotaHeaders { max, remaining, interval_ms, ..QuotaHeaders::default() };
            share.observe_headers(&quota, OwnRequests { at_most, uncertain }, now);
            if is_refused {
                share.observe_refusal(now, now);
            }
            prop_assert!((1..=configured.max(1)).contains(&share.limit()));
        }
        // After enough responses without other integrations and without refusals, the limit is the configured one.
        for _ in 0..20 {
            now += per;
            let unused = Some(configured.max(1));
            let unshared = QuotaHeaders {
                max: unused,
                remaining: unused,
                interval_ms: Some(PER_MS),
                ..QuotaHeaders::default()
            };
            share.observe_headers(&unshared, OwnRequests { at_most: 1, uncertain: 0 }, now);
        }
        prop_assert_eq!(share.limit(), configured.max(1));
        prop_assert_eq!(share.spacing(0), Duration::ZERO);
    }

    #[test]
    fn few_requests_are_refused_beside_any_steady_integration(requests in 1_u64..150, latency in 5_u64..300) {
        let outcome = simulate(MAX, OtherIntegration { requests, ..ALWAYS }, latency, 60_000);
        prop_assert!(outcome.has_refusals_of_at_most(20), "{} of {}", outcome.refused.len(), outcome.accepted.len());
    }
}
