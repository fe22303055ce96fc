//! Putting courses into the outbox, as a catalogue does: what is already there stays as it is.

use super::OutboxError;
use super::database::{Reach, ask};
use crate::course::{Associations, CourseKey, Properties};

/// A course that is to be enqueued.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCourse {
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// What HubSpot is to hold.
    pub properties: Properties,
    /// Its links.
    pub associations: Associations,
}

/// What became of the courses of one call: each is added, was already there, or is refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// How many are new in the outbox.
    pub added: u64,
    /// How many keys the outbox already held.
    pub already_there: u64,
    /// Which the database refused (the index in the slice given), and its reason.
    pub refused: Vec<(usize, String)>,
}

/// How often a statement that met a deadlock is tried in all. Two programs that enqueue the same
/// courses in different orders can meet like this; Postgres undoes one of the two statements whole.
const TRIES: u32 = 5;

/// Enqueues the courses, in their order. Where the database refuses a statement because of what a
/// course holds, the courses are halved until the guilty ones stand alone; the others go in.
/// Each statement is a transaction of its own: after an error, what went in before stays in, and
/// enqueueing everything again is safe.
///
/// # Errors
/// [`OutboxError::Statement`] for what is no course's fault.
pub async fn enqueue(database: impl Into<Reach<'_>>, courses: &[NewCourse]) -> Result<Enqueued, OutboxError> {
    let reach = database.into();
    let mut outcome = Enqueued::default();
    let mut parts = vec![(0, courses)];
    while let Some((start, part)) = parts.pop() {
        match insert(reach, part).await {
            Ok(added) => {
                outcome.added += added;
                outcome.already_there += (part.len() as u64).saturating_sub(added);
            }
            Err(error) => match (reason_in_data(&error), part.len()) {
                (None, _) => return Err(OutboxError::doing("enqueue courses")(error)),
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

/// Served by `course_outbox_course_key_unique`. How many rows are new.
async fn insert(reach: Reach<'_>, courses: &[NewCourse]) -> Result<u64, sqlx::Error> {
    const INSERT: &str = "
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
        let inserted = ask(reach, async |session| query.execute(session).await).await;
        match inserted {
            Err(error) if is_deadlock(&error) && tries < TRIES => tries += 1,
            other => return other.map(|done| done.rows_affected()),
        }
    }
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "40P01")
}

/// The database's words, where it refused a statement for what a row holds: the SQLSTATE classes
/// 22 (data exception, such as a number too large), 23 (a check) and 54 (a limit of Postgres).
fn reason_in_data(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    let code = error.code()?;
    ["22", "23", "54"].iter().any(|class| code.starts_with(class)).then(|| error.message().to_owned())
}
