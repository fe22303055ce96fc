//! The simulated HubSpot incident: which requests fail, and what happened to their courses. Pure.

use std::collections::{BTreeSet, HashMap};

use simulator::{Answer, Commit, Dialect, Entry, ErrorForm, Fault, Operation};

use super::progress::{count, counted};
use crate::course::MAX_COURSES;

/// The incident begins after this many requests at the latest: early in the second window of the quota.
const LATEST_START: usize = 200;

/// The faults of the incident, halfway through the requests that `courses` need: first 429, then 502 and no response,
/// both after the courses were created.
pub(super) fn faults(courses: usize) -> Vec<Fault> {
    let requests = courses.div_ceil(usize::from(MAX_COURSES));
    let start = (requests / 2).clamp(2, LATEST_START) as u64;
    let bad_gateway = Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None };
    let too_many = Answer::RateLimited { dialect: Dialect::Secondly, retry_after: None };
    let faults = [
        Fault::new(too_many).times(3),
        Fault::new(bad_gateway).committing(Commit::Yes).times(2),
        Fault::new(Answer::Hang).committing(Commit::Yes).times(1),
    ];
    // A request that a fault handles is not counted by the faults after it, so they apply in turn.
    faults.map(|fault| fault.on(Operation::BatchCreate).from_nth(start)).into()
}

/// The failed requests with the same status, and what happened to their courses.
#[derive(Debug, PartialEq, Eq)]
struct FaultSummary {
    /// The status that the client received; `None`: no response.
    status: Option<u16>,
    requests: usize,
    courses: BTreeSet<String>,
    looked_up: usize,
    created_twice: usize,
}

/// One line for each kind of fault that occurred, from the simulator's journal.
pub(super) fn describe(journal: &[Entry]) -> Vec<String> {
    summarize(journal).iter().map(FaultSummary::line).collect()
}

fn summarize(journal: &[Entry]) -> Vec<FaultSummary> {
    let mut summaries: Vec<FaultSummary> = Vec::new();
    for entry in requests(journal, Operation::BatchCreate).filter(|entry| entry.faulted) {
        let status = entry.status.filter(|_| entry.answered);
        match summaries.iter_mut().find(|summary| summary.status == status) {
            Some(summary) => {
                summary.requests += 1;
                summary.courses.extend(unique_values(entry));
            }
            None => {
                let courses = unique_values(entry);
                summaries.push(FaultSummary { status, requests: 1, courses, looked_up: 0, created_twice: 0 });
            }
        }
    }
    let read: BTreeSet<String> = requests(journal, Operation::BatchRead).flat_map(unique_values).collect();
    let mut records: HashMap<&str, usize> = HashMap::new();
    for input in requests(journal, Operation::BatchCreate).flat_map(|entry| &entry.inputs) {
        if let (Some(key), Some(_)) = (&input.unique_value, input.id) {
            *records.entry(key).or_default() += 1;
        }
    }
    for summary in &mut summaries {
        summary.looked_up = summary.courses.intersection(&read).count();
        let counts = summary.courses.iter().filter_map(|key| records.get(key.as_str()));
        summary.created_twice = counts.filter(|count| **count > 1).count();
    }
    summaries
}

fn requests(journal: &[Entry], operation: Operation) -> impl Iterator<Item = &Entry> {
    journal.iter().filter(move |entry| entry.operation == operation)
}

fn unique_values(entry: &Entry) -> BTreeSet<String> {
    entry.inputs.iter().filter_map(|input| input.unique_value.clone()).collect()
}

impl FaultSummary {
    fn line(&self) -> String {
        let requests = counted(self.requests, "request");
        let what = match self.status {
            None => format!("{requests} got no response"),
            Some(status) => format!("{requests} answered {status}"),
        };
        let courses = self.courses.len();
        // The simulator does not read the body of a request that exceeds the quota.
        if courses == 0 {
            return format!("{what}: nothing created, retried after a pause");
        }
        let looked_up =
            if self.looked_up == courses { String::new() } else { format!("{} ", count(self.looked_up)) };
        let duplicates = match self.created_twice {
            0 => "none created twice".to_owned(),
            twice => format!("{} CREATED TWICE", count(twice)),
        };
        format!("{what}: {} unconfirmed, {looked_up}looked up, {duplicates}", counted(courses, "course"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn incident_begins_halfway_through() {
        for (courses, begins) in [(100, 2), (300, 2), (2_000, 10), (40_000, 200)] {
            assert!(faults(courses).iter().all(|fault| fault.on.nth == begins), "{courses}");
        }
    }

    fn line(
        status: Option<u16>,
        requests: usize,
        courses: usize,
        looked_up: usize,
        created_twice: usize,
    ) -> String {
        let courses = (0..courses).map(|course| course.to_string()).collect();
        FaultSummary { status, requests, courses, looked_up, created_twice }.line()
    }

    #[test]
    fn summary_line_describes_what_happened_to_the_courses() {
        assert_eq!(
            line(Some(502), 2, 200, 200, 0),
            "2 requests answered 502: 200 courses unconfirmed, looked up, none created twice"
        );
        assert_eq!(
            line(None, 1, 1, 1, 0),
            "1 request got no response: 1 course unconfirmed, looked up, none created twice"
        );
        assert_eq!(
            line(Some(429), 3, 0, 0, 0),
            "3 requests answered 429: nothing created, retried after a pause"
        );
        assert_eq!(
            line(Some(502), 1, 100, 90, 3),
            "1 request answered 502: 100 courses unconfirmed, 90 looked up, 3 CREATED TWICE"
        );
    }
}
