//! One throwaway Postgres cluster per test run, with a migrated database for each test.

use course_sync::demo::postgres::{PostgresOptions, ThrowawayPostgres};
use course_sync::outbox::connect::migrate;
use secrecy::SecretString;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::eventually::eventually;

const TEMPLATE: &str = "template_course_sync";

/// The cluster of this test run. Its watchdog removes it when the run ends.
pub async fn cluster() -> &'static ThrowawayPostgres {
    static CLUSTER: OnceCell<ThrowawayPostgres> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            let cluster =
                ThrowawayPostgres::start(PostgresOptions::default()).await.expect("a throwaway Postgres");
            let mut admin = connect(&cluster.url("postgres")).await;
            execute(&mut admin, format!("CREATE DATABASE {TEMPLATE}")).await;
            migrate(&SecretString::from(cluster.url(TEMPLATE))).await.expect("a migrated template");
            cluster
        })
        .await
}

/// Creates a migrated database. The database is dropped when the returned value is dropped.
pub async fn database() -> TestDatabase {
    let cluster = cluster().await;
    let name = format!("test_{}", uuid::Uuid::new_v4().simple());
    let mut admin = connect(&cluster.url("postgres")).await;
    execute(&mut admin, format!("CREATE DATABASE {name} TEMPLATE {TEMPLATE}")).await;
    let pool = pool(&cluster.url(&name));
    TestDatabase { name, pool }
}

/// Waits until at least this many sessions of the database wait for a lock.
pub async fn wait_for_lock_waiters(pool: &PgPool, sessions: i64) {
    eventually(&format!("{sessions} sessions wait for a lock"), async || {
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

/// The database of one test.
pub struct TestDatabase {
    name: String,
    pool: PgPool,
}

impl TestDatabase {
    /// The name of the database in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Opens a new pool, after the database was replaced by another one with the same name.
    pub async fn reconnect(&mut self) {
        self.pool = pool(&self.url().await);
    }

    /// Opens a pool to another database instead.
    pub fn connect_to(&mut self, url: &str) {
        self.pool = pool(url);
    }

    /// The URL for `DATABASE_URL`.
    pub async fn url(&self) -> String {
        cluster().await.url(&self.name)
    }

    /// A pool of six connections. It belongs to the runtime of the test.
    pub const fn pool(&self) -> &PgPool {
        &self.pool
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        // The test's own runtime is busy dropping this value, so this needs another thread with its own runtime.
        let dropping = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut admin = connect(&cluster().await.url("postgres")).await;
                execute(&mut admin, format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await;
            });
        });
        // Ignored: a failure here would hide the failure of the test.
        drop(dropping.join());
    }
}

async fn connect(url: &str) -> PgConnection {
    PgConnection::connect(url).await.expect("a connection to the throwaway Postgres")
}

async fn execute(connection: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(connection).await.expect("the statement runs");
}
