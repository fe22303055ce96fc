//! A database, a HubSpot and the settings that join them: the world around one daemon.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use course_sync::simulator::{Behaviour, Entry, Handle, Operation, Settings, Simulator};
use serde_json::json;
use sqlx::PgPool;
use tokio::task::JoinHandle;

use super::daemon::Daemon;
use super::eventually::eventually;
use super::postgres::{self, TestDatabase};

/// The property that carries the course's key, where there is one.
pub const UNIQUE: &str = "course_sync_key";

/// A request of one course, of ten, of a hundred.
pub const WARM: i64 = 111;

/// The world around one test.
pub struct World {
    pub database: TestDatabase,
    pub hubspot: Handle,
    pub settings: BTreeMap<String, String>,
    serving: JoinHandle<()>,
}

/// A course as the outbox shows it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Row {
    pub course_key: String,
    pub status: String,
    pub attempts: i32,
    pub faults: i32,
    pub hubspot_id: Option<String>,
    pub error: Option<serde_json::Value>,
}

impl Row {
    /// A member of the row's error, as text.
    pub fn error(&self, member: &str) -> String {
        let error = self.error.as_ref().unwrap_or_else(|| panic!("{} has no error", self.course_key));
        error[member].as_str().map_or_else(|| error[member].to_string(), str::to_owned)
    }
}

impl World {
    /// A world with a unique property.
    pub async fn new() -> Self {
        Self::with(true, Behaviour::default()).await
    }

    pub async fn with(unique: bool, behaviour: Behaviour) -> Self {
        let unique_property = unique.then(|| UNIQUE.to_owned());
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

    /// Changes a setting of the daemons that start from now on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.insert(format!("COURSE_SYNC__{name}"), value.to_owned());
    }

    pub fn pool(&self) -> &PgPool {
        self.database.pool()
    }

    /// Makes a property in HubSpot, as HubSpot's API has it.
    pub async fn create_property(&self, definition: &serde_json::Value) {
        let answer = reqwest::Client::builder()
            .build()
            .expect("a client")
            .post(format!("{}/crm/v3/properties/0-410", self.hubspot.url()))
            .bearer_auth(&self.settings["HUBSPOT_ACCESS_TOKEN"])
            .json(definition)
            .send()
            .await
            .expect("the simulator answers");
        assert_eq!(answer.status(), 201, "{:?}", answer.text().await);
    }

    /// Makes the property `format`, which takes `online` and `campus`.
    pub async fn create_format(&self) {
        let option = |value: &str| json!({ "label": value, "value": value });
        self.create_property(&json!({
            "groupName": "course_information", "name": "format", "label": "Format", "type": "enumeration",
            "fieldType": "select", "options": [option("online"), option("campus")],
        }))
        .await;
    }

    /// Moves to a database of another cluster, whose schema is not there yet.
    pub fn in_cluster(&mut self, url: &str) {
        self.database.elsewhere(url);
        self.settings.insert("DATABASE_URL".into(), url.to_owned());
    }

    /// Starts a daemon in it.
    pub fn daemon(&self) -> Daemon {
        Daemon::start(&self.settings, &[])
    }

    /// HubSpot goes away: connections are cut, new ones refused. It keeps what it holds.
    pub async fn hubspot_goes(&mut self) {
        self.serving.abort();
        // An aborted task says so; that is what was asked for.
        let _aborted = (&mut self.serving).await;
    }

    /// HubSpot comes back at the same address.
    pub async fn hubspot_returns(&mut self) {
        let handle = self.hubspot.clone();
        let simulator =
            eventually("the address is free again", async || Simulator::rebind(handle.clone()).await).await;
        self.serving = tokio::spawn(async move {
            simulator.serve(std::future::pending()).await.expect("the simulator serves");
        });
    }

    /// Enqueues a course as a catalogue does.
    pub async fn enqueue(&self, key: &str, properties: &serde_json::Value) {
        sqlx::query("insert into course_outbox (course_key, properties) values ($1, $2) on conflict (course_key) do nothing")
            .bind(key)
            .bind(properties)
            .execute(self.pool())
            .await
            .expect("the course is enqueued");
    }

    /// Enqueues a course as a version did that refused nothing of its key.
    pub async fn enqueue_unrefused(&self, key: &str, properties: &serde_json::Value) {
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

    /// Enqueues `count` good courses, `PREFIX-1` and so on, each with a name of its own.
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

    /// Leaves the probe state in which each term of the lease begins: as many courses are sent, `warm-1` and so on, as
    /// it takes until requests of a hundred courses go side by side. A daemon has to run.
    pub async fn warm_up(&self) {
        self.enqueue_many("warm", WARM).await;
        eventually("the warm-up is over", async || {
            let synced: i64 = sqlx::query_scalar(
                "select count(*) from course_outbox where course_key like 'warm-%' and status = 'synced'",
            )
            .fetch_one(self.pool())
            .await
            .expect("the outbox is readable");
            if synced == WARM { Ok(()) } else { Err(synced) }
        })
        .await;
    }

    pub async fn rows(&self) -> Vec<Row> {
        sqlx::query_as(
            "select course_key, status, attempts, faults, hubspot_id, error from course_outbox order by id",
        )
        .fetch_all(self.pool())
        .await
        .expect("the outbox is readable")
    }

    pub async fn row(&self, key: &str) -> Row {
        self.rows().await.into_iter().find(|row| row.course_key == key).expect("the course is there")
    }

    pub async fn counts(&self) -> BTreeMap<String, i64> {
        sqlx::query_as("select status, count(*) from course_outbox group by status")
            .fetch_all(self.pool())
            .await
            .expect("the outbox is readable")
            .into_iter()
            .collect()
    }

    /// Waits until every course is in one of these statuses.
    pub async fn all_are(&self, statuses: &[&str]) {
        eventually(&format!("every course is {statuses:?}"), async || {
            let counts = self.counts().await;
            if counts.keys().all(|status| statuses.contains(&status.as_str())) { Ok(()) } else { Err(counts) }
        })
        .await;
    }

    /// Waits until so many sessions of its database wait for a lock.
    pub async fn waits_for_locks(&self, sessions: i64) {
        postgres::waits_for_locks(self.pool(), sessions).await;
    }

    /// The auditor: judges HubSpot's records and the outbox by what they say, and by nothing of the
    /// engine's. Each synced course has exactly one live record, its own; nothing else has one; the
    /// outbox's own rules hold.
    pub async fn audit(&self) {
        let rows = self.rows().await;
        let records = self.hubspot.records();
        let is_of = |row: &Row, record: &course_sync::simulator::Record| match record.properties.get(UNIQUE) {
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
                .filter(|record| is_of(row, record))
                .map(|record| record.id.to_string())
                .collect();
            match row.status.as_str() {
                "synced" => assert_eq!(
                    own,
                    [row.hubspot_id.clone().unwrap()],
                    "{} has its own record",
                    row.course_key
                ),
                "failed" => assert!(own.is_empty(), "{} failed and yet has {own:?}", row.course_key),
                _ => assert!(own.len() <= 1, "{} has {own:?}", row.course_key),
            }
        }
        for (rule, sql) in INVARIANTS {
            let broken: i64 =
                sqlx::query_scalar(sql).fetch_one(self.pool()).await.expect("the rule can be read");
            assert_eq!(broken, 0, "broken: {rule}");
        }
    }

    /// The requests of one kind that HubSpot received.
    pub fn received(&self, operation: Operation) -> Vec<Entry> {
        self.hubspot.journal().into_iter().filter(|entry| entry.operation == operation).collect()
    }

    /// How many create requests HubSpot received.
    pub fn creates(&self) -> usize {
        self.received(Operation::BatchCreate).len()
    }

    /// How often HubSpot was sent each course.
    pub fn sends(&self) -> BTreeMap<String, usize> {
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

/// What must hold whenever nobody writes; each counts the rows that break it.
const INVARIANTS: [(&str, &str); 4] = [
    (
        "one record, one course",
        "select count(*) from (select from course_outbox where status = 'synced' group by hubspot_id having count(*) > 1) x",
    ),
    (
        "an open intent behind each course in flight or in doubt",
        "select count(*) from course_outbox o where status in ('in_flight', 'unconfirmed') and not exists
            (select from course_sync_batch b where b.batch_id = o.batch_id and o.id = any(b.row_ids) and b.state <> 'closed')",
    ),
    (
        "no open intent without courses",
        "select count(*) from course_sync_batch b where b.state = 'open' and not exists
            (select from course_outbox o where o.batch_id = b.batch_id and o.status in ('in_flight', 'unconfirmed'))",
    ),
    ("a failed course says why", "select count(*) from course_outbox where status = 'failed' and error is null"),
];
