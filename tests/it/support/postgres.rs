//! One throwaway cluster for the whole test run, and in it a migrated database for each test.

use course_sync::demo::postgres::{Options, ThrowawayPostgres};
use course_sync::outbox::connect::migrate;
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::eventually::eventually;

const TEMPLATE: &str = "template_course_sync";

/// The cluster of this test run; its watchdog removes it when the run ends.
pub async fn cluster() -> &'static ThrowawayPostgres {
    static CLUSTER: OnceCell<ThrowawayPostgres> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster = ThrowawayPostgres::start(Options::default()).await.expect("a throwaway Postgres");
            let mut admin = connect(&cluster.url("postgres")).await;
            execute(&mut admin, format!("CREATE DATABASE {TEMPLATE}")).await;
            migrate(&SecretString::from(cluster.url(TEMPLATE))).await.expect("a migrated template");
            cluster
        })
        .await
}

/// A fresh, migrated database; dropped with its value.
pub async fn database() -> TestDatabase {
    let cluster = cluster().await;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut admin = connect(&cluster.url("postgres")).await;
    execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
    let pool = pool(&cluster.url(&name));
    TestDatabase { name, pool }
}

/// Waits until so many sessions of this database wait for a lock.
pub async fn waits_for_locks(pool: &PgPool, sessions: i64) {
    eventually("sessions wait for a lock", async || {
        let waiting: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
        )
        .fetch_one(pool)
        .await
        .expect("the sessions are readable");
        if waiting >= sessions { Ok(()) } else { Err(waiting) }
    })
    .await;
}

fn pool(url: &str) -> PgPool {
    PgPoolOptions::new().max_connections(6).connect_lazy(url).expect("a pool")
}

/// A database of one test.
pub struct TestDatabase {
    name: String,
    pool: PgPool,
}

impl TestDatabase {
    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Connects anew, after the database was replaced by another of its name.
    pub async fn reopen(&mut self) {
        self.pool = pool(&self.url().await);
    }

    /// Connects to another database instead.
    pub fn elsewhere(&mut self, url: &str) {
        self.pool = pool(url);
    }

    /// Its address, as `DATABASE_URL` takes it.
    pub async fn url(&self) -> String {
        cluster().await.url(&self.name)
    }

    /// A pool of six connections that belongs to the runtime of the test.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // The test's own runtime is busy dropping this value, hence a thread with another.
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut admin = connect(&cluster().await.url("postgres")).await;
                execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        // A failure here would only hide the test's own.
        drop(dropping.join());
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection to the throwaway Postgres")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.expect("the statement runs");
}
