//! The queues of courses to claim: one for each kind of request, and for fresh courses and suspects apart. Decides which one is
//! next. Pure.
//!
//! Kinds take turns, so a catalogue that changes a million courses does not delay new ones, and the other way round.

use std::time::Instant;

use crate::course::Write;
use crate::policy::attribution::Lane;
use crate::policy::backlog::Backlog;
use crate::policy::turns::{Turns, WaitingLanes};

/// Which courses a claim takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// What their requests do.
    pub write: Write,
    /// Whether they are suspects.
    pub lane: Lane,
}

/// The backlogs of one lane.
#[derive(Debug, Default)]
struct LaneBacklogs {
    create: Backlog,
    update: Backlog,
    archive: Backlog,
    /// The kind of the last claim.
    last: Option<Write>,
}

impl LaneBacklogs {
    fn of(&self, write: Write) -> &Backlog {
        match write {
            Write::Create => &self.create,
            Write::Update => &self.update,
            Write::Archive => &self.archive,
        }
    }

    fn all_mut(&mut self) -> [&mut Backlog; 3] {
        [&mut self.create, &mut self.update, &mut self.archive]
    }

    /// The next kind after the last one whose courses wait.
    fn next(&self, may_archive: bool, now: Instant) -> Option<Write> {
        let after = Write::ALL.iter().position(|write| Some(*write) == self.last).map_or(0, |at| at + 1);
        let mut in_turn = Write::ALL.into_iter().cycle().skip(after).take(Write::ALL.len());
        in_turn.find(|write| (may_archive || *write != Write::Archive) && self.of(*write).should_claim(now))
    }
}

/// The backlog of each queue.
#[derive(Debug, Default)]
pub struct Queues {
    fresh: LaneBacklogs,
    suspects: LaneBacklogs,
    turns: Turns,
}

impl Queues {
    fn lane_mut(&mut self, lane: Lane) -> &mut LaneBacklogs {
        match lane {
            Lane::Fresh => &mut self.fresh,
            Lane::Suspects => &mut self.suspects,
        }
    }

    /// The backlog of a queue.
    pub fn backlog(&mut self, queue: Queue) -> &mut Backlog {
        let [create, update, archive] = self.lane_mut(queue.lane).all_mut();
        match queue.write {
            Write::Create => create,
            Write::Update => update,
            Write::Archive => archive,
        }
    }

    /// There may be courses to claim in this queue.
    pub fn expect(&mut self, write: Write, lane: Lane) {
        self.backlog(Queue { write, lane }).expect_courses();
    }

    /// There may be courses to claim in every queue of the lane.
    pub fn expect_all(&mut self, lane: Lane) {
        for write in Write::ALL {
            self.expect(write, lane);
        }
    }

    /// Forgets the state of the outbox.
    pub fn reset(&mut self) {
        for lane in [&mut self.fresh, &mut self.suspects] {
            lane.all_mut().into_iter().for_each(Backlog::reset);
        }
    }

    /// Ends the waits after failed claims.
    pub fn forget_failures(&mut self) {
        for lane in [&mut self.fresh, &mut self.suspects] {
            lane.all_mut().into_iter().for_each(Backlog::forget_failures);
        }
    }

    fn backlogs(&self) -> impl Iterator<Item = &Backlog> {
        [&self.fresh, &self.suspects].into_iter().flat_map(|lane| Write::ALL.map(|write| lane.of(write)))
    }

    /// Whether a claim can start in any queue.
    #[must_use]
    pub fn should_claim(&self, now: Instant) -> bool {
        self.backlogs().any(|backlog| backlog.should_claim(now))
    }

    /// When claims that wait because one has failed may start.
    pub fn waits(&self) -> impl Iterator<Item = Instant> {
        self.backlogs().filter_map(Backlog::waits_until)
    }

    /// The queue of the next claim, if there is one. `probe`: the preferred lane, if the request is a probe. `may_archive`:
    /// whether archives can be sent, which need reads.
    #[must_use]
    pub fn next(&self, probe: Option<Lane>, may_archive: bool, now: Instant) -> Option<Queue> {
        let (fresh, suspects) = (self.fresh.next(may_archive, now), self.suspects.next(may_archive, now));
        let waiting = WaitingLanes { fresh: fresh.is_some(), suspects: suspects.is_some() };
        let lane = self.turns.next_lane(probe, waiting)?;
        let write = match lane {
            Lane::Fresh => fresh,
            Lane::Suspects => suspects,
        };
        write.map(|write| Queue { write, lane })
    }

    /// Records a claim for up to this many requests of the queue.
    pub fn record(&mut self, queue: Queue, requests: usize) {
        self.turns.record(queue.lane, requests);
        self.lane_mut(queue.lane).last = Some(queue.write);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::backlog::{ClaimEnd, Remaining};

    const NOTHING: ClaimEnd =
        ClaimEnd::Made { remaining: Remaining::Nothing, took: std::time::Duration::ZERO };

    #[test]
    fn kinds_take_turns_while_their_courses_wait() {
        use Write::{Archive, Create, Update};
        let (mut queues, now) = (Queues::default(), Instant::now());
        let mut writes = Vec::new();
        for _ in 0..6 {
            let queue = queues.next(Some(Lane::Fresh), true, now).unwrap();
            queues.record(queue, 1);
            writes.push(queue.write);
        }
        assert_eq!(writes, [Create, Update, Archive, Create, Update, Archive]);

        let empty = Queue { write: Create, lane: Lane::Fresh };
        let begun = queues.backlog(empty).begin_claim(now);
        queues.backlog(empty).end_claim(begun, NOTHING, now);
        assert_eq!(queues.next(Some(Lane::Fresh), true, now).unwrap().write, Update);
        queues.expect(Create, Lane::Fresh);
        assert_eq!(queues.next(Some(Lane::Fresh), true, now).unwrap().write, Create);
    }

    #[test]
    fn archives_wait_while_records_cannot_be_read() {
        let (mut queues, now) = (Queues::default(), Instant::now());
        for _ in 0..10 {
            let queue = queues.next(None, false, now).unwrap();
            queues.record(queue, 1);
            assert_ne!(queue.write, Write::Archive);
        }
    }
}
