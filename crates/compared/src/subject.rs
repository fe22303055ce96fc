//! What is compared: how each one gets its courses, is started, and shows what it has not finished.

use anyhow::{Context, ensure};
use graphile_worker::JobSpec;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::process::Command;

use crate::cluster::Cluster;
use crate::peers::awa_worker::{self, SendCourses};
use crate::peers::graphile::{self, Course};
use crate::peers::{AT_ONCE, BATCH, LEASE, Sender, pgmq_worker};
use crate::receiver::UNIQUE;

/// One of the programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// course-sync; `outbox.unconfirmed` is `hold`.
    CourseSync,
    /// course-sync; `outbox.unconfirmed` is `resend`. Differs without a unique property only.
    CourseSyncResend,
    /// The loop that most people would write.
    PlainLoop,
    /// pgmq.
    Pgmq,
    /// `graphile_worker`.
    Graphile,
    /// awa.
    Awa,
}

/// A database with the courses of a run.
pub struct Run {
    /// The program.
    pub subject: Subject,
    /// The environment of its workers.
    pub settings: Vec<(String, String)>,
    pool: PgPool,
    url: String,
    receiver: String,
}

/// The properties of a course; about 600 bytes. In SQL, `key` is its name.
const PROPERTIES: &str = "jsonb_build_object('hs_course_name', key, 'hs_course_description',
    repeat('An example. ', 40), 'credits', '5', 'price', '19.5', 'starts_on', '2027-02-01')";

/// The key of a course.
pub fn key(number: usize) -> String {
    format!("C-{number:09}")
}

fn course(key: &str) -> Value {
    json!({
        "hs_course_name": key, "hs_course_description": "An example. ".repeat(40), "credits": "5", "price": "19.5",
        "starts_on": "2027-02-01", UNIQUE: key,
    })
}

impl Subject {
    /// All of them, in the order of the tables.
    pub const ALL: [Self; 6] =
        [Self::CourseSync, Self::CourseSyncResend, Self::PlainLoop, Self::Pgmq, Self::Graphile, Self::Awa];

    /// The name in the tables and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CourseSync => "course-sync",
            Self::CourseSyncResend => "course-sync-resend",
            Self::PlainLoop => "plain-loop",
            Self::Pgmq => "pgmq",
            Self::Graphile => "graphile_worker",
            Self::Awa => "awa",
        }
    }

    const fn is_course_sync(self) -> bool {
        matches!(self, Self::CourseSync | Self::CourseSyncResend)
    }

    fn settings(self, database: &str, receiver: &str, is_unique: bool) -> Vec<(String, String)> {
        let lease = format!("{}s", LEASE.as_secs());
        let at_once = AT_ONCE.to_string();
        let mut settings = vec![("DATABASE_URL", database), ("RECEIVER_URL", receiver)];
        if self.is_course_sync() {
            settings.extend([
                ("HUBSPOT_ACCESS_TOKEN", "pat-na1-compared"),
                ("COURSE_SYNC__HUBSPOT__BASE_URL", receiver),
                ("COURSE_SYNC__ADMIN__LISTEN", "127.0.0.1:0"),
                ("COURSE_SYNC__RATE_LIMIT__REQUESTS", "100000"),
                ("COURSE_SYNC__RATE_LIMIT__PER", "1s"),
                ("COURSE_SYNC__BATCH__MAX_IN_FLIGHT", &at_once),
                ("COURSE_SYNC__OUTBOX__LEASE", &lease),
                ("COURSE_SYNC__OUTBOX__SETTLE", "1s"),
                ("COURSE_SYNC__LOG__FILTER", "warn"),
            ]);
            if is_unique {
                settings.push(("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY", UNIQUE));
            }
            if self == Self::CourseSyncResend {
                settings.push(("COURSE_SYNC__OUTBOX__UNCONFIRMED", "resend"));
            }
        }
        settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// The command of a worker.
    pub fn worker(self) -> anyhow::Result<Command> {
        if self.is_course_sync() {
            let mut command = Command::new(course_sync_program()?);
            command.arg("run");
            return Ok(command);
        }
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["peer", self.name()]);
        Ok(command)
    }

    /// The keys of the courses that are not finished and will be without an operator.
    const fn unfinished(self, is_unique: bool) -> &'static str {
        match (self, is_unique) {
            (Self::CourseSync, false) => {
                "select course_key from course_outbox where status = 'pending'
                  union all select 'open' from course_sync_batch where state = 'open'"
            }
            (Self::CourseSync | Self::CourseSyncResend, _) => {
                "select course_key from course_outbox where status in ('pending', 'unconfirmed')
                  union all select 'open' from course_sync_batch where state = 'open'"
            }
            (Self::PlainLoop, _) => "select properties ->> 'hs_course_name' from courses where status = 'pending'",
            (Self::Pgmq, _) => "select message ->> 'hs_course_name' from pgmq.q_courses",
            (Self::Graphile, _) => {
                "select item ->> 'hs_course_name'
                   from graphile_worker._private_jobs, json_array_elements(payload) item where attempts < max_attempts
                     or locked_at is not null"
            }
            (Self::Awa, _) => {
                "select item ->> 'hs_course_name' from awa.jobs, jsonb_array_elements(args -> 'courses') item
                  where state::text not in ('completed', 'failed', 'cancelled')"
            }
        }
    }

    /// The keys of the courses that wait for an operator.
    const fn left(self) -> &'static str {
        match self {
            Self::CourseSync | Self::CourseSyncResend => {
                "select course_key from course_outbox where status in ('unconfirmed', 'failed')"
            }
            Self::PlainLoop => "select properties ->> 'hs_course_name' from courses where status = 'failed'",
            Self::Pgmq => "select null::text where false",
            Self::Graphile => {
                "select item ->> 'hs_course_name'
                   from graphile_worker._private_jobs, json_array_elements(payload) item
                  where attempts >= max_attempts and locked_at is null"
            }
            Self::Awa => {
                "select item ->> 'hs_course_name' from awa.jobs, jsonb_array_elements(args -> 'courses') item
                  where state::text in ('failed', 'cancelled')"
            }
        }
    }
}

/// The release build of the main workspace, beside this one's.
pub fn course_sync_program() -> anyhow::Result<std::path::PathBuf> {
    let program = std::env::var_os("COURSE_SYNC_PROGRAM").map_or_else(
        || concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/release/course-sync").into(),
        std::path::PathBuf::from,
    );
    ensure!(program.is_file(), "{}: build it: cargo build --release --locked", program.display());
    Ok(program)
}

impl Run {
    /// Prepares an empty database for the subject.
    pub async fn new(
        subject: Subject,
        (url, pool): (String, PgPool),
        receiver: &str,
        is_unique: bool,
    ) -> anyhow::Result<Self> {
        let settings = subject.settings(&url, receiver, is_unique);
        match subject {
            Subject::CourseSync | Subject::CourseSyncResend => {
                let mut migrate = Command::new(course_sync_program()?);
                migrate.arg("migrate").env_clear().envs(settings.iter().cloned());
                let output = migrate.output().await?;
                ensure!(output.status.success(), "migrate: {}", String::from_utf8_lossy(&output.stderr));
            }
            Subject::PlainLoop => {
                let table = "
                    create table courses (id bigint generated always as identity primary key,
                        properties jsonb not null, status text not null default 'pending', hubspot_id text,
                        synced_at timestamptz);
                    create index on courses (id) where status = 'pending'";
                sqlx::raw_sql(table).execute(&pool).await?;
            }
            Subject::Pgmq => {
                let queue = pgmq::PGMQueueExt::new_with_pool(pool.clone()).await;
                queue.install_sql_from_embedded().await?;
                queue.create(pgmq_worker::QUEUE).await?;
            }
            // The worker creates its schema.
            Subject::Graphile => drop(graphile::worker(&url, Sender::to(receiver)?).await?),
            Subject::Awa => awa::migrations::run(&awa_pool(&url).await?).await?,
        }
        Ok(Self { subject, settings, pool, url, receiver: receiver.to_owned() })
    }

    /// Removes the database: a server that crashes later has less to read.
    pub async fn remove(&self, cluster: &Cluster) -> anyhow::Result<()> {
        self.pool.close().await;
        let name = self.url.split(['/', '?']).nth(3).context("a URL without a database")?;
        cluster.remove_database(name).await
    }

    /// Enqueues courses, in batches where the queue needs them.
    pub async fn enqueue(&self, courses: usize) -> anyhow::Result<()> {
        let number = i64::try_from(courses)?;
        let keys =
            "(select 'C-' || lpad(n::text, 9, '0') as key from generate_series(0, $1 - 1) n order by n) k";
        let peers = format!("{PROPERTIES} || jsonb_build_object('{UNIQUE}', key)");
        let statement = match self.subject {
            Subject::CourseSync | Subject::CourseSyncResend => {
                format!(
                    "insert into course_outbox (course_key, properties) select key, {PROPERTIES} from {keys}"
                )
            }
            Subject::PlainLoop => format!("insert into courses (properties) select {peers} from {keys}"),
            Subject::Pgmq => {
                format!("select pgmq.send_batch('courses', (select array_agg({peers}) from {keys}))")
            }
            Subject::Graphile => {
                let worker = graphile::worker(&self.url, Sender::to(&self.receiver)?).await?;
                for first in (0..courses).step_by(BATCH) {
                    let batch = (first..courses.min(first + BATCH)).map(|at| Course(course(&key(at))));
                    worker.create_utils().add_batch_job(batch.collect(), JobSpec::default()).await?;
                }
                return self.vacuum().await;
            }
            Subject::Awa => {
                let pool = awa_pool(&self.url).await?;
                let mut jobs = Vec::new();
                for first in (0..courses).step_by(BATCH) {
                    let batch = (first..courses.min(first + BATCH)).map(|at| course(&key(at)));
                    jobs.push(awa_job(batch.collect())?);
                }
                for jobs in jobs.chunks(100) {
                    awa::insert_many_copy_from_pool(&pool, jobs).await?;
                }
                pool.close().await;
                return self.vacuum().await;
            }
        };
        sqlx::query(sqlx::AssertSqlSafe(statement))
            .bind(number)
            .execute(&self.pool)
            .await
            .context("enqueueing")?;
        self.vacuum().await
    }

    /// So that every run begins with the same state of the tables.
    async fn vacuum(&self) -> anyhow::Result<()> {
        sqlx::query("vacuum analyze").execute(&self.pool).await?;
        Ok(())
    }

    /// What enqueues single courses.
    pub async fn producer(&self) -> anyhow::Result<Producer> {
        Ok(match self.subject {
            Subject::CourseSync | Subject::CourseSyncResend | Subject::PlainLoop | Subject::Pgmq => {
                Producer::Sql(self.subject, self.pool.clone())
            }
            Subject::Graphile => {
                Producer::Graphile(Box::new(graphile::worker(&self.url, Sender::to(&self.receiver)?).await?))
            }
            Subject::Awa => Producer::Awa(awa_pool(&self.url).await?),
        })
    }

    /// The pool of the run's database.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// The keys of the courses that are not finished and will be without an operator.
    pub async fn unfinished(&self, is_unique: bool) -> anyhow::Result<Vec<String>> {
        Ok(sqlx::query_scalar(self.subject.unfinished(is_unique)).fetch_all(&self.pool).await?)
    }

    /// The keys of the courses that wait for an operator.
    pub async fn left(&self) -> anyhow::Result<Vec<String>> {
        Ok(sqlx::query_scalar(self.subject.left()).fetch_all(&self.pool).await?)
    }
}

/// Enqueues single courses.
pub enum Producer {
    /// By one statement.
    Sql(Subject, PgPool),
    /// By the library.
    Graphile(Box<graphile_worker::Worker>),
    /// By the library.
    Awa(sqlx08::PgPool),
}

impl Producer {
    /// Enqueues one course and commits.
    pub async fn enqueue(&self, key: &str) -> anyhow::Result<()> {
        match self {
            Self::Sql(subject, pool) => {
                let statement = match subject {
                    Subject::PlainLoop => "insert into courses (properties) values ($2)",
                    Subject::Pgmq => "select pgmq.send('courses', $2)",
                    _ => "insert into course_outbox (course_key, properties) values ($1, $2 - 'course_key')",
                };
                sqlx::query(statement).bind(key).bind(course(key)).execute(pool).await?;
            }
            Self::Graphile(worker) => {
                let batch = vec![Course(course(key))];
                worker.create_utils().add_batch_job(batch, JobSpec::default()).await?;
            }
            Self::Awa(pool) => {
                awa::insert_many(pool, &[awa_job(vec![course(key)])?]).await?;
            }
        }
        Ok(())
    }
}

async fn awa_pool(url: &str) -> anyhow::Result<sqlx08::PgPool> {
    Ok(sqlx08::postgres::PgPoolOptions::new().max_connections(2).connect(url).await?)
}

fn awa_job(courses: Vec<Value>) -> anyhow::Result<awa::InsertParams> {
    let options = awa::InsertOpts { queue: awa_worker::QUEUE.to_owned(), ..Default::default() };
    Ok(awa::model::insert::params_with(&SendCourses { courses }, options)?)
}
