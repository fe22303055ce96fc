//! What the catalogue changes in the second half of the demo. Pure.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

use crate::course::{Properties, Status};
use crate::outbox::ops::audit::AuditedCourse;
use crate::outbox::ops::enqueue::NewCourse;

/// One in this many synced courses is changed.
const COURSES_PER_CHANGE: usize = 10;
/// One in this many synced courses is withdrawn.
const COURSES_PER_WITHDRAWAL: usize = 100;
/// The most courses that are withdrawn: more would be held (`outbox.archive_limit`).
const MAX_WITHDRAWN: usize = 500;

/// The changes, as the catalogue writes them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The changed and the withdrawn courses.
    pub courses: Vec<NewCourse>,
    /// The new names of the changed ones, by key.
    pub names: BTreeMap<String, String>,
    /// The number of withdrawn ones.
    pub withdrawn: usize,
}

/// Changes and withdraws some of the courses that are synced.
pub(super) fn choose(courses: &[NewCourse], rows: &[AuditedCourse]) -> Changes {
    let is_synced = |row: &&AuditedCourse| row.status == Status::Synced;
    let synced: HashSet<&str> = rows.iter().filter(is_synced).map(|row| row.key.as_str()).collect();
    let mut changes = Changes::default();
    let synced = courses.iter().filter(|course| synced.contains(course.key.as_str()));
    for (place, course) in synced.enumerate() {
        if place % COURSES_PER_WITHDRAWAL == 5 && changes.withdrawn < MAX_WITHDRAWN {
            changes.withdrawn += 1;
            changes.courses.push(NewCourse { archived: Some(true), ..course.clone() });
        } else if place % COURSES_PER_CHANGE == 1
            && let Some((name, properties)) = revise(&course.properties)
        {
            changes.names.insert(course.key.to_string(), name);
            changes.courses.push(NewCourse { properties, ..course.clone() });
        }
    }
    changes
}

/// The course under a new name and without its description.
fn revise(properties: &Properties) -> Option<(String, Properties)> {
    let mut revised = properties.to_json();
    let members = revised.as_object_mut()?;
    members.remove("hs_course_description");
    let name = format!("{} (revised)", members.get("hs_course_name")?.as_str()?);
    members.insert("hs_course_name".to_owned(), Value::String(name.clone()));
    Some((name, Properties::parse(revised).ok()?))
}
