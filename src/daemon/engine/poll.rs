//! What the main loop reads from the outbox when no event comes: which courses are due, and the operator's pause.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Engine, WaitFor};
use crate::course::Write;
use crate::daemon::durable_pauses;
use crate::outbox::due::{self, NextDue};
use crate::policy::attribution::Lane;
use crate::policy::linger::linger;
use crate::runtime::run_in_task;

impl Engine {
    /// Expects the courses that are due, and waits for the next one.
    pub(super) async fn poll(&mut self) {
        self.must_read_operator = true;
        let due = self.expect_due_courses().await;
        let now = Instant::now();
        self.last_scan = now;
        let Some(due) = due else { return self.polls.record_poll(None, false, now) };
        if self.queues.should_claim(now) {
            self.polls.record_event(now);
        }
        let is_quiet = self.context.runtime.wake.is_listening() && self.context.account.pauses().is_empty();
        self.polls.record_poll(due.wait(), is_quiet, now);
        if due::is_due(due.creates) && self.context.runtime.wake.is_listening() {
            // A poll soon after a notification finds the first courses of a short batch, as the notification did.
            self.wait_for_more_courses().await;
        }
    }

    /// Lets a batch that may be short wait for more courses, where that saves requests.
    pub(super) async fn wait_for_more_courses(&mut self) {
        let wait = self.linger();
        // A timer would turn no wait into a millisecond.
        if !wait.is_zero() {
            self.wait(WaitFor::Linger, Some(Instant::now() + wait)).await;
        }
    }

    /// How long a batch that may be short waits at present.
    pub(super) fn linger(&self) -> Duration {
        let (in_use, limit) = self.context.account.rate_limiter.usage();
        linger(self.context.settings.linger, in_use, limit)
    }

    /// Expects the courses that are due. `None`: the database did not answer.
    pub(super) async fn expect_due_courses(&mut self) -> Option<NextDue> {
        let context = Arc::clone(&self.context);
        let due = run_in_task(async move { due::read_next_due(&context.edges.database).await }).await;
        let Some(Ok(due)) = due else {
            // The statements that follow fail, too, and report it.
            self.queues.expect_all(Lane::Fresh);
            self.queues.expect_all(Lane::Suspects);
            self.may_be_unconfirmed = true;
            return None;
        };
        let fresh =
            [(Write::Create, due.creates), (Write::Update, due.updates), (Write::Archive, due.archives)];
        for (write, _) in fresh.into_iter().filter(|(_, due)| due::is_due(*due)) {
            self.queues.expect(write, Lane::Fresh);
        }
        if due.archives.is_none() {
            // No archive is pending any more, so none is held.
            self.context.account.hold_archives(None);
        }
        if due::is_due(due.suspects) {
            self.queues.expect_all(Lane::Suspects);
        }
        // Unconfirmed courses may wait for an operator. If one is looked up, that is an event.
        self.may_be_unconfirmed |= due::is_due(due.unconfirmed);
        Some(due)
    }

    /// Reads the operator's pause and the durable pauses, at each poll and at least once per poll interval. False until the
    /// first read has succeeded.
    pub(super) async fn read_operator_pause(&mut self) -> bool {
        let last_read = self.operator_read_at;
        let is_recent = last_read.is_some_and(|at| at.elapsed() < self.polls.wait());
        if is_recent && !self.must_read_operator {
            return true;
        }
        if durable_pauses::read(&self.context).await {
            self.operator_read_at = Some(Instant::now());
            self.start_reading_day_end();
        } else {
            self.operator_read_at = last_read.map(|_| Instant::now());
        }
        self.must_read_operator = false;
        self.operator_read_at.is_some()
    }

    /// Starts a request for the end of the account's day, if it is needed.
    fn start_reading_day_end(&mut self) {
        let held = *self.lease.borrow();
        if let Some(held) = held
            && self.account_reads.is_empty()
            && self.context.account.should_request_day_end()
        {
            self.account_reads.spawn(durable_pauses::read_day_end(Arc::clone(&self.context), held));
        }
    }
}
