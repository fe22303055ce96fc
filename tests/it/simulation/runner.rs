//! Runs a plan, ends all faults, and waits until the engine has settled every course.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::audit;
use super::engine::Engine;
use super::plan::{BATCH, PER_MS, Plan, Step, TIMEOUT_MS};
use crate::support::eventually::eventually;
use crate::support::postgres;
use crate::support::world::World;

/// The largest number of instances at once.
const MAX_INSTANCES: usize = 3;
/// How long to wait for requests that do not come: about as long as it takes to notice one that hangs.
const REQUEST_WAIT: Duration = Duration::from_millis(TIMEOUT_MS / 2);
/// The key prefix of courses that HubSpot can never accept.
pub const BAD: &str = "Bad";

/// A running plan.
struct Runner {
    world: World,
    /// The oldest first.
    engines: Vec<Engine>,
    enqueued: usize,
    changes: usize,
    is_hubspot_stopped: bool,
}

/// Runs the plan and verifies every promise.
pub async fn run_plan(plan: &Plan) {
    let mut runner = Runner::start(plan).await;
    for step in &plan.steps {
        runner.run_step(step).await;
    }
    runner.end_faults().await;
    let faults_ended = Instant::now();
    runner.wait_until_settled(plan.unique).await;
    tokio::time::sleep_until((faults_ended + plan.latest_commit()).into()).await;
    audit::audit(&runner.world, plan).await;
    assert!(runner.engines.iter().all(|engine| !engine.has_ended()), "an engine ended by itself");
    for engine in runner.engines {
        assert!(engine.stop().await, "a result was not recorded");
    }
}

impl Runner {
    async fn start(plan: &Plan) -> Self {
        let mut world = World::with(plan.unique, plan.behaviour.clone()).await;
        for (name, value) in [
            ("DATABASE__MAX_CONNECTIONS", "4"),
            ("HUBSPOT__REQUEST_TIMEOUT", &format!("{TIMEOUT_MS}ms")),
            ("HUBSPOT__CONNECT_TIMEOUT", "200ms"),
            ("BATCH__MAX_SIZE", &BATCH.to_string()),
            ("BATCH__LINGER", "5ms"),
            ("RATE_LIMIT__REQUESTS", &plan.behaviour.limits.requests.to_string()),
            ("RATE_LIMIT__PER", &format!("{PER_MS}ms")),
            ("RETRY__INITIAL_INTERVAL", "20ms"),
            ("RETRY__MAX_INTERVAL", "200ms"),
            ("OUTBOX__POLL_INTERVAL", "50ms"),
            ("OUTBOX__LISTEN", &plan.listen.to_string()),
            ("OUTBOX__LEASE", "300ms"),
            // Records are read once more four times as long after a resend: later than any late commit.
            ("OUTBOX__SETTLE", "250ms"),
        ] {
            world.set(name, value);
        }
        let engines = vec![Engine::start(&world.settings)];
        Self { world, engines, enqueued: 0, changes: 0, is_hubspot_stopped: false }
    }

    async fn run_step(&mut self, step: &Step) {
        match step {
            Step::Enqueue { good, bad } => self.enqueue(*good, *bad).await,
            Step::Change { first, courses } => {
                self.change(
                    *first,
                    *courses,
                    "properties = properties || jsonb_build_object('hs_course_description', $3)",
                )
                .await;
            }
            Step::Withdraw { first, courses, archived } => {
                let set = if *archived { "archived = $3 is not null" } else { "archived = $3 is null" };
                self.change(*first, *courses, set).await;
            }
            Step::AddFault(fault) => self.world.hubspot.add_fault(fault.clone()),
            Step::StopHubSpot => {
                self.world.stop_hubspot().await;
                self.is_hubspot_stopped = true;
            }
            Step::RestartHubSpot => {
                self.world.restart_hubspot().await;
                self.is_hubspot_stopped = false;
            }
            Step::Crash => {
                self.engines.remove(0).crash();
                self.start_instance();
            }
            Step::Stop => {
                // No fault here prevents it from recording, and an unrecorded result would make courses unconfirmed.
                assert!(self.engines.remove(0).stop().await, "a clean stop records every result");
                self.start_instance();
            }
            Step::StartInstance if self.engines.len() < MAX_INSTANCES => self.start_instance(),
            Step::StartInstance => {}
            Step::Freeze { ms } => self.engines[0].freeze(Duration::from_millis(*ms)),
            Step::EndSessions => self.end_sessions().await,
            Step::DatabaseOutage { ms } => {
                self.allow_connections(false).await;
                self.end_sessions().await;
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                self.allow_connections(true).await;
            }
            Step::WaitForRequests { requests } => self.wait_for_requests(*requests).await,
        }
    }

    fn start_instance(&mut self) {
        self.engines.push(Engine::start(&self.world.settings));
    }

    async fn enqueue(&mut self, good: usize, bad: usize) {
        // The bad courses are sent together with good ones.
        let bad_ones = good / 2..good / 2 + bad;
        for place in 0..good + bad {
            self.enqueued += 1;
            let (key, properties) = course(self.enqueued, bad_ones.contains(&place));
            self.world.enqueue(&key, &properties).await;
        }
    }

    /// Changes some of the courses.
    async fn change(&mut self, first: usize, courses: usize, set: &'static str) {
        self.changes += 1;
        let first = i64::try_from(first % self.enqueued.max(1)).expect("a small number");
        let courses = i64::try_from(courses).expect("a small number");
        let sql = AssertSqlSafe(format!("update course_outbox set {set} where id > $1 and id <= $1 + $2"));
        let change = sqlx::query(sql).bind(first).bind(courses).bind(format!("change {}", self.changes));
        change.execute(self.world.pool()).await.expect("the courses are changed");
    }

    async fn end_sessions(&self) {
        let ended: Vec<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name = 'course-sync'",
        )
        .fetch_all(self.world.pool())
        .await
        .expect("sessions can be ended");
        drop(ended);
    }

    /// Allows or refuses new connections to the database.
    async fn allow_connections(&self, is_allowed: bool) {
        let url = postgres::cluster().await.url("postgres");
        let mut outside = PgConnection::connect(&url).await.expect("the cluster accepts connections");
        let name = self.world.database.name();
        sqlx::raw_sql(AssertSqlSafe(format!("alter database {name} allow_connections {is_allowed}")))
            .execute(&mut outside)
            .await
            .expect("the setting can be changed");
    }

    async fn wait_for_requests(&self, requests: usize) {
        let (began, before) = (Instant::now(), self.requests());
        while self.requests() < before + requests && began.elapsed() < REQUEST_WAIT {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn requests(&self) -> usize {
        self.world.hubspot.summary().requests
    }

    /// Ends every fault of HubSpot, and all instances but one.
    async fn end_faults(&mut self) {
        self.world.hubspot.clear_faults();
        if self.is_hubspot_stopped {
            self.world.restart_hubspot().await;
        }
        self.engines.drain(1..).for_each(Engine::crash);
    }

    /// Waits until the engine will change no course any more.
    async fn wait_until_settled(&self, unique: bool) {
        let unconfirmed = if unique { "synced" } else { "unconfirmed" };
        self.world.wait_until_all_are(&["synced", "failed", "archived", unconfirmed]).await;
        eventually("no record is to be read once more", async || {
            let open: i64 = sqlx::query_scalar(
                "select count(*) from course_outbox
                  where status = 'synced' and recheck_at is not null or status = 'pending'
                     or status = 'unconfirmed' and doubt = 'change'",
            )
            .fetch_one(self.world.pool())
            .await
            .expect("the outbox can be read");
            if open == 0 { Ok(()) } else { Err(open) }
        })
        .await;
    }
}

/// The key and the properties of the `number`-th course. A bad one has an unknown property or an invalid value.
fn course(number: usize, bad: bool) -> (String, Value) {
    let key = format!("{}-{number}", if bad { BAD } else { "Good" });
    let mut properties = json!({
        "hs_course_name": format!("Course {}", key.replace('-', " ")),
        "hs_course_description": format!("Course number {number}: \u{201c}caf\u{e9}\u{201d} \\ \n \u{1f393}"),
        "hs_enrollment_capacity": number,
    });
    if bad && number.is_multiple_of(2) {
        properties["unknown_property"] = "anything".into();
    } else if bad {
        properties["hs_enrollment_capacity"] = "a few".into();
    }
    (key, properties)
}
