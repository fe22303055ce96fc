//! A catalogue that always has more to send than the quota allows: new courses, changes, withdrawals, and courses that are offered
//! again.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;

/// The time between two turns.
const APART: Duration = Duration::from_millis(500);
/// New courses of one turn. The daemon sends about 950 courses in this time at the full quota.
const NEW: i64 = 800;
/// Courses of an earlier turn that change, and those that are withdrawn. An archive takes three requests.
const CHANGED: i64 = 120;
const WITHDRAWN: i64 = 30;
/// No turn starts while more courses than this are pending.
const MAX_PENDING: i64 = 3_000;
/// The courses that are changed were enqueued so many turns before, and were sent meanwhile.
const TURNS_BEFORE: usize = 20;

/// What the feeder has enqueued.
#[derive(Default)]
pub struct Feeder {
    /// The first rows of the last turns.
    firsts: VecDeque<i64>,
    /// The first rows of the turns whose courses were withdrawn and not offered again.
    withdrawn: VecDeque<i64>,
    courses: i64,
}

impl Feeder {
    /// Enqueues until it is dropped.
    pub async fn run(mut self, pool: PgPool) -> anyhow::Result<()> {
        loop {
            tokio::time::sleep(APART).await;
            let pending: i64 = sqlx::query_scalar(
                "select count(*) from (select from course_outbox where status = 'pending' limit $1) p",
            )
            .bind(MAX_PENDING)
            .fetch_one(&pool)
            .await?;
            if pending < MAX_PENDING {
                self.turn(&pool).await.context("enqueueing courses")?;
            }
        }
    }

    async fn turn(&mut self, pool: &PgPool) -> anyhow::Result<()> {
        let first = self.add(pool).await?;
        self.firsts.push_back(first);
        if self.firsts.len() > TURNS_BEFORE
            && let Some(first) = self.firsts.pop_front()
        {
            change(pool, first, CHANGED).await?;
            set_archived(pool, first + CHANGED, true).await?;
            self.withdrawn.push_back(first + CHANGED);
        }
        // Otherwise the rows of archived courses, which no retention deletes, would add up.
        if self.withdrawn.len() > TURNS_BEFORE
            && let Some(first) = self.withdrawn.pop_front()
        {
            set_archived(pool, first, false).await?;
        }
        Ok(())
    }

    /// Adds new courses. Returns the first row.
    async fn add(&mut self, pool: &PgPool) -> anyhow::Result<i64> {
        let (from, to) = (self.courses + 1, self.courses + NEW);
        self.courses = to;
        let first = sqlx::query_scalar(
            "with added as (
                insert into course_outbox (course_key, properties)
                select 'L-' || lpad(n::text, 10, '0'), jsonb_build_object(
                           'hs_course_name', 'Course ' || n, 'hs_course_description', repeat('An example. ', 40),
                           'hs_course_id', 'L-' || n, 'credits', 5, 'price', 19.5, 'online', true)
                  from generate_series($1, $2) n
                returning id
             )
             select min(id) from added",
        )
        .bind(from)
        .bind(to)
        .fetch_one(pool)
        .await?;
        Ok(first)
    }
}

/// Changes a property of so many courses from this row on.
async fn change(pool: &PgPool, first: i64, courses: i64) -> anyhow::Result<()> {
    sqlx::query(
        "update course_outbox set properties = properties || jsonb_build_object('price', id % 100 + 0.25)
          where id >= $1 and id < $1 + $2",
    )
    .bind(first)
    .bind(courses)
    .execute(pool)
    .await?;
    Ok(())
}

/// Withdraws courses, or offers them again.
async fn set_archived(pool: &PgPool, first: i64, archived: bool) -> anyhow::Result<()> {
    sqlx::query("update course_outbox set archived = $3 where id >= $1 and id < $1 + $2")
        .bind(first)
        .bind(WITHDRAWN)
        .bind(archived)
        .execute(pool)
        .await?;
    Ok(())
}
