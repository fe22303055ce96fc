//! The courses of the measurements: as SQL, as values and as the body of a request.

use anyhow::Context;
use course_sync::course::{Associations, Batch, BatchId, ClaimedCourse, CourseKey, Properties, RowId};
use course_sync::hubspot::api::request;
use jiff::Timestamp;
use serde_json::json;
use sqlx::PgPool;
use uuid::Uuid;

/// The property that contains the course's key.
pub const UNIQUE: &str = "course_sync_key";
/// Courses per request.
pub const BATCH: usize = 100;
/// Bytes of the description; a whole course has about 650 bytes.
const DESCRIPTION: usize = 480;

/// Empties the outbox and enqueues new courses, each with a description of this many bytes.
pub async fn preload(pool: &PgPool, courses: usize, description: usize) -> anyhow::Result<()> {
    sqlx::query("truncate course_outbox, course_sync_batch, course_sync_history").execute(pool).await?;
    sqlx::query(
        "insert into course_outbox (course_key, properties)
         select 'C-' || lpad(n::text, 9, '0'), jsonb_build_object(
                    'hs_course_name', 'Course ' || n, 'hs_course_description', repeat('An example. ', $2 / 12),
                    'hs_course_id', 'C-' || n, 'credits', 5, 'price', 19.5, 'online', true, 'starts_on', '2027-02-01')
           from generate_series(1, $1) n",
    )
    .bind(i64::try_from(courses)?)
    .bind(i32::try_from(description)?)
    .execute(pool)
    .await
    .context("preloading the outbox")?;
    sqlx::query("vacuum analyze course_outbox").execute(pool).await?;
    Ok(())
}

/// [`preload`] with courses of normal size.
pub async fn preload_usual(pool: &PgPool, courses: usize) -> anyhow::Result<()> {
    preload(pool, courses, DESCRIPTION).await
}

/// The body of a request of such courses, as the program builds it.
pub fn body() -> anyhow::Result<Vec<u8>> {
    let course = |at: usize| -> anyhow::Result<ClaimedCourse> {
        let properties = json!({
            "hs_course_name": format!("Course {at}"),
            "hs_course_description": "An example. ".repeat(DESCRIPTION / 12),
            "hs_course_id": format!("C-{at}"), "credits": 5, "price": 19.5, "online": true,
            "starts_on": "2027-02-01",
        });
        let invalid = |error| anyhow::anyhow!("{error}");
        Ok(ClaimedCourse {
            id: RowId(i64::try_from(at)?),
            key: CourseKey::parse(format!("C-{at:09}")).map_err(invalid)?,
            properties: Properties::parse(properties).map_err(invalid)?,
            associations: Associations::default(),
            attempts: 1,
            faults: 0,
            doubts: 0,
            doubt_property: None,
            is_blamed: false,
            requested_at: Timestamp::UNIX_EPOCH,
            is_doubt_recent: false,
            record: None,
        })
    };
    let claimed = (0..BATCH).map(course).collect::<anyhow::Result<_>>()?;
    let batch = Batch::new(BatchId(Uuid::now_v7()), claimed, Some(UNIQUE));
    Ok(request::encode_create(&batch)?.into_bytes())
}
