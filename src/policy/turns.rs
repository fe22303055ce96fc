//! Whose turn it is: courses that did not fail, or suspects. Pure.
//!
//! Suspects go behind the others, and while others wait they get a bounded share of the requests: a thousand of them
//! hold up nothing, and none of them waits for ever.

use super::attribution::Lane;

/// While others wait, one request in so many takes suspects.
pub const SUSPECTS_SHARE: u32 = 10;

/// What is there to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Courses that did not fail may be claimed now.
    pub fresh: bool,
    /// There may be more of them: a claim that is under way has not ended.
    pub may_be_fresh: bool,
    /// Suspects may be claimed now.
    pub suspects: bool,
}

/// How the turns went.
#[derive(Debug, Clone, Default)]
pub struct Turns {
    /// Requests since the last one that took suspects.
    since_suspects: u32,
}

impl Turns {
    /// Which courses the next request takes. `probe`: which ones it should take, if it is a probe. `None`: there is
    /// nothing to send now.
    #[must_use]
    pub fn next(&self, probe: Option<Lane>, waiting: Waiting) -> Option<Lane> {
        let is_their_turn = match probe {
            Some(lane) => lane == Lane::Suspects,
            None => self.since_suspects + 1 >= SUSPECTS_SHARE,
        };
        let may_be_others = waiting.fresh || waiting.may_be_fresh;
        if waiting.suspects && (is_their_turn || !may_be_others) {
            Some(Lane::Suspects)
        } else {
            waiting.fresh.then_some(Lane::Fresh)
        }
    }

    /// A request took these.
    pub fn took(&mut self, lane: Lane) {
        self.since_suspects = match lane {
            Lane::Fresh => self.since_suspects.saturating_add(1).min(SUSPECTS_SHARE),
            Lane::Suspects => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Waiting = Waiting { fresh: true, may_be_fresh: false, suspects: true };

    #[test]
    fn suspects_get_a_tenth_while_others_wait_and_all_where_none_do() {
        let mut turns = Turns::default();
        let mut suspects = 0;
        for _ in 0..1_000 {
            let lane = turns.next(None, BOTH).unwrap();
            turns.took(lane);
            suspects += u32::from(lane == Lane::Suspects);
        }
        assert_eq!(suspects, 100);
        let alone = Waiting { fresh: false, ..BOTH };
        assert_eq!(Turns::default().next(None, alone), Some(Lane::Suspects));
        // Whether others wait is not known before the claim under way has ended.
        let unknown = Waiting { may_be_fresh: true, ..alone };
        assert_eq!(Turns::default().next(None, unknown), None);
        assert_eq!(Turns::default().next(None, Waiting { suspects: false, ..alone }), None);
    }

    #[test]
    fn a_probe_takes_what_it_should_as_far_as_it_is_there() {
        let turns = Turns::default();
        for lane in [Lane::Fresh, Lane::Suspects] {
            assert_eq!(turns.next(Some(lane), BOTH), Some(lane));
        }
        assert_eq!(turns.next(Some(Lane::Suspects), Waiting { suspects: false, ..BOTH }), Some(Lane::Fresh));
        assert_eq!(turns.next(Some(Lane::Fresh), Waiting { fresh: false, ..BOTH }), Some(Lane::Suspects));
    }
}
