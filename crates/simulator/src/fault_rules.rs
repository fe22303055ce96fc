//! Selects the fault for a request, and counts how often each was applied. Touches nothing else.

use super::faults::{Answer, Fault, Match};
use super::received::{self, ReceivedInput};
use super::route::Target;

/// The active faults, in order; the first that matches applies.
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

    /// The faults that are still active; `times` is how many times are left.
    pub(super) fn list(&self) -> Vec<Fault> {
        let live = self.rules.iter().filter(|rule| rule.left != Some(0));
        live.map(|rule| Fault { times: rule.left, ..rule.fault.clone() }).collect()
    }

    /// The fault for a request, if any. Before the body is read (`None`), only faults that do not need it are
    /// considered; afterwards only the others. `unique` are the properties with unique values.
    pub(super) fn pick(
        &mut self,
        target: &Target,
        body: Option<&[u8]>,
        unique: &[&str],
        rng: &mut fastrand::Rng,
    ) -> Option<Fault> {
        // Parse the inputs only if a rule needs them.
        let inputs = match body {
            Some(body) if self.rules.iter().any(|rule| rule.fault.on.needs_inputs()) => {
                received::inputs(target, body)
            }
            _ => Vec::new(),
        };
        self.rules
            .iter_mut()
            .filter(|rule| (rule.fault.answer == Answer::ResetUnread) == body.is_none())
            .find_map(|rule| rule.apply(target, body, &inputs, unique, rng))
    }
}

impl Rule {
    fn apply(
        &mut self,
        target: &Target,
        body: Option<&[u8]>,
        inputs: &[ReceivedInput],
        unique: &[&str],
        rng: &mut fastrand::Rng,
    ) -> Option<Fault> {
        let on = &self.fault.on;
        let text_fits = on.contains.as_ref().is_none_or(|text| {
            body.is_some_and(|body| String::from_utf8_lossy(body).contains(text.as_str()))
        });
        let inputs_fit = !on.needs_inputs() || (body.is_some() && on.fits(inputs, unique));
        let matches = on.operation.is_none_or(|wanted| wanted == target.operation) && text_fits && inputs_fit;
        if !matches {
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

impl Match {
    fn needs_inputs(&self) -> bool {
        self.selects_some() || self.more_than.is_some() || self.at_most.is_some()
    }

    fn selects_some(&self) -> bool {
        self.property.is_some() || self.association.is_some() || self.id.is_some()
    }

    fn fits(&self, inputs: &[ReceivedInput], unique: &[&str]) -> bool {
        self.more_than.is_none_or(|count| inputs.len() > count)
            && self.at_most.is_none_or(|count| inputs.len() <= count)
            && (!self.selects_some() || inputs.iter().any(|input| self.selects(input, unique)))
    }

    /// Whether this input meets the conditions on inputs; true if there are none.
    pub(super) fn selects(&self, input: &ReceivedInput, unique: &[&str]) -> bool {
        let property = self.property.as_ref().is_none_or(|wanted| {
            input.properties.get(&wanted.name).is_some_and(|value| value.contains(&wanted.contains))
        });
        let association = self.association.as_ref().is_none_or(|id| input.associations.contains(id));
        let id = self.id.as_ref().is_none_or(|id| {
            let named = unique.iter().chain(&["hs_course_name"]);
            input.id.as_ref() == Some(id)
                || named.into_iter().any(|name| input.properties.get(*name) == Some(id))
        });
        property && association && id
    }
}

#[cfg(test)]
mod tests {
    use super::super::route::Operation;
    use super::*;

    fn target(operation: Operation) -> Target {
        Target { operation, version: None, object_type: None, name: None, params: Vec::new() }
    }

    fn hang() -> Fault {
        Fault::new(Answer::Hang)
    }

    #[test]
    fn conditions_must_be_met_by_the_same_input() {
        let body = br#"{"inputs":[
            {"properties":{"hs_course_name":"A","key":"k1"},"associations":[{"to":{"id":"7"}}]},
            {"properties":{"hs_course_name":"B","key":"k2","text":"drop table"}}]}"#;
        let cases = [
            (hang().property("text", "table"), true),
            (hang().property("text", ""), true),
            (hang().property("other", ""), false),
            (hang().property("hs_course_name", "C"), false),
            (hang().association("7"), true),
            (hang().association("8"), false),
            (hang().association("7").property("text", ""), false),
            (hang().association("7").property("hs_course_name", "A"), true),
            (hang().id("k2"), true),
            (hang().id("A"), true),
            (hang().id("k"), false),
            (hang().id("drop table"), false),
            (hang().more_than(1), true),
            (hang().more_than(2), false),
            (hang().at_most(2), true),
            (hang().at_most(1), false),
            (hang().more_than(1).id("k3"), false),
        ];
        for (fault, expected) in cases {
            let mut faults = Faults::default();
            faults.add(fault.clone());
            let create = target(Operation::BatchCreate);
            let hit = faults.pick(&create, Some(body), &["key"], &mut fastrand::Rng::with_seed(1));
            assert_eq!(hit.is_some(), expected, "{:?}", fault.on);
        }
        let mut faults = Faults::default();
        faults.add(Fault::new(Answer::ResetUnread).at_most(100));
        let create = target(Operation::BatchCreate);
        assert!(faults.pick(&create, None, &[], &mut fastrand::Rng::with_seed(1)).is_none(), "body unread");
    }

    #[test]
    fn fault_applies_from_its_nth_match_and_a_limited_number_of_times() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut faults = Faults::default();
        faults.add(Fault::new(Answer::Hang).on(Operation::BatchCreate).containing("x").from_nth(2).times(1));
        let mut hit =
            |operation, body: &[u8]| faults.pick(&target(operation), Some(body), &[], &mut rng).is_some();
        assert!(!hit(Operation::BatchRead, b"x"));
        assert!(!hit(Operation::BatchCreate, b"y"));
        assert!(!hit(Operation::BatchCreate, b"x"), "the first match");
        assert!(hit(Operation::BatchCreate, b"x"));
        assert!(!hit(Operation::BatchCreate, b"x"), "used up");
    }
}
