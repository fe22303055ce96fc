//! What stands against sending: the pauses of creates, of look-ups and of both, and what is known of the account.
//!
//! Creates and look-ups have gates of their own, so that a look-up that fails never stops creates that succeed. They
//! share the operator's pause and the quota. Logged and counted once, here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::Notify;

use crate::config::Percent;
use crate::policy::answer::{Exchange, QuotaHeaders};
use crate::policy::attribution::{Attribution, Decision, Effect, Lane, Sample, Sent};
use crate::policy::day::{self, Agree, Day, Noted};
use crate::policy::interpret::{Interpretation, Signal};
use crate::policy::lookup::{Failure, LookUps};
use crate::policy::pause::{Gate, Pause, Pauses, Reason, Trouble, reserve_reached};
use crate::policy::reconcile::Reading;
use crate::policy::retry::RetryPolicy;
use crate::telemetry::metrics::{Metrics, Operation, Window};

mod view;

pub use view::PauseView;

/// The state of one account.
#[derive(Debug)]
pub struct Account {
    gates: Mutex<Gates>,
    attribution: Mutex<Attribution>,
    look_ups: Mutex<LookUps>,
    quota: Mutex<QuotaHeaders>,
    day: Mutex<KnownDay>,
    /// The rows of pauses that outlive a restart, as they were last written or read.
    noted: Mutex<BTreeMap<Reason, Noted>>,
    changed: Notify,
    news: Notify,
    metrics: Arc<Metrics>,
    daily_reserve: Percent,
}

/// The pauses by what they stop.
#[derive(Debug)]
struct Gates {
    /// Everything: the operator, the quota.
    shared: Pauses,
    create: Pauses,
    read: Pauses,
}

impl Gates {
    /// The pauses that this one of an operation belongs to.
    fn of(&mut self, operation: Operation, reason: Reason) -> &mut Pauses {
        if reason.is_shared() { &mut self.shared } else { self.own(operation) }
    }

    fn own(&mut self, operation: Operation) -> &mut Pauses {
        match operation {
            Operation::Read => &mut self.read,
            Operation::Create | Operation::Schema | Operation::Token => &mut self.create,
        }
    }
}

/// What is known of the account's day.
#[derive(Debug, Default)]
struct KnownDay {
    day: Day,
    /// When HubSpot was last asked.
    asked_at: Option<Instant>,
}

/// How often HubSpot is asked when the day ends, until it shows it.
const ASK_AGAIN: Duration = Duration::from_mins(15);
/// The day's end is asked for while so much of the day is left beyond the reserve: one part in so many. Later
/// HubSpot might answer nothing.
const ASK_AHEAD: u64 = 5;
/// The pauses of the daemon's own that outlive a restart.
pub(super) const DURABLE: [Reason; 2] = [Reason::DailyQuota, Reason::Rejected];

impl Account {
    pub(super) fn new(
        retry: &RetryPolicy,
        per: Duration,
        max_size: u16,
        daily_reserve: Percent,
        metrics: Arc<Metrics>,
    ) -> Self {
        let pauses = || Pauses::new(retry.clone(), per);
        Self {
            gates: Mutex::new(Gates { shared: pauses(), create: pauses(), read: pauses() }),
            attribution: Mutex::new(Attribution::new(max_size)),
            look_ups: Mutex::default(),
            quota: Mutex::default(),
            day: Mutex::default(),
            noted: Mutex::default(),
            changed: Notify::new(),
            news: Notify::new(),
            metrics,
            daily_reserve,
        }
    }

    fn gates(&self) -> MutexGuard<'_, Gates> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn attribution(&self) -> MutexGuard<'_, Attribution> {
        self.attribution.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look_ups(&self) -> MutexGuard<'_, LookUps> {
        self.look_ups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A term of the lease begins: its first request is a probe, and no evidence of before is believed.
    pub(super) fn begin_term(&self) {
        self.gates().create.begin_term();
        self.attribution().begin_term();
    }

    /// What may be created now.
    pub(super) fn gate(&self) -> Gate {
        let (mut gates, now) = (self.gates(), Instant::now());
        let ended: Vec<Reason> =
            gates.create.expire(now).into_iter().chain(gates.shared.expire(now)).collect();
        let gate = gates.shared.gate(now).and(gates.create.gate(now));
        drop(gates);
        self.ended(Operation::Create, ended);
        let attribution = self.attribution();
        gate.and(Gate::Open { courses: attribution.limit(), concurrent: !attribution.is_cautious() })
    }

    /// Whether look-ups may be sent now.
    pub(super) fn lets_look_up(&self) -> bool {
        let (mut gates, now) = (self.gates(), Instant::now());
        let ended = gates.read.expire(now);
        let gate = gates.shared.gate(now).and(gates.read.gate(now));
        drop(gates);
        self.ended(Operation::Read, ended);
        matches!(gate, Gate::Open { .. })
    }

    /// Whether something about the account may be asked now.
    pub(super) fn lets_ask(&self) -> bool {
        matches!(self.gates().shared.gate(Instant::now()), Gate::Open { .. })
    }

    /// How many keys the next look-up may ask about.
    pub(super) fn look_up_size(&self) -> u16 {
        self.look_ups().size()
    }

    /// The batch size in use.
    pub(super) fn batch_size(&self) -> u16 {
        self.attribution().batch_size()
    }

    /// Which courses a probe should take.
    pub(super) fn probe(&self) -> (Lane, Sample) {
        self.attribution().probe()
    }

    /// Waits until a pause began or ended. A change since the last call counts.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until a reason to pause came or went, so that it can be reported. News since the last call count.
    pub(super) async fn news(&self) {
        self.news.notified().await;
    }

    /// Whether creates are paused for a reason that a course may have caused.
    fn is_create_paused(&self) -> bool {
        self.gates().create.active().iter().any(|(reason, _)| reason.may_be_a_courses())
    }

    /// Takes in how a create request ended.
    pub(super) fn on_create(
        &self,
        sent: Sent,
        reading: &Interpretation,
        quota: Option<&QuotaHeaders>,
    ) -> Decision {
        let is_paused = self.is_create_paused();
        let decision = self.attribution().on_response(sent, reading, is_paused, Instant::now());
        // Before what ends pauses, which must not end what this prolongs.
        self.on_quota(quota, sent.began);
        match &decision.effect {
            Effect::Pause(trouble) => self.pause(Operation::Create, trouble, sent.began),
            Effect::Probe => self.gates().create.probe(),
            Effect::Passed => self.success(Operation::Create, sent.began, true),
            Effect::Judged => self.success(Operation::Create, sent.began, false),
            Effect::None => {}
        }
        if let Some(courses) = decision.shrank_to {
            tracing::warn!(courses, "large requests fail and small ones pass: sending smaller batches");
        }
        self.changed.notify_one();
        decision
    }

    /// Takes in how a look-up about so many keys ended. What is to be done about its keys, where it failed.
    pub(super) fn on_look_up(
        &self,
        keys: usize,
        reading: &Reading,
        quota: Option<&QuotaHeaders>,
        began: Instant,
    ) -> Option<Failure> {
        self.on_quota(quota, began);
        let failure = match &reading.signal {
            Signal::Passed | Signal::Judged => {
                self.look_ups().passed();
                self.success(Operation::Read, began, false);
                None
            }
            Signal::Pause(trouble) => {
                self.pause(Operation::Read, trouble, began);
                None
            }
            Signal::Failed(trouble) => {
                let failure = self.look_ups().failed(keys);
                if failure == Failure::SetAsideAndPause {
                    self.pause(Operation::Read, trouble, began);
                }
                if trouble.reason == Reason::Token {
                    // Both use the same token: whether creates still work, one course shows.
                    self.gates().create.probe();
                }
                Some(failure)
            }
        };
        self.changed.notify_one();
        failure
    }

    /// The unique property cannot be used: nothing is sent before its definition was read again.
    pub(super) fn cannot_use_property(&self, message: &str) {
        let trouble = Trouble { reason: Reason::Schema, retry_after: None, message: message.to_owned() };
        self.pause(Operation::Create, &trouble, Instant::now());
        self.changed.notify_one();
    }

    /// The unique property can be used.
    pub(super) fn can_use_property(&self) {
        if self.gates().create.lift(Reason::Schema) {
            self.ended(Operation::Create, [Reason::Schema]);
        }
        self.changed.notify_one();
    }

    fn on_quota(&self, quota: Option<&QuotaHeaders>, began: Instant) {
        let Some(quota) = quota else { return };
        self.quota_seen(quota);
        if let Some(trouble) = reserve_reached(quota, |daily| self.daily_reserve.of(daily)) {
            self.pause(Operation::Create, &trouble, began);
        }
    }

    fn success(&self, operation: Operation, began: Instant, creates: bool) {
        let mut gates = self.gates();
        let own = gates.own(operation).success(began, creates);
        let shared = gates.shared.success(began, creates);
        drop(gates);
        self.ended(operation, own.into_iter().chain(shared));
    }

    fn pause(&self, operation: Operation, trouble: &Trouble, sent_at: Instant) {
        let is_news = {
            let (mut gates, now) = (self.gates(), Instant::now());
            let pauses = gates.of(operation, trouble.reason);
            if trouble.reason == Reason::DailyQuota {
                let ends = pauses.held(Reason::DailyQuota).and_then(|pause| pause.ends);
                if ends.is_none_or(|ends| ends <= now) {
                    pauses.day_ends(self.day_left().map(|left| now + left));
                }
            }
            pauses.trouble(trouble, sent_at, now, fastrand::f64())
        };
        if is_news {
            self.began(operation, trouble.reason, &trouble.message);
        }
    }

    fn began(&self, operation: Operation, reason: Reason, detail: &str) {
        self.news.notify_one();
        if operation == Operation::Read && !reason.is_shared() {
            tracing::warn!(reason = reason.as_str(), detail, "look-ups are paused; creates go on");
            return;
        }
        self.metrics.paused(reason, true);
        let view = self.view_of(|other, _| other == reason).into_iter().next();
        let ends = view.and_then(|view| view.ends).map(|ends| ends.to_string());
        if reason.needs_a_person() {
            tracing::error!(reason = reason.as_str(), detail, "paused: a person has to mend this");
        } else {
            tracing::warn!(reason = reason.as_str(), detail, ends, "paused");
        }
    }

    fn ended(&self, operation: Operation, reasons: impl IntoIterator<Item = Reason>) {
        for reason in reasons {
            self.news.notify_one();
            if operation == Operation::Read && !reason.is_shared() {
                tracing::info!(reason = reason.as_str(), "looking up again");
                continue;
            }
            self.metrics.paused(reason, false);
            tracing::info!(reason = reason.as_str(), "sending again");
        }
    }

    fn day(&self) -> MutexGuard<'_, KnownDay> {
        self.day.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn noted_rows(&self) -> MutexGuard<'_, BTreeMap<Reason, Noted>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn day_left(&self) -> Option<Duration> {
        self.day().day.left(Timestamp::now(), fastrand::f64())
    }

    /// Whether HubSpot is to be asked when the account's day ends: it matters soon, and nobody knows. True
    /// at most once in a while.
    pub(super) fn wants_day(&self) -> bool {
        let quota = self.quota();
        let is_low = quota.daily.zip(quota.daily_remaining).is_some_and(|(daily, left)| {
            left <= self.daily_reserve.of(daily).saturating_add(daily / ASK_AHEAD)
        });
        let may_ask = {
            let gates = self.gates();
            match (gates.shared.active().as_slice(), gates.create.active().is_empty()) {
                ([], true) => is_low,
                // The row of an earlier process may show it.
                ([(Reason::DailyQuota, pause)], true) => pause.ends.is_none(),
                _ => false,
            }
        };
        let mut day = self.day();
        let is_time = day.asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN);
        let is_wanted = may_ask && is_time && day.day.end(Timestamp::now()).is_none();
        if is_wanted {
            day.asked_at = Some(Instant::now());
        }
        is_wanted
    }

    /// HubSpot shows when the daily quota starts afresh. Without effect where that cannot be.
    pub(super) fn learn_reset(&self, resets_at: Timestamp) {
        if !self.day().day.learn_reset(resets_at, Timestamp::now()) {
            return;
        }
        let left = self.day_left();
        self.gates().shared.day_ends(left.map(|left| Instant::now() + left));
        tracing::info!(resets_at = %resets_at, "the account's day");
        self.changed.notify_one();
    }

    /// A pause that outlives a restart as this process knows it, and its message.
    pub(super) fn durable(&self, reason: Reason) -> Option<(String, Noted)> {
        let mut gates = self.gates();
        let known = |pause: &Pause| (pause.message.clone(), Noted { ends: pause.ends });
        gates.of(Operation::Create, reason).held(reason).map(known)
    }

    /// What is to be done so that the row of a pause, which holds for `left` if that is known, and this process agree.
    /// `row`: its message and what is left of it. What concerns this process alone is done.
    pub(super) fn agree(&self, reason: Reason, row: Option<(&str, Option<Duration>)>) -> Agree {
        let noted = self.noted_rows().get(&reason).copied();
        let work = day::agree(self.durable(reason).map(|(_, known)| known), noted, row.is_some());
        match (work, row) {
            (Agree::Adopt, Some((message, left))) => {
                let now = Instant::now();
                let ends = left.map(|left| now + left);
                if reason == Reason::Rejected {
                    self.attribution().adopt_rejection(now);
                }
                if self.gates().of(Operation::Create, reason).adopt(reason, message, ends, now) {
                    self.began(Operation::Create, reason, message);
                }
                self.noted(reason, Some(Noted { ends }));
            }
            (Agree::Lift, _) => {
                if reason == Reason::Rejected {
                    self.attribution().forget_rejection(Instant::now());
                }
                if self.gates().of(Operation::Create, reason).lift(reason) {
                    self.ended(Operation::Create, [reason]);
                }
                self.noted(reason, None);
                self.changed.notify_one();
            }
            (Agree::Already, None) => self.noted(reason, None),
            (Agree::Already | Agree::Write | Agree::Erase | Agree::Adopt, _) => {}
        }
        work
    }

    /// The row of a pause reads so now.
    pub(super) fn noted(&self, reason: Reason, row: Option<Noted>) {
        let mut noted = self.noted_rows();
        match row {
            Some(row) => noted.insert(reason, row),
            None => noted.remove(&reason),
        };
    }

    /// Takes in what an answer that means nothing else says of the quota.
    pub(super) fn quota_heard(&self, exchange: &Exchange) {
        if let Some(quota) = exchange.quota() {
            self.quota_seen(quota);
        }
    }

    /// Something was done about a reason: it is tried again at once.
    pub(super) fn try_again(&self, reason: Reason) {
        let (mut gates, now) = (self.gates(), Instant::now());
        gates.create.try_again(reason, now);
        gates.read.try_again(reason, now);
        drop(gates);
        self.changed.notify_one();
    }

    /// Whether a reason holds, for whatever operation.
    pub(super) fn holds(&self, reason: Reason) -> bool {
        let gates = self.gates();
        [&gates.shared, &gates.create, &gates.read].iter().any(|pauses| pauses.held(reason).is_some())
    }

    /// Takes in what the operator asked for: `Some` pauses, `None` resumes.
    pub(super) fn operator(&self, word: Option<&str>) {
        if self.gates().shared.operator(word, Instant::now()) {
            self.metrics.paused(Reason::Operator, word.is_some());
            match word {
                Some(detail) => tracing::warn!(reason = Reason::Operator.as_str(), detail, "paused"),
                None => tracing::info!(reason = Reason::Operator.as_str(), "sending again"),
            }
            self.changed.notify_one();
            self.news.notify_one();
        }
    }

    fn quota_seen(&self, seen: &QuotaHeaders) {
        if let Some(left) = seen.remaining {
            self.metrics.quota_remaining(Window::Interval, u64::from(left));
        }
        if let Some(left) = seen.daily_remaining {
            self.metrics.quota_remaining(Window::Daily, left);
        }
        let mut quota = self.quota.lock().unwrap_or_else(PoisonError::into_inner);
        *quota = QuotaHeaders {
            max: seen.max.or(quota.max),
            remaining: seen.remaining.or(quota.remaining),
            interval_ms: seen.interval_ms.or(quota.interval_ms),
            daily: seen.daily.or(quota.daily),
            daily_remaining: seen.daily_remaining.or(quota.daily_remaining),
        };
    }

    /// The quota headers seen last.
    #[must_use]
    pub fn quota(&self) -> QuotaHeaders {
        *self.quota.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
