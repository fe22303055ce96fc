//! Enqueues courses, as a catalogue does. Courses that are already in the outbox stay as they are, or are changed.

use sqlx::postgres::PgDatabaseError;

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
    /// The associations to send to HubSpot; `None`: not given. A new course has none then, and a change leaves them.
    pub associations: Option<Associations>,
    /// Whether the course is withdrawn; `None`: not given. A new course is not withdrawn then, and a change leaves it.
    pub archived: Option<bool>,
}

/// What happens to courses that are already in the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// They stay as they are.
    Keep,
    /// They get the new content.
    Update,
}

/// The result for the courses of one call: each was added, was changed, was already in the outbox, or was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnqueueResult {
    /// The number of courses that were added.
    pub added: u64,
    /// The number of courses that were changed.
    pub updated: u64,
    /// The number of courses that were already in the outbox and were not changed.
    pub already_there: u64,
    /// The courses that the database refused: the index in the given slice, and the reason.
    pub refused: Vec<(usize, String)>,
}

/// How often a statement is tried in all if it deadlocks. Two programs that enqueue the same courses in different
/// orders can deadlock; Postgres rolls one of the two statements back.
const MAX_TRIES: u32 = 5;

/// Enqueues the courses, in their order. No two of them have the same key. If the database refuses a statement because of a course's values, the
/// courses are bisected until the invalid ones are found; the others are added. Each statement is a transaction of
/// its own: after an error, what was added before stays, and it is safe to enqueue everything again.
///
/// # Errors
/// [`OutboxError::Statement`] for an error that no course causes.
pub async fn enqueue(
    database: impl Into<DatabaseRef<'_>>,
    courses: &[NewCourse],
    existing: Existing,
) -> Result<EnqueueResult, OutboxError> {
    let database = database.into();
    let mut outcome = EnqueueResult::default();
    let mut parts = vec![(0, courses)];
    while let Some((start, part)) = parts.pop() {
        match write(database, part, existing).await {
            Ok(Written { added, updated }) => {
                outcome.added += added;
                outcome.updated += updated;
                outcome.already_there += (part.len() as u64).saturating_sub(added + updated);
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

/// What one statement wrote.
#[derive(Debug, Clone, Copy)]
struct Written {
    added: u64,
    updated: u64,
}

/// Courses as columns, one element per course, for `unnest`.
struct CourseColumns<'a> {
    keys: Vec<&'a str>,
    properties: Vec<String>,
    associations: Vec<Option<String>>,
    archived: Vec<Option<bool>>,
}

impl<'a> CourseColumns<'a> {
    fn new(courses: &'a [NewCourse]) -> Self {
        let associations = |course: &NewCourse| Some(course.associations.as_ref()?.to_json().to_string());
        Self {
            keys: courses.iter().map(|course| course.key.as_str()).collect(),
            properties: courses.iter().map(|course| course.properties.to_json().to_string()).collect(),
            associations: courses.iter().map(associations).collect(),
            archived: courses.iter().map(|course| course.archived).collect(),
        }
    }

    /// The keys of the courses of which this is given.
    fn keys_with<T>(&self, given: &[Option<T>]) -> Vec<&'a str> {
        self.keys.iter().zip(given).filter(|(_, given)| given.is_some()).map(|(key, _)| *key).collect()
    }
}

/// Writes the courses with one statement, which is tried again if it deadlocks.
async fn write(
    database: DatabaseRef<'_>,
    courses: &[NewCourse],
    existing: Existing,
) -> Result<Written, sqlx::Error> {
    let columns = CourseColumns::new(courses);
    let mut tries = 1;
    loop {
        let written = match existing {
            Existing::Keep => insert(database, &columns).await,
            Existing::Update => insert_or_update(database, &columns).await,
        };
        match written {
            Err(error) if is_deadlock(&error) && tries < MAX_TRIES => tries += 1,
            other => return other,
        }
    }
}

/// Inserts the courses whose keys are new.
///
/// Index: `course_outbox_course_key_unique`.
async fn insert(database: DatabaseRef<'_>, columns: &CourseColumns<'_>) -> Result<Written, sqlx::Error> {
    const INSERT: &str = "-- enqueue
        insert into course_outbox (course_key, properties, associations, archived)
        select course_key, properties::jsonb, coalesce(associations::jsonb, '[]'), coalesce(archived, false)
          from unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
               as new (course_key, properties, associations, archived)
        on conflict (course_key) do nothing";
    let query = sqlx::query(INSERT)
        .bind(&columns.keys)
        .bind(&columns.properties)
        .bind(&columns.associations)
        .bind(&columns.archived);
    let done = run_statement(database, async |session| query.execute(session).await).await?;
    Ok(Written { added: done.rows_affected(), updated: 0 })
}

/// Inserts the courses whose keys are new, and changes the others if their content differs. What is not given stays.
///
/// Index: `course_outbox_course_key_unique`.
async fn insert_or_update(
    database: DatabaseRef<'_>,
    columns: &CourseColumns<'_>,
) -> Result<Written, sqlx::Error> {
    // $5 and $6: the courses whose associations, and whose withdrawal, are given.
    const UPDATE: &str = "-- enqueue or change
        insert into course_outbox as o (course_key, properties, associations, archived)
        select course_key, properties::jsonb, coalesce(associations::jsonb, '[]'), coalesce(archived, false)
          from unnest($1::text[], $2::text[], $3::text[], $4::boolean[])
               as new (course_key, properties, associations, archived)
        on conflict (course_key) do update
           set properties = excluded.properties,
               associations = case when o.course_key = any($5) then excluded.associations else o.associations end,
               archived = case when o.course_key = any($6) then excluded.archived else o.archived end
         -- A row with the same content is not written.
         where o.properties is distinct from excluded.properties
            or o.course_key = any($5) and o.associations is distinct from excluded.associations
            or o.course_key = any($6) and o.archived is distinct from excluded.archived
        -- A change gives a row its next revision.
        returning revision = 1 as is_new";
    let query = sqlx::query_scalar(UPDATE)
        .bind(&columns.keys)
        .bind(&columns.properties)
        .bind(&columns.associations)
        .bind(&columns.archived)
        .bind(columns.keys_with(&columns.associations))
        .bind(columns.keys_with(&columns.archived));
    let rows: Vec<bool> = run_statement(database, async |session| query.fetch_all(session).await).await?;
    let added = rows.iter().filter(|is_new| **is_new).count() as u64;
    Ok(Written { added, updated: rows.len() as u64 - added })
}

fn is_deadlock(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "40P01")
}

/// The database's message, if it refused a statement because of a row's values: SQLSTATE classes 22 (data exception,
/// such as a number that is too large), 23 (a check) and 54 (a limit of Postgres), and a change of associations, which cannot
/// be sent.
fn data_error(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    let code = error.code()?;
    let column = error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::column);
    let is_unsupported = code == "0A000" && column == Some("associations");
    let is_value = ["22", "23", "54"].iter().any(|class| code.starts_with(class));
    (is_value || is_unsupported).then(|| error.message().to_owned())
}
