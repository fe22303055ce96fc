//! The environment of a daemon under test: a database, a simulated HubSpot, and the settings that connect them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde_json::json;
use simulator::{Behaviour, Entry, Handle, Operation, Settings, Simulator};
use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::daemon::{Daemon, output, program};
use super::eventually::eventually;
use super::http::http_client;
use super::pgbouncer::PgBouncer;
use super::postgres::{self, TestDatabase};

/// The unique property that holds the course key, in worlds that have one.
pub const UNIQUE_PROPERTY: &str = "course_sync_key";

/// The courses of [`World::warm_up`]: one request each with 1, 10 and 100 courses.
pub const WARM_UP_COURSES: i64 = 111;

/// The environment of one test.
pub struct World {
    pub database: TestDatabase,
    pub hubspot: Handle,
    pub settings: BTreeMap<String, String>,
    serving: JoinHandle<()>,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub struct Row {
    pub course_key: String,
    pub status: String,
    pub attempts: i32,
    pub faults: i32,
    pub hubspot_id: Option<String>,
    pub error: Option<serde_json::Value>,
}

impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for Row {
    fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        Ok(Self {
            course_key: row.try_get("course_key")?,
            status: row.try_get("status")?,
            attempts: row.try_get("attempts")?,
            faults: row.try_get("faults")?,
            hubspot_id: row.try_get("hubspot_id")?,
            error: row.try_get("error")?,
        })
    }
}

impl Row {
    /// A member of the JSON in column `error`, as text.
    pub fn error(&self, member: &str) -> String {
        let error = self.error.as_ref().unwrap_or_else(|| panic!("{} has no error", self.course_key));
        error[member].as_str().map_or_else(|| error[member].to_string(), str::to_owned)
    }
}

impl World {
    /// A world with a unique property and a HubSpot without faults.
    pub async fn new() -> Self {
        Self::with(true, Behaviour::default()).await
    }

    /// A world with or without a unique property, whose HubSpot behaves like this.
    pub async fn with(unique: bool, behaviour: Behaviour) -> Self {
        let unique_property = unique.then(|| UNIQUE_PROPERTY.to_owned());
        let settings =
            Settings { unique_property: unique_property.clone(), behaviour, ..Settings::default() };
        let token = settings.token.clone();
        let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
        let simulator = Simulator::bind(any_port, settings).await.expect("a simulator");
        let hubspot = simulator.handle();
        let serving = tokio::spawn(async move {
            simulator.serve(std::future::pending()).await.expect("the simulator serves");
        });
        let database = postgres::database().await;
        let mut settings = BTreeMap::from([
            ("DATABASE_URL", database.url().await),
            ("HUBSPOT_ACCESS_TOKEN", token),
            ("COURSE_SYNC__HUBSPOT__BASE_URL", hubspot.url()),
            ("COURSE_SYNC__ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
            ("COURSE_SYNC__OUTBOX__SETTLE", "100ms".to_owned()),
            ("COURSE_SYNC__RETRY__INITIAL_INTERVAL", "100ms".to_owned()),
        ]);
        if let Some(name) = unique_property {
            settings.insert("COURSE_SYNC__HUBSPOT__UNIQUE_PROPERTY", name);
        }
        let settings = settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { database, hubspot, settings, serving }
    }

    /// Sets a setting, such as `BATCH__MAX_SIZE`, for programs that are started later.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(format!("COURSE_SYNC__{name}"), value.to_owned());
    }

    /// Connections to the database of this world, with the rights of its owner.
    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Creates a property through HubSpot's API.
    pub async fn create_property(&self, definition: &serde_json::Value) {
        let answer = http_client()
            .post(format!("{}/crm/v3/properties/0-410", self.hubspot.url()))
            .bearer_auth(&self.settings["HUBSPOT_ACCESS_TOKEN"])
            .json(definition)
            .send()
            .await
            .expect("the simulator responds");
        assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
    }

    /// Creates the property `format` with the options `online` and `campus`.
    pub async fn create_format(&self) {
        let option = |value: &str| json!({ "label": value, "value": value });
        self.create_property(&json!({
            "groupName": "course_information", "name": "format", "label": "Format", "type": "enumeration",
            "fieldType": "select", "options": [option("online"), option("campus")],
        }))
        .await;
    }

    /// Uses a database of another cluster. Its schema need not exist yet.
    pub fn use_cluster(&mut self, url: &str) {
        self.database.connect_to(url);
        self.settings.insert("DATABASE_URL".into(), url.to_owned());
    }

    /// Starts a daemon with the settings of this world.
    pub fn start_daemon(&self) -> Daemon {
        Daemon::start(&self.settings, &[])
    }

    /// Stops HubSpot: connections are cut, new ones are refused. HubSpot keeps its records.
    pub async fn stop_hubspot(&mut self) {
        self.serving.abort();
        // The result only reports that the task was aborted.
        let _aborted = (&mut self.serving).await;
    }

    /// Starts HubSpot again at the same address.
    pub async fn restart_hubspot(&mut self) {
        let handle = self.hubspot.clone();
        let simulator =
            eventually("the address is free again", async || Simulator::rebind(handle.clone()).await).await;
        self.serving = tokio::spawn(async move {
            simulator.serve(std::future::pending()).await.expect("the simulator serves");
        });
    }

    /// A world whose program reaches its database through a pooler in transaction mode. `None` if none is installed: the
    /// test is skipped.
    pub async fn behind_pooler() -> Option<(Self, PgBouncer)> {
        let pooler = PgBouncer::start(postgres::cluster().await).await?;
        let mut world = Self::new().await;
        world.settings.insert("DATABASE_URL".into(), pooler.url(world.database.name()));
        Some((world, pooler))
    }

    /// Runs a command that ends. Returns its exit code and everything that it printed.
    pub async fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = program(&self.settings);
        command.args(arguments);
        let output = output(command).await;
        let text = String::from_utf8([output.stdout, output.stderr].concat()).expect("the output is text");
        (output.status.code(), text)
    }

    /// Waits until the daemon listens for notifications.
    pub async fn wait_until_listening(&self) {
        eventually("the daemon listens", async || {
            let listening: i64 = sqlx::query_scalar(
                "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'",
            )
            .fetch_one(self.pool())
            .await
            .expect("the sessions can be read");
            if listening > 0 { Ok(()) } else { Err(listening) }
        })
        .await;
    }

    /// Enqueues a course in the same way as a catalogue.
    pub async fn enqueue(&self, key: &str, properties: &serde_json::Value) {
        sqlx::query("insert into course_outbox (course_key, properties) values ($1, $2) on conflict (course_key) do nothing")
            .bind(key)
            .bind(properties)
            .execute(self.pool())
            .await
            .expect("the course is enqueued");
    }

    /// Changes a course in the same way as a catalogue: one upsert.
    pub async fn change(&self, key: &str, properties: &serde_json::Value) {
        sqlx::query(
            "insert into course_outbox (course_key, properties) values ($1, $2)
             on conflict (course_key) do update set properties = excluded.properties",
        )
        .bind(key)
        .bind(properties)
        .execute(self.pool())
        .await
        .expect("the course is changed");
    }

    /// Withdraws a course, or offers it again.
    pub async fn withdraw(&self, key: &str, archived: bool) {
        sqlx::query("update course_outbox set archived = $2 where course_key = $1")
            .bind(key)
            .bind(archived)
            .execute(self.pool())
            .await
            .expect("the course is withdrawn");
    }

    /// Waits until the course is in this status, and HubSpot is known to hold its revision.
    pub async fn wait_until_settled(&self, key: &str, status: &str) {
        eventually(&format!("{key} is {status}"), async || {
            let row: (String, i64, Option<i64>, Option<serde_json::Value>) = sqlx::query_as(
                "select status, revision, synced_revision, error from course_outbox where course_key = $1",
            )
            .bind(key)
            .fetch_one(self.pool())
            .await
            .expect("the course is in the outbox");
            let is_settled = row.0 == status && (status == "failed" || row.2 == Some(row.1));
            if is_settled { Ok(()) } else { Err(row) }
        })
        .await;
    }

    /// Checks that HubSpot holds what each row says, property by property, and that withdrawn courses have no live record.
    pub async fn audit_values(&self) {
        self.audit().await;
        let rows: Vec<(String, String, Option<String>, serde_json::Value)> =
            sqlx::query_as("select course_key, status, hubspot_id, properties from course_outbox")
                .fetch_all(self.pool())
                .await
                .expect("the outbox is readable");
        let records = self.hubspot.records();
        for (key, status, id, properties) in rows {
            let live = records.iter().find(|record| !record.archived && Some(record.id.to_string()) == id);
            match (status.as_str(), live) {
                ("archived", live) => assert!(live.is_none(), "{key} is archived and has a live record"),
                ("synced", Some(record)) => {
                    for (name, value) in properties.as_object().expect("an object") {
                        let wanted = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                        let wanted = if value.is_null() { String::new() } else { wanted };
                        let held = record.properties.get(name).cloned().unwrap_or_default();
                        assert_eq!(held, wanted, "{key}: {name}");
                    }
                    // What was removed from the row is cleared.
                    for name in ["hs_course_description", "hs_enrollment_capacity"] {
                        let is_held = record.properties.get(name).is_some_and(|value| !value.is_empty());
                        assert!(!is_held || properties.get(name).is_some(), "{key}: {name} is not cleared");
                    }
                }
                ("synced", None) => panic!("{key} is synced and has no live record"),
                _ => {}
            }
        }
    }

    /// Enqueues a course without the checks of its key, like versions that had no such checks.
    pub async fn enqueue_without_checks(&self, key: &str, properties: &serde_json::Value) {
        let mut writer = self.pool().begin().await.expect("a transaction");
        for statement in [
            sqlx::query("set local session_replication_role = replica"),
            sqlx::query("insert into course_outbox (course_key, properties) values ($1, $2)")
                .bind(key)
                .bind(properties),
        ] {
            statement.execute(&mut *writer).await.expect("the course is enqueued");
        }
        writer.commit().await.expect("the course is enqueued");
    }

    /// Enqueues `count` valid courses with the keys `PREFIX-1`, `PREFIX-2` and so on, each with its own name.
    pub async fn enqueue_many(&self, prefix: &str, count: i64) {
        sqlx::query(
            "insert into course_outbox (course_key, properties)
             select $1 || '-' || n, jsonb_build_object('hs_course_name', 'Course ' || $1 || ' ' || n)
               from generate_series(1, $2) n",
        )
        .bind(prefix)
        .bind(count)
        .execute(self.pool())
        .await
        .expect("the courses are enqueued");
    }

    /// Ends the probing at the start of a term of the lease: sends the courses `warm-1`, `warm-2` and so on until full
    /// requests are sent concurrently. A daemon must be running.
    pub async fn warm_up(&self) {
        self.enqueue_many("warm", WARM_UP_COURSES).await;
        eventually("the warm-up is over", async || {
            let synced: i64 = sqlx::query_scalar(
                "select count(*) from course_outbox where course_key like 'warm-%' and status = 'synced'",
            )
            .fetch_one(self.pool())
            .await
            .expect("the outbox is readable");
            if synced == WARM_UP_COURSES { Ok(()) } else { Err(synced) }
        })
        .await;
    }

    /// All rows of the outbox, by id. The status is `in_flight` while an open request lists the course.
    pub async fn rows(&self) -> Vec<Row> {
        sqlx::query_as(
            "select course_key, attempts, faults, hubspot_id, error,
                    case when id in (select id from course_sync_in_flight()) then 'in_flight' else status end as status
               from course_outbox order by id",
        )
        .fetch_all(self.pool())
        .await
        .expect("the outbox is readable")
    }

    /// The row of this course.
    pub async fn row(&self, key: &str) -> Row {
        self.rows().await.into_iter().find(|row| row.course_key == key).expect("the course is in the outbox")
    }

    /// The number of courses by status.
    pub async fn counts(&self) -> BTreeMap<String, i64> {
        let counts = "select case when id in (select id from course_sync_in_flight()) then 'in_flight' else status end, count(*)
                        from course_outbox group by 1";
        sqlx::query_as(counts)
            .fetch_all(self.pool())
            .await
            .expect("the outbox is readable")
            .into_iter()
            .collect()
    }

    /// Waits until every course is in one of these statuses.
    pub async fn wait_until_all_are(&self, statuses: &[&str]) {
        eventually(&format!("every course is {statuses:?}"), async || {
            let counts = self.counts().await;
            if counts.keys().all(|status| statuses.contains(&status.as_str())) { Ok(()) } else { Err(counts) }
        })
        .await;
    }

    /// Waits until at least this many sessions of the database wait for a lock.
    pub async fn wait_for_lock_waiters(&self, sessions: i64) {
        postgres::wait_for_lock_waiters(self.pool(), sessions).await;
    }

    /// Checks the result from outside, by HubSpot's records and the outbox only: each synced course has exactly one
    /// live record, and it is the one in its row; a failed course has none; the invariants of the outbox hold.
    pub async fn audit(&self) {
        let rows = self.rows().await;
        let records: Vec<_> = self.hubspot.records().into_iter().filter(|record| !record.archived).collect();
        let belongs_to = |row: &Row, record: &simulator::Record| match record.properties.get(UNIQUE_PROPERTY)
        {
            Some(key) => *key == row.course_key,
            None => {
                let suffix = row.course_key.replace('-', " ");
                record
                    .properties
                    .get("hs_course_name")
                    .is_some_and(|name| *name == format!("Course {suffix}"))
            }
        };
        for row in &rows {
            let own: Vec<_> = records
                .iter()
                .filter(|record| belongs_to(row, record))
                .map(|record| record.id.to_string())
                .collect();
            match row.status.as_str() {
                "synced" => {
                    let id = row.hubspot_id.clone().unwrap();
                    let history = id.parse().map(|id| self.hubspot.versions_of(id));
                    assert_eq!(
                        own,
                        [id],
                        "{} must have exactly its own record; its changes: {history:#?}",
                        row.course_key
                    );
                }
                // A change of it may have failed.
                "failed" if row.hubspot_id.is_some() => {}
                "failed" => assert!(own.is_empty(), "{} failed, but has the records {own:?}", row.course_key),
                _ => assert!(own.len() <= 1, "{} has several records: {own:?}", row.course_key),
            }
        }
        for (rule, sql) in INVARIANTS {
            let broken: i64 =
                sqlx::query_scalar(sql).fetch_one(self.pool()).await.expect("the invariant can be evaluated");
            assert_eq!(broken, 0, "rows that violate the invariant: {rule}");
        }
    }

    /// The requests of this operation that HubSpot received.
    pub fn received(&self, operation: Operation) -> Vec<Entry> {
        self.hubspot.journal().into_iter().filter(|entry| entry.operation == operation).collect()
    }

    /// The number of create requests that HubSpot received.
    pub fn create_requests(&self) -> usize {
        self.received(Operation::BatchCreate).len()
    }

    /// How often HubSpot received each course in a create request, by course key (or name without a unique property).
    pub fn sends_per_course(&self) -> BTreeMap<String, usize> {
        let mut sends = BTreeMap::new();
        for entry in self.received(Operation::BatchCreate) {
            for input in &entry.inputs {
                let key = input.unique_value.clone().or_else(|| input.name.clone()).unwrap_or_default();
                *sends.entry(key).or_default() += 1;
            }
        }
        sends
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Invariants of the outbox between writes. Each statement counts the rows that violate it.
const INVARIANTS: [(&str, &str); 7] = [
    (
        "no two courses share a record",
        "select count(*) from (select from course_outbox where status = 'synced' group by hubspot_id having count(*) > 1) x",
    ),
    (
        "each unconfirmed course has a committed intent",
        "select count(*) from course_outbox o where status = 'unconfirmed' and not exists
            (select from course_sync_batch b where b.batch_id = o.batch_id and o.id = any(b.row_ids) and b.state <> 'closed')",
    ),
    (
        "each open intent has courses in flight",
        "select count(*) from course_sync_batch b where b.state = 'open' and not exists
            (select from course_sync_in_flight() f join course_outbox o using (id)
              where f.batch_id = b.batch_id and o.status = 'pending')",
    ),
    (
        "no course is in two open requests",
        "select count(*) from (select from course_sync_in_flight() group by id having count(*) > 1) x",
    ),
    ("no row is stored as in flight", "select count(*) from course_outbox where status = 'in_flight'"),
    (
        "each synced course has the revision that was sent",
        "select count(*) from course_outbox where status = 'synced' and coalesce(synced_revision > revision, true)",
    ),
    ("each failed course has an error", "select count(*) from course_outbox where status = 'failed' and error is null"),
];
