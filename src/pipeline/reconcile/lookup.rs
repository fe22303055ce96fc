//! One look-up: reads unconfirmed courses from HubSpot by their keys, first among the live records, then in the recycle
//! bin. `meaning` interprets the responses.

use std::sync::Arc;

use super::meaning::{self, LookupFinding};
use super::read::{self, ReadEnd};
use crate::course::{CourseKey, RowId, UnconfirmedCourse};
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::Exchange;
use crate::outbox::OutboxError;
use crate::pipeline::context::Context;
use crate::runtime::lease::HeldLease;

/// Looks up all courses by this unique property.
pub(super) async fn look_up(
    context: &Arc<Context>,
    held: HeldLease,
    property: &str,
    courses: &[UnconfirmedCourse],
) -> Result<ReadEnd<LookupFinding>, OutboxError> {
    let all: Vec<&UnconfirmedCourse> = courses.iter().collect();
    let live = match read_courses(context, held, property, &all, RecordState::Live).await? {
        ReadEnd::Found(findings) => findings,
        other => return Ok(other),
    };
    let mut absent = Vec::new();
    for (course, finding) in courses.iter().zip(&live) {
        if *finding == LookupFinding::Absent {
            absent.push(course);
        }
    }
    if absent.is_empty() {
        return Ok(ReadEnd::Found(live));
    }
    // A key that is absent from the live records may belong to a record in the recycle bin.
    let archived = match read_courses(context, held, property, &absent, RecordState::Archived).await? {
        ReadEnd::Found(findings) => findings,
        ReadEnd::Failed(why) if live.len() == 1 => return Ok(ReadEnd::Failed(why)),
        // The findings among the live records are still valid. The absent courses are looked up again.
        ReadEnd::NotPossible | ReadEnd::Halved(_) => vec![LookupFinding::Interrupted; absent.len()],
        ReadEnd::Failed(_) => Vec::new(),
    };
    Ok(ReadEnd::Found(combine(live, archived)))
}

/// Combines the findings among the live records with those in the recycle bin, which concern the absent keys only.
fn combine(live: Vec<LookupFinding>, archived: Vec<LookupFinding>) -> Vec<LookupFinding> {
    let mut archived = archived.into_iter();
    let mut combined = Vec::with_capacity(live.len());
    for finding in live {
        combined.push(match finding {
            LookupFinding::Absent => meaning::combine(LookupFinding::Absent, archived.next()),
            found => found,
        });
    }
    combined
}

/// Reads these courses from the live records or from the recycle bin, with one request.
async fn read_courses(
    context: &Arc<Context>,
    held: HeldLease,
    property: &str,
    courses: &[&UnconfirmedCourse],
    state: RecordState,
) -> Result<ReadEnd<LookupFinding>, OutboxError> {
    let rows: Vec<RowId> = courses.iter().map(|course| course.id).collect();
    let keys: Vec<&CourseKey> = courses.iter().map(|course| &course.key).collect();
    let request = context.edges.client.read(&keys, property, state);
    let interpret = |exchange: &Exchange| meaning::interpret_read(&keys, property, state, exchange);
    read::read(context, held, &rows, state, None, request, interpret).await
}
