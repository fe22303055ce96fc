//! HubSpot's bad moment: which requests it hits, and what became of their courses. Pure.

use std::collections::{BTreeSet, HashMap};

use super::progress::{count, counted};
use crate::policy::batch::MAX_COURSES;
use crate::simulator::{Answer, Commit, Dialect, Entry, ErrorForm, Fault, Operation};

/// It begins after so many requests at the latest: early in the second window of the quota.
const BEGINS_AFTER: usize = 200;

/// The faults of the burst, in the middle of what `courses` take: 429, then 502 from the edge and no
/// answer at all, both after the courses were created.
pub(super) fn faults(courses: usize) -> Vec<Fault> {
    let requests = courses.div_ceil(usize::from(MAX_COURSES));
    let begins = (requests / 2).clamp(2, BEGINS_AFTER) as u64;
    let bad_gateway = Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None };
    let too_many = Answer::RateLimited { dialect: Dialect::Secondly, retry_after: None };
    let burst = [
        Fault::new(too_many).times(3),
        Fault::new(bad_gateway).committing(Commit::Yes).times(2),
        Fault::new(Answer::Hang).committing(Commit::Yes).times(1),
    ];
    // A request that one fault hits does not count for those behind it: they follow one another.
    burst.map(|fault| fault.on(Operation::BatchCreate).from_nth(begins)).into()
}

/// Requests that ended alike, and what became of their courses.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    /// The status that the client saw; `None`: no answer.
    status: Option<u16>,
    requests: usize,
    courses: BTreeSet<String>,
    looked_up: usize,
    created_twice: usize,
}

/// One line for each kind of fault that hit, as the journal tells it.
pub(super) fn lines(journal: &[Entry]) -> Vec<String> {
    stories(journal).iter().map(Story::line).collect()
}

fn stories(journal: &[Entry]) -> Vec<Story> {
    let of = |operation| journal.iter().filter(move |entry| entry.operation == operation);
    let keys = |entry: &Entry| -> BTreeSet<String> {
        entry.inputs.iter().filter_map(|input| input.unique_value.clone()).collect()
    };
    let mut stories: Vec<Story> = Vec::new();
    for entry in of(Operation::BatchCreate).filter(|entry| entry.faulted) {
        let status = entry.status.filter(|_| entry.answered);
        match stories.iter_mut().find(|story| story.status == status) {
            Some(story) => {
                story.requests += 1;
                story.courses.extend(keys(entry));
            }
            None => {
                let courses = keys(entry);
                stories.push(Story { status, requests: 1, courses, looked_up: 0, created_twice: 0 });
            }
        }
    }
    let asked: BTreeSet<String> = of(Operation::BatchRead).flat_map(keys).collect();
    let mut records: HashMap<&str, usize> = HashMap::new();
    for input in of(Operation::BatchCreate).flat_map(|entry| &entry.inputs) {
        if let (Some(key), Some(_)) = (&input.unique_value, input.id) {
            *records.entry(key).or_default() += 1;
        }
    }
    for story in &mut stories {
        let is_twice = |key: &&String| records.get(key.as_str()).is_some_and(|records| *records > 1);
        story.looked_up = story.courses.intersection(&asked).count();
        story.created_twice = story.courses.iter().filter(is_twice).count();
    }
    stories
}

impl Story {
    fn line(&self) -> String {
        let requests = counted(self.requests, "request");
        let what = match self.status {
            None => format!("{requests} got no answer"),
            Some(status) => format!("{requests} answered {status}"),
        };
        let courses = self.courses.len();
        // A refused request is not even read.
        if courses == 0 {
            return format!("{what}: nothing taken, sent again after a pause");
        }
        let known =
            if self.looked_up == courses { String::new() } else { format!("{} ", count(self.looked_up)) };
        let end = match self.created_twice {
            0 => "none created twice".to_owned(),
            twice => format!("{} CREATED TWICE", count(twice)),
        };
        format!("{what}: {} in doubt, {known}looked up, {end}", counted(courses, "course"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_burst_lies_in_the_middle() {
        for (courses, begins) in [(100, 2), (300, 2), (2_000, 10), (40_000, 200)] {
            assert!(faults(courses).iter().all(|fault| fault.on.nth == begins), "{courses}");
        }
    }

    #[test]
    fn a_story_says_what_became_of_the_courses() {
        let told = |status, requests, courses: usize, looked_up, created_twice| {
            let courses = (0..courses).map(|course| course.to_string()).collect();
            Story { status, requests, courses, looked_up, created_twice }.line()
        };
        assert_eq!(
            told(Some(502), 2, 200, 200, 0),
            "2 requests answered 502: 200 courses in doubt, looked up, none created twice"
        );
        assert_eq!(
            told(None, 1, 1, 1, 0),
            "1 request got no answer: 1 course in doubt, looked up, none created twice"
        );
        assert_eq!(
            told(Some(429), 3, 0, 0, 0),
            "3 requests answered 429: nothing taken, sent again after a pause"
        );
        assert_eq!(
            told(Some(502), 1, 100, 90, 3),
            "1 request answered 502: 100 courses in doubt, 90 looked up, 3 CREATED TWICE"
        );
    }
}
