//! Enqueues courses, as a catalogue does. Courses that are already in the outbox stay as they are.

use crate::course::{Associations, CourseKey, Properties};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// A course to enqueue.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCourse {
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// The properties to send to HubSpot.
    pub properties: Properties,
    /// The associations to send to HubSpot.
    pub associations: Associations,
}

/// The result for the courses of one call: each was added, was already in the outbox, or was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnqueueResult {
    /// The number of courses that were added.
    pub added: u64,
    /// The number of courses whose key was already in the outbox.
    pub already_there: u64,
    /// The courses that the database refused: the index in the given slice, and the reason.
    pub refused: Vec<(usize, String)>,
}

/// How often a statement is tried in all if it deadlocks. Two programs that enqueue the same courses in different
/// orders can deadlock; Postgres rolls one of the two statements back.
const MAX_TRIES: u32 = 5;

/// Enqueues the courses, in their order. If the database refuses a statement because of a course's values, the
/// courses are bisected until the invalid ones are found; the others are added. Each statement is a transaction of
/// its own: after an error, what was added before stays, and it is safe to enqueue everything again.
///
/// # Errors
/// [`OutboxError::Statement`] for an error that no course causes.
pub async fn enqueue(
    database: impl Into<DatabaseRef<'_>>,
    courses: &[NewCourse],
) -> Result<EnqueueResult, OutboxError> {
    let database = database.into();
    let mut outcome = EnqueueResult::default();
    let mut parts = vec![(0, courses)];
    while let Some((start, part)) = parts.pop() {
        match insert(database, part).await {
            Ok(added) => {
                outcome.added += added;
                outcome.already_there += (part.len() as u64).saturating_sub(added);
            }
            Err(error) => match (data_error(&error), part.len()) {
                (None, _) => return Err(OutboxError::failed_to("enqueue courses")(error)),
                (Some(reason), 0 | 1) => outcome.refused.push((start, reason)),
                (Some(_), courses) => {
                    let (first, second) = part.split_at(courses / 2);
                    // The first half is popped first: ids follow the order of the courses.
                    parts.push((start + first.len(), second));
                    parts.push((start, first));
                }
            },
        }
    }
    Ok(outcome)
}

/// Inserts the courses whose keys are new, and returns their number.
///
/// Index: `course_outbox_course_key_unique`.
async fn insert(database: DatabaseRef<'_>, courses: &[NewCourse]) -> Result<u64, sqlx::Error> {
    const INSERT: &str = "-- enqueue
        insert into course_outbox (course_key, properties, associations)
        select course_key, properties::jsonb, associations::jsonb
          from unnest($1::text[], $2::text[], $3::text[]) as new (course_key, properties, associations)
        on conflict (course_key) do nothing";
    let keys: Vec<_> = courses.iter().map(|course| course.key.as_str()).collect();
    let properties: Vec<_> = courses.iter().map(|course| course.properties.to_json().to_string()).collect();
    let associations: Vec<_> =
        courses.iter().map(|course| course.associations.to_json().to_string()).collect();
    let mut tries = 1;
    loop {
        let query = sqlx::query(INSERT).bind(&keys).bind(&properties).bind(&associations);
        let inserted = run_statement(database, async |session| query.execute(session).await).await;
        match inserted {
            Err(error) if is_deadlock(&error) && tries < MAX_TRIES => tries += 1,
            other => return other.map(|done| done.rows_affected()),
        }
    }
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "40P01")
}

/// The database's message, if it refused a statement because of a row's values: SQLSTATE classes 22 (data exception,
/// such as a number that is too large), 23 (a check) and 54 (a limit of Postgres).
fn data_error(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    let code = error.code()?;
    ["22", "23", "54"].iter().any(|class| code.starts_with(class)).then(|| error.message().to_owned())
}
