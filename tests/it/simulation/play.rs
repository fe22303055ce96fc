//! Carries out a plan in a world, heals the world, and waits until the engine is done with it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::audit;
use super::engine::Engine;
use super::plan::{BATCH, PER_MS, Plan, Step, TIMEOUT_MS};
use crate::support::postgres;
use crate::support::world::World;

/// Instances at once, at most.
const INSTANCES: usize = 3;
/// How long requests that do not come are waited for: about as long as it takes to notice one that hangs.
const A_WHILE: Duration = Duration::from_millis(TIMEOUT_MS / 2);
/// Keys of courses that HubSpot can never accept begin so.
pub const BAD: &str = "Bad";

/// A plan under way.
struct Play {
    world: World,
    /// The eldest first.
    engines: Vec<Engine>,
    enqueued: usize,
    is_away: bool,
}

/// Carries out the plan and demands all that is promised.
pub async fn play(plan: &Plan) {
    let mut stage = Play::begin(plan).await;
    for step in &plan.steps {
        stage.step(step).await;
    }
    stage.heal().await;
    let healed = Instant::now();
    stage.settled(plan.unique).await;
    tokio::time::sleep_until((healed + plan.latest_commit()).into()).await;
    audit::audit(&stage.world, plan).await;
    assert!(stage.engines.iter().all(|engine| !engine.has_ended()), "an engine ended by itself");
    for engine in stage.engines {
        assert!(engine.stop().await, "not everything that was sent is recorded");
    }
}

impl Play {
    async fn begin(plan: &Plan) -> Self {
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
            ("OUTBOX__SETTLE", "100ms"),
        ] {
            world.set(name, value);
        }
        let engines = vec![Engine::start(&world.settings)];
        Self { world, engines, enqueued: 0, is_away: false }
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Enqueue { good, bad } => self.enqueue(*good, *bad).await,
            Step::Trouble(fault) => self.world.hubspot.add_fault(fault.clone()),
            Step::HubSpotGoes => {
                self.world.hubspot_goes().await;
                self.is_away = true;
            }
            Step::HubSpotReturns => {
                self.world.hubspot_returns().await;
                self.is_away = false;
            }
            Step::Crash => {
                self.engines.remove(0).crash();
                self.start();
            }
            Step::Stop => {
                // What it sent and could not record would be in doubt; nothing here keeps it from recording.
                assert!(self.engines.remove(0).stop().await, "a clean stop records everything");
                self.start();
            }
            Step::Another if self.engines.len() < INSTANCES => self.start(),
            Step::Another => {}
            Step::Freeze { ms } => self.engines[0].freeze(Duration::from_millis(*ms)),
            Step::CutDatabase => self.cut_database().await,
            Step::DatabaseGoes { ms } => {
                self.admit(false).await;
                self.cut_database().await;
                tokio::time::sleep(Duration::from_millis(*ms)).await;
                self.admit(true).await;
            }
            Step::Let { requests } => self.let_pass(*requests).await,
        }
    }

    fn start(&mut self) {
        self.engines.push(Engine::start(&self.world.settings));
    }

    async fn enqueue(&mut self, good: usize, bad: usize) {
        // The bad ones travel in the company of good ones.
        let bad_ones = good / 2..good / 2 + bad;
        for place in 0..good + bad {
            self.enqueued += 1;
            let (key, properties) = course(self.enqueued, bad_ones.contains(&place));
            self.world.enqueue(&key, &properties).await;
        }
    }

    async fn cut_database(&self) {
        let cut: Vec<bool> = sqlx::query_scalar(
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and application_name = 'course-sync'",
        )
        .fetch_all(self.world.pool())
        .await
        .expect("sessions can be ended");
        drop(cut);
    }

    /// Whether the database lets anybody in who is not there yet.
    async fn admit(&self, anybody: bool) {
        let url = postgres::cluster().await.url("postgres");
        let mut outside = PgConnection::connect(&url).await.expect("the cluster is there");
        let name = self.world.database.name();
        sqlx::raw_sql(AssertSqlSafe(format!("alter database {name} allow_connections {anybody}")))
            .execute(&mut outside)
            .await
            .expect("the door moves");
    }

    async fn let_pass(&self, requests: usize) {
        let (began, before) = (Instant::now(), self.requests());
        while self.requests() < before + requests && began.elapsed() < A_WHILE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn requests(&self) -> usize {
        self.world.hubspot.summary().requests
    }

    /// HubSpot is there and means well, and one instance is left.
    async fn heal(&mut self) {
        self.world.hubspot.clear_faults();
        if self.is_away {
            self.world.hubspot_returns().await;
        }
        self.engines.drain(1..).for_each(Engine::crash);
    }

    /// Waits until no course is left that anything will still become of.
    async fn settled(&self, unique: bool) {
        let settled: &[&str] =
            if unique { &["synced", "failed"] } else { &["synced", "failed", "unconfirmed"] };
        self.world.all_are(settled).await;
    }
}

/// Properties of the `number`-th course, and its key. What is bad about a bad one varies.
fn course(number: usize, bad: bool) -> (String, Value) {
    let key = format!("{}-{number}", if bad { BAD } else { "Good" });
    let mut properties = json!({
        "hs_course_name": format!("Course {}", key.replace('-', " ")),
        "hs_course_description": format!("Course number {number}: \u{201c}caf\u{e9}\u{201d} \\ \n \u{1f393}"),
        "hs_enrollment_capacity": number,
    });
    if bad && number.is_multiple_of(2) {
        properties["nobody_knows_it"] = "anything".into();
    } else if bad {
        properties["hs_enrollment_capacity"] = "a few".into();
    }
    (key, properties)
}
