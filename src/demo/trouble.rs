//! HubSpot's bad moment: which requests it hits, and what became of their courses. Pure.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::progress::{count, counted};
use crate::policy::batch::MAX_COURSES;
use crate::simulator::{Answer, Commit, Dialect, Entry, ErrorForm, Fault, Operation};

/// It begins after so many requests at the latest: early in the second window of the quota.
const BEGINS_AFTER: usize = 200;

/// The faults of the burst, in the middle of what `courses` take: no answer, 502 from the edge, both
/// after the courses were created, and 429.
pub(super) fn faults(courses: usize) -> Vec<Fault> {
    let requests = courses.div_ceil(usize::from(MAX_COURSES));
    let begins = (requests / 2).clamp(2, BEGINS_AFTER) as u64;
    let bad_gateway = Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None };
    let too_many = Answer::RateLimited { dialect: Dialect::Secondly, retry_after: None };
    let burst = [
        Fault::new(Answer::Hang).committing(Commit::Yes).times(1),
        Fault::new(bad_gateway).committing(Commit::Yes).times(2),
        Fault::new(too_many).times(3),
    ];
    // A request that one fault hits does not count for those behind it: they follow one another.
    burst.map(|fault| fault.on(Operation::BatchCreate).from_nth(begins)).into()
}

/// One sentence for each kind of fault that hit, as the journal tells it. `patience` is how long a
/// request was waited for.
pub(super) fn stories(journal: &[Entry], patience: Duration) -> Vec<String> {
    let creates: Vec<&Entry> =
        journal.iter().filter(|entry| entry.operation == Operation::BatchCreate).collect();
    let keys = |entry: &Entry| -> Vec<String> {
        entry.inputs.iter().filter_map(|input| input.unique_value.clone()).collect()
    };
    let looked_up: BTreeSet<String> =
        journal.iter().filter(|entry| entry.operation == Operation::BatchRead).flat_map(keys).collect();
    let mut created: HashMap<&str, usize> = HashMap::new();
    for input in creates.iter().flat_map(|entry| &entry.inputs) {
        if let (Some(key), Some(_)) = (&input.unique_value, input.id) {
            *created.entry(key).or_default() += 1;
        }
    }
    let mut hit: Vec<(Option<u16>, usize, BTreeSet<String>)> = Vec::new();
    for entry in creates.iter().filter(|entry| entry.faulted) {
        let status = entry.status.filter(|_| entry.answered);
        match hit.iter_mut().find(|(known, ..)| *known == status) {
            Some((_, requests, courses)) => {
                *requests += 1;
                courses.extend(keys(entry));
            }
            None => hit.push((status, 1, keys(entry).into_iter().collect())),
        }
    }
    let tell = |(status, requests, courses): (Option<u16>, usize, BTreeSet<String>)| {
        let twice = courses.iter().filter(|key| created.get(key.as_str()).is_some_and(|times| *times > 1));
        let known = courses.intersection(&looked_up).count();
        story(status, requests, courses.len(), known, twice.count(), patience)
    };
    hit.into_iter().map(tell).collect()
}

fn story(
    status: Option<u16>,
    requests: usize,
    courses: usize,
    looked_up: usize,
    twice: usize,
    patience: Duration,
) -> String {
    let requests = counted(requests, "request");
    let what = match status {
        None => format!("HubSpot left {requests} without an answer for {} s", patience.as_secs()),
        Some(status) => format!("HubSpot answered {status} to {requests}"),
    };
    let whose = match courses {
        1 => "its course was".to_owned(),
        courses => format!("their {} courses were", count(courses)),
    };
    let then = match (status, looked_up) {
        (Some(429), _) => "sent again after the pause it asked for".to_owned(),
        (_, known) if known == courses => "looked up".to_owned(),
        (_, known) => format!("in doubt, {} of them looked up", count(known)),
    };
    let end = match twice {
        0 => "none was created twice".to_owned(),
        twice => format!("{} CREATED TWICE", count(twice)),
    };
    format!("{what}: {whose} {then}, {end}.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_lies_in_the_middle() {
        for (courses, begins) in [(100, 2), (300, 2), (2_000, 10), (50_000, 200)] {
            assert!(faults(courses).iter().all(|fault| fault.on.nth == begins), "{courses}");
        }
    }

    #[test]
    fn a_story_says_what_became_of_the_courses() {
        let patience = Duration::from_secs(3);
        assert_eq!(
            story(Some(502), 2, 200, 200, 0, patience),
            "HubSpot answered 502 to 2 requests: their 200 courses were looked up, none was created twice."
        );
        assert_eq!(
            story(None, 1, 1, 1, 0, patience),
            "HubSpot left 1 request without an answer for 3 s: its course was looked up, none was created twice."
        );
        let bad = story(Some(502), 1, 100, 90, 3, patience);
        assert!(bad.ends_with("in doubt, 90 of them looked up, 3 CREATED TWICE."), "{bad}");
    }
}
