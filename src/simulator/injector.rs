//! Which fault hits which request: the rules in force and how often they have fired. Touches nothing else.

use super::faults::{Answer, Fault};
use super::route::Operation;

/// The rules in force; the first that matches wins.
#[derive(Debug, Default)]
pub(super) struct Faults {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    fault: Fault,
    matched: u64,
    left: Option<u64>,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        let left = fault.times;
        self.rules.push(Rule { fault, matched: 0, left });
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    /// The rules that can still fire; `times` is what they have left.
    pub(super) fn list(&self) -> Vec<Fault> {
        let live = self.rules.iter().filter(|rule| rule.left != Some(0));
        live.map(|rule| Fault { times: rule.left, ..rule.fault.clone() }).collect()
    }

    /// The fault for a request, if one hits. Before the body is read (`None`) only those that do not wait
    /// for it are asked; afterwards only the others.
    pub(super) fn pick(
        &mut self,
        operation: Operation,
        body: Option<&[u8]>,
        rng: &mut fastrand::Rng,
    ) -> Option<Fault> {
        self.rules
            .iter_mut()
            .filter(|rule| (rule.fault.answer == Answer::ResetUnread) == body.is_none())
            .find_map(|rule| rule.fire(operation, body.unwrap_or_default(), rng))
    }
}

impl Rule {
    fn fire(&mut self, operation: Operation, body: &[u8], rng: &mut fastrand::Rng) -> Option<Fault> {
        let on = &self.fault.on;
        let meant = on.operation.is_none_or(|wanted| wanted == operation)
            && on.contains.as_ref().is_none_or(|text| String::from_utf8_lossy(body).contains(text.as_str()));
        if !meant {
            return None;
        }
        self.matched += 1;
        let due = self.matched >= on.nth
            && self.left != Some(0)
            && on.probability.is_none_or(|probability| rng.f64() < probability);
        if due {
            self.left = self.left.map(|left| left - 1);
        }
        due.then(|| self.fault.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_fires_from_its_nth_match_and_so_many_times() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut faults = Faults::default();
        faults.add(Fault::new(Answer::Hang).on(Operation::BatchCreate).containing("x").from_nth(2).times(1));
        let mut hit = |operation, body: &[u8]| faults.pick(operation, Some(body), &mut rng).is_some();
        assert!(!hit(Operation::BatchRead, b"x"));
        assert!(!hit(Operation::BatchCreate, b"y"));
        assert!(!hit(Operation::BatchCreate, b"x"), "the first match");
        assert!(hit(Operation::BatchCreate, b"x"));
        assert!(!hit(Operation::BatchCreate, b"x"), "used up");
    }
}
