//! How many requests short batches use at different rates, in a model with virtual time: the window, the backlog and the wait
//! as the engine combines them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use course_sync::course::RowId;
use course_sync::policy::backlog::{Backlog, ClaimEnd, Cursor, Remaining};
use course_sync::policy::linger::linger;
use course_sync::policy::quota_share::QuotaShare;
use jiff::Timestamp;
use proptest::prelude::*;

const PER: Duration = Duration::from_secs(10);
const QUOTA: u32 = 190;
const BATCH: usize = 100;
const LINGER: Duration = Duration::from_millis(500);
const CLAIM: Duration = Duration::from_millis(4);
const RESPONSE: Duration = Duration::from_millis(200);
/// Long enough for the use of the window to settle.
const WARM_UP: Duration = Duration::from_secs(30);
const MEASURED: Duration = Duration::from_mins(1);

/// A catalogue that commits so many courses at once, at this interval.
#[derive(Debug, Clone, Copy)]
struct Commits {
    courses: usize,
    every: Duration,
}

impl Commits {
    fn per_second(courses: u32) -> Self {
        Self { courses: 1, every: Duration::from_secs(1) / courses }
    }
}

/// What was sent while the catalogue committed.
#[derive(Debug)]
struct Sent {
    /// The number of requests in the fullest window.
    fullest: usize,
    /// Requests in a window, on average.
    requests: f64,
    courses_per_request: f64,
    /// From the commit to the request: the median, in milliseconds.
    delay: u128,
}

/// The daemon, and the outbox as the times of the commits.
struct Model {
    now: Instant,
    commits: Commits,
    next_commit: Instant,
    pending: VecDeque<Instant>,
    /// Until when each request counts.
    slots: VecDeque<Instant>,
    share: QuotaShare,
    next_send_at: Instant,
    backlog: Backlog,
    /// Each request, with the times of its courses' commits.
    sent: Vec<(Instant, Vec<Instant>)>,
    fullest: usize,
}

impl Model {
    fn new(commits: Commits) -> Self {
        let now = Instant::now();
        Self {
            now,
            commits,
            next_commit: now,
            pending: VecDeque::new(),
            slots: VecDeque::new(),
            share: QuotaShare::new(QUOTA, PER),
            next_send_at: now,
            backlog: Backlog::default(),
            sent: Vec::new(),
            fullest: 0,
        }
    }

    /// Time passes, and the catalogue commits.
    fn advance_to(&mut self, at: Instant) {
        self.now = self.now.max(at);
        while self.next_commit <= self.now {
            self.pending.extend(vec![self.next_commit; self.commits.courses]);
            self.next_commit += self.commits.every;
        }
    }

    fn in_use(&mut self) -> usize {
        let ended = self.slots.partition_point(|until| *until <= self.now);
        self.slots.drain(..ended);
        self.slots.len()
    }

    fn linger(&mut self) -> Duration {
        let in_use = u32::try_from(self.in_use()).unwrap();
        linger(LINGER, in_use, QUOTA)
    }

    /// A commit wakes the engine, and a claim that may be short waits.
    fn wait_for_work(&mut self) {
        let next = self.next_commit;
        self.advance_to(if self.pending.is_empty() { next } else { self.now });
        self.backlog.expect_courses();
        let wait = self.linger();
        self.advance_to(self.now + wait);
    }

    /// Waits until one more request may be sent.
    fn wait_for_permit(&mut self) {
        let quota = QUOTA as usize;
        if let Some(must_end) = self.in_use().checked_sub(quota) {
            self.advance_to(self.slots[must_end]);
        }
        let in_use = u32::try_from(self.in_use()).unwrap() + 1;
        let spacing = self.share.spacing(in_use);
        let at = if spacing.is_zero() { self.now } else { self.now.max(self.next_send_at) };
        self.next_send_at = at + spacing;
        self.advance_to(at);
    }

    fn claim(&mut self) {
        let has_waited = !self.linger().is_zero();
        let in_use = self.in_use();
        let is_spread = !self.share.spacing(u32::try_from(in_use).unwrap() + 1).is_zero();
        let free = if is_spread { 1 } else { QUOTA as usize - in_use };
        let batches = self.backlog.batches(has_waited).min(free);
        let begun = self.backlog.begin_claim(self.now);
        let courses: Vec<_> = self.pending.drain(..self.pending.len().min(batches * BATCH)).collect();
        self.advance_to(self.now + CLAIM);
        for batch in courses.chunks(BATCH) {
            self.sent.push((self.now, batch.to_vec()));
            self.slots.push_back(self.now + RESPONSE + PER);
        }
        self.fullest = self.fullest.max(self.in_use());
        let remaining = if courses.len() == batches * BATCH {
            Remaining::After(Cursor::after(Timestamp::UNIX_EPOCH, RowId(1)))
        } else {
            Remaining::Nothing
        };
        let wait = self.linger();
        self.backlog.end_claim(begun, ClaimEnd::Made { remaining, took: CLAIM }, self.now);
        self.backlog.postpone_reread(self.now + wait);
    }

    fn run(mut self) -> Sent {
        let from = self.now + WARM_UP;
        while self.now < from + MEASURED {
            if self.backlog.should_claim(self.now) {
                self.wait_for_permit();
                self.claim();
            } else {
                self.wait_for_work();
            }
        }
        let measured: Vec<_> = self.sent.iter().filter(|(at, _)| *at >= from).collect();
        let mut delays: Vec<_> = measured
            .iter()
            .flat_map(|(at, courses)| courses.iter().map(|committed| (*at - *committed).as_millis()))
            .collect();
        delays.sort_unstable();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let (requests, courses) = (measured.len() as f64, delays.len() as f64);
        Sent {
            fullest: self.fullest,
            requests: requests * PER.as_secs_f64() / MEASURED.as_secs_f64(),
            courses_per_request: courses / requests,
            delay: delays[delays.len() / 2],
        }
    }
}

/// The most requests of short batches in a window; see `policy/linger.rs`.
fn bound() -> usize {
    let quota = QUOTA as usize;
    quota * 3 / 4 + 1 + usize::try_from(PER.as_millis() / LINGER.as_millis()).unwrap() + 1
}

#[test]
fn few_courses_leave_at_once_and_batches_fill_as_the_load_grows() {
    let mut table = Vec::new();
    for (rate, use_at_most, courses_at_least, delay_at_most) in [
        (1, 0.06, 1.0, 4),
        (4, 0.22, 1.0, 4),
        (10, 0.40, 1.0, 150),
        (50, 0.42, 6.0, 150),
        (200, 0.45, 20.0, 150),
        (500, 0.45, 60.0, 150),
        (1000, 0.65, 85.0, 300),
        (1500, 0.90, 90.0, 350),
        (1800, 1.01, 95.0, 1000),
        (1900, 1.01, 95.0, u128::MAX),
        (4000, 1.01, 99.0, u128::MAX),
    ] {
        let sent = Model::new(Commits::per_second(rate)).run();
        let used = sent.requests / f64::from(QUOTA);
        table.push(format!("{rate}/s: {used:.2} of the window, {sent:.1?}"));
        let is_met = used <= use_at_most
            && sent.courses_per_request >= courses_at_least
            && sent.delay <= delay_at_most;
        assert!(is_met, "{table:#?}");
    }
    println!("{table:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn short_batches_never_use_up_the_window(courses in 1_usize..40, every in 1_u64..200) {
        let commits = Commits { courses, every: Duration::from_millis(every) };
        // Fewer than a batch in the longest wait, so that every batch is short.
        prop_assume!(courses as u128 * LINGER.as_millis() / u128::from(every) < BATCH as u128);
        let sent = Model::new(commits).run();
        prop_assert!(sent.fullest <= bound(), "{sent:?}");
    }

    #[test]
    fn the_quota_is_used_up_only_by_full_batches(courses in 1_usize..400, every in 1_u64..500) {
        let commits = Commits { courses, every: Duration::from_millis(every) };
        let sent = Model::new(commits).run();
        let is_used_up = sent.requests >= f64::from(QUOTA) * 0.97;
        prop_assert!(!is_used_up || sent.courses_per_request >= 95.0, "{sent:?}");
    }
}
