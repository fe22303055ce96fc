//! Decides whether the next request contains fresh courses or suspects. Pure.
//!
//! While fresh courses wait, suspects get a bounded share of the requests. So a thousand suspects hardly delay fresh
//! courses, and each suspect is sent eventually.

use crate::policy::attribution::Lane;

/// While fresh courses wait, one of this many requests contains suspects.
pub const REQUESTS_PER_SUSPECTS_TURN: u32 = 10;

/// Which courses wait to be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingLanes {
    /// Fresh courses can be claimed now.
    pub fresh: bool,
    /// Suspects can be claimed now.
    pub suspects: bool,
}

/// The recent turns.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// Requests since the last one with suspects.
    since_suspects: u32,
}

impl Turns {
    /// The lane of the next request; `None`: nothing can be claimed now. `probe`: the preferred lane, if the request is a
    /// probe.
    #[must_use]
    pub fn next_lane(&self, probe: Option<Lane>, waiting: WaitingLanes) -> Option<Lane> {
        let is_suspects_turn = match probe {
            Some(lane) => lane == Lane::Suspects,
            None => self.since_suspects + 1 >= REQUESTS_PER_SUSPECTS_TURN,
        };
        if waiting.suspects && (is_suspects_turn || !waiting.fresh) {
            Some(Lane::Suspects)
        } else {
            waiting.fresh.then_some(Lane::Fresh)
        }
    }

    /// Records a claim for up to this many requests of the lane.
    pub fn record(&mut self, lane: Lane, requests: usize) {
        let requests = u32::try_from(requests).unwrap_or(REQUESTS_PER_SUSPECTS_TURN);
        self.since_suspects = match lane {
            Lane::Fresh => self.since_suspects.saturating_add(requests).min(REQUESTS_PER_SUSPECTS_TURN),
            Lane::Suspects => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: WaitingLanes = WaitingLanes { fresh: true, suspects: true };

    #[test]
    fn suspects_get_a_tenth_of_the_requests_while_fresh_courses_wait_and_all_otherwise() {
        let mut turns = Turns::default();
        let mut suspects = 0;
        for _ in 0..1_000 {
            let lane = turns.next_lane(None, BOTH).unwrap();
            turns.record(lane, 1);
            suspects += u32::from(lane == Lane::Suspects);
        }
        assert_eq!(suspects, 100);
        let suspects_only = WaitingLanes { fresh: false, ..BOTH };
        assert_eq!(Turns::default().next_lane(None, suspects_only), Some(Lane::Suspects));
        assert_eq!(Turns::default().next_lane(None, WaitingLanes { suspects: false, ..suspects_only }), None);
    }

    #[test]
    fn a_probe_uses_the_preferred_lane_if_it_has_courses() {
        let turns = Turns::default();
        for lane in [Lane::Fresh, Lane::Suspects] {
            assert_eq!(turns.next_lane(Some(lane), BOTH), Some(lane));
        }
        assert_eq!(
            turns.next_lane(Some(Lane::Suspects), WaitingLanes { suspects: false, ..BOTH }),
            Some(Lane::Fresh)
        );
        assert_eq!(
            turns.next_lane(Some(Lane::Fresh), WaitingLanes { fresh: false, ..BOTH }),
            Some(Lane::Suspects)
        );
    }
}
