//! `check`, by the real program: what it says of good and of bad set-ups, and what it mends.

use std::collections::BTreeMap;
use std::process::Output;

use course_sync::simulator::{
    Answer, Behaviour, CoursesState, Dialect, Fault, Limits, Operation, PropertyType, Uniqueness,
};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;

use crate::support::daemon::{output, program};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::cluster;
use crate::support::world::{UNIQUE, World};

const CODES: [&str; 10] = [
    "configuration",
    "database",
    "schema",
    "grants",
    "wakeup",
    "token",
    "scopes",
    "object_type",
    "quota",
    "unique_property",
];

async fn ran(settings: &BTreeMap<String, String>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(settings);
    command.arg("check").args(arguments);
    let Output { status, stdout, stderr } = output(command).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The exit code, and each check's status by its code.
async fn checked(world: &World, arguments: &[&str]) -> (Option<i32>, BTreeMap<String, Value>) {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let (code, out, err) = ran(&world.settings, &arguments).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(report["ok"], code == Some(0), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let by_code = checks.iter().map(|check| (check["code"].as_str().unwrap().to_owned(), check.clone()));
    (code, by_code.collect())
}

/// Everything is well but for these, which are as said and tell these words.
async fn finds(world: &World, expected: &[(&str, &str, &str)]) {
    let (code, checks) = checked(world, &[]).await;
    let is_wrong = expected.iter().any(|(_, status, _)| *status == "failed");
    assert_eq!(code, Some(i32::from(is_wrong)), "{checks:#?}");
    for name in CODES {
        let said = checks[name].to_string();
        let (status, words) = expected
            .iter()
            .find(|(code, ..)| *code == name)
            .map_or(("ok", ""), |(_, status, words)| (*status, *words));
        assert_eq!(checks[name]["status"], status, "{name}: {said}");
        assert!(said.contains(words), "{name}: {words:?} in {said}");
        assert_eq!(checks[name]["mend"].is_string(), status == "failed", "{said}");
    }
}

#[tokio::test]
async fn a_good_set_up_is_one_line_each() {
    let world = World::new().await;
    world.enqueue_many("A", 3).await;
    let (code, out, err) = ran(&world.settings, &[]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), CODES.len(), "{out}");
    for (line, code) in lines.iter().zip(CODES) {
        assert!(line.starts_with(&format!("✓ {code} ")), "{line}");
    }
    assert!(lines[8].contains("190 requests in 10s are configured, HubSpot allows 190 in 10 s"), "{out}");
    finds(&world, &[]).await;
    assert_eq!((world.creates(), world.rows().await.len()), (0, 3), "it sends no course");
    let touched = world.received(Operation::PropertyCreate).len();
    assert_eq!(touched, 0, "it changes nothing unless told to");
}

#[tokio::test]
async fn a_bad_configuration_is_exit_code_2() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "0");
    world.set("BATCH__LINGR", "1s");
    let (code, out, err) = ran(&world.settings, &[]).await;
    assert_eq!(code, Some(2));
    assert!(out.starts_with("✗ configuration   2 wrong"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with('–')).count(), 9, "{out}");
    assert!(err.contains("BATCH__MAX_SIZE") && err.contains("BATCH__LINGER"), "{err}");
    let (code, checks) = checked(&world, &[]).await;
    assert_eq!(code, Some(2));
    assert!(checks["configuration"]["message"].as_str().unwrap().contains("batch.max_size"), "{checks:#?}");
}

#[tokio::test]
async fn what_is_wrong_with_the_database() {
    let mut world = World::new().await;
    let url = world.settings["DATABASE_URL"].clone();
    let rest = |why| ["schema", "grants", "wakeup"].map(|code| (code, "skipped", why));
    world.settings.insert("DATABASE_URL".into(), "postgres://sync:geheim@127.0.0.1:1/catalogue".into());
    let [schema, grants, wakeup] = rest("no database");
    finds(&world, &[("database", "failed", "127.0.0.1:1/catalogue"), schema, grants, wakeup]).await;
    let (_, out, err) = ran(&world.settings, &[]).await;
    assert!(!out.contains("geheim") && !err.contains("geheim"));

    world.settings.insert("DATABASE_URL".into(), url.clone());
    let role = format!("checker_{}", world.database.name());
    let make = format!(
        "create role {role} login; grant select, update on course_outbox to {role};
         grant select on course_sync_batch, course_sync_leader, course_sync_pause, course_sync_history, course_sync_migrations
            to {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(make)).execute(world.pool()).await.unwrap();
    let as_role = url.replacen("course_sync@", &format!("{role}@"), 1);
    assert_ne!(as_role, url);
    world.settings.insert("DATABASE_URL".into(), as_role);
    finds(&world, &[("grants", "failed", "grant insert on course_sync_batch")]).await;
    let drop_role = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(AssertSqlSafe(drop_role)).execute(world.pool()).await.unwrap();

    world.settings.insert("DATABASE_URL".into(), url);
    sqlx::raw_sql("drop schema public cascade; create schema public").execute(world.pool()).await.unwrap();
    let [_, grants, wakeup] = rest("the schema is not");
    finds(&world, &[("schema", "failed", "course-sync migrate"), grants, wakeup]).await;
}

#[tokio::test]
async fn a_pooler_that_swallows_notifications_is_noticed() {
    let Some(pooler) = PgBouncer::before(cluster().await).await else {
        eprintln!("skipped: pgbouncer is not installed");
        return;
    };
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), pooler.url(world.database.name()));
    let (_, checks) = checked(&world, &[]).await;
    assert_eq!(checks["wakeup"]["status"], "failed", "{checks:#?}");
    assert!(checks["wakeup"]["mend"].as_str().unwrap().contains("outbox.listen = false"), "{checks:#?}");
    world.set("OUTBOX__LISTEN", "false");
    finds(&world, &[("wakeup", "ok", "within 1s")]).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_account() {
    let later =
        |why| ["scopes", "object_type", "quota", "unique_property"].map(|code| (code, "skipped", why));
    let mut world = World::new().await;
    world.hubspot.set_token("pat-na1-another");
    let [a, b, c, d] = later("no valid token");
    finds(&world, &[("token", "failed", "HUBSPOT_ACCESS_TOKEN"), a, b, c, d]).await;
    let url = std::mem::replace(
        world.settings.get_mut("COURSE_SYNC__HUBSPOT__BASE_URL").unwrap(),
        "http://127.0.0.1:1".into(),
    );
    let [a, b, c, d] = later("could not be asked");
    finds(&world, &[("token", "failed", "hubspot.base_url"), a, b, c, d]).await;
    world.settings.insert("COURSE_SYNC__HUBSPOT__BASE_URL".into(), url);
    world.hubspot.set_token(&world.settings["HUBSPOT_ACCESS_TOKEN"]);

    let scopes = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
    world.hubspot.set_scopes(scopes(&["crm.objects.courses.read"]));
    finds(&world, &[("scopes", "failed", "lacks crm.objects.courses.write")]).await;
    world.hubspot.set_scopes(scopes(&["crm.objects.courses.read", "crm.objects.courses.write"]));
    finds(&world, &[]).await;

    world.hubspot.change_behaviour(|behaviour| behaviour.courses = CoursesState::Forbidden);
    let unread = ("unique_property", "failed", "add the scope");
    finds(&world, &[("object_type", "failed", "switch Courses on"), unread]).await;
    world.hubspot.change_behaviour(|behaviour| behaviour.courses = CoursesState::Unknown);
    let unread = ("unique_property", "skipped", "could not be looked up");
    finds(&world, &[("object_type", "failed", "switch Courses on"), unread]).await;
    world.hubspot.change_behaviour(|behaviour| behaviour.courses = CoursesState::Active);

    let spent = Answer::RateLimited { dialect: Dialect::Daily, retry_after: None };
    world.hubspot.add_fault(Fault::new(spent));
    let skipped = |code| (code, "skipped", "quota is used up");
    let quota = ("quota", "failed", "midnight");
    finds(
        &world,
        &[skipped("token"), skipped("scopes"), skipped("object_type"), quota, skipped("unique_property")],
    )
    .await;
    world.hubspot.clear_faults();

    world.hubspot.change_behaviour(|behaviour| {
        behaviour.limits = Limits { requests: 100, ..Limits::default() };
    });
    finds(&world, &[("quota", "failed", "set rate_limit.requests = 100")]).await;
    world.set("RATE_LIMIT__REQUESTS", "100");
    finds(&world, &[]).await;
}

#[tokio::test]
async fn the_unique_property_is_made_and_verified() {
    let mut world = World::with(false, Behaviour::default()).await;
    finds(&world, &[("unique_property", "skipped", "hubspot.unique_property is not set")]).await;
    let (code, _, err) = ran(&world.settings, &["--fix"]).await;
    assert_eq!(code, Some(2));
    assert!(err.contains("hubspot.unique_property"), "{err}");

    world.set("HUBSPOT__UNIQUE_PROPERTY", UNIQUE);
    finds(&world, &[("unique_property", "failed", "course-sync check --fix")]).await;
    for words in ["was created, and its values are unique", "is there, and its values are unique"] {
        let (code, checks) = checked(&world, &["--fix"]).await;
        assert_eq!(code, Some(0), "{checks:#?}");
        assert!(checks["unique_property"]["message"].as_str().unwrap().contains(words), "{checks:#?}");
    }
    assert_eq!(world.received(Operation::PropertyCreate).len(), 1);
    finds(&world, &[]).await;
    world.enqueue_many("A", 3).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn a_property_without_uniqueness_is_left_alone() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.hubspot.create_property("plain", PropertyType::String, false);
    world.set("HUBSPOT__UNIQUE_PROPERTY", "plain");
    for arguments in [&[] as &[&str], &["--fix"]] {
        let (code, checks) = checked(&world, arguments).await;
        assert_eq!(code, Some(1), "{checks:#?}");
        assert!(checks["unique_property"]["mend"].as_str().unwrap().contains("a new name"), "{checks:#?}");
    }
    assert_eq!(world.received(Operation::PropertyCreate).len(), 0);

    // HubSpot brings an archived one back as it was.
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/crm/v3/properties/0-410/plain", world.hubspot.url());
    client.delete(url).bearer_auth(&world.settings["HUBSPOT_ACCESS_TOKEN"]).send().await.unwrap();
    let (code, checks) = checked(&world, &["--fix"]).await;
    assert_eq!(code, Some(1));
    assert!(
        checks["unique_property"]["message"].as_str().unwrap().contains("brought an archived"),
        "{checks:#?}"
    );
    // And a scope of its own is needed to make one.
    world.set("HUBSPOT__UNIQUE_PROPERTY", "another");
    world
        .hubspot
        .set_scopes(["crm.objects.courses.read", "crm.objects.courses.write"].map(str::to_owned).into());
    let (_, checks) = checked(&world, &["--fix"]).await;
    assert!(
        checks["unique_property"]["mend"].as_str().unwrap().contains("crm.schemas.courses.write"),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn uniqueness_is_probed_in_a_sandbox_alone() {
    let world = World::new().await;
    let (code, _, err) = ran(&world.settings, &["--probe-uniqueness"]).await;
    assert_eq!(code, Some(2), "{err}");
    let probe = ["--probe-uniqueness", "--confirm-sandbox"];
    let (code, checks) = checked(&world, &probe).await;
    assert_eq!((code, &checks["uniqueness"]["status"]), (Some(1), &json!("failed")));
    assert!(checks["uniqueness"]["message"].as_str().unwrap().contains("no sandbox"), "{checks:#?}");
    assert_eq!(world.hubspot.records().len(), 0, "nothing was tried");

    world.hubspot.change_behaviour(|behaviour| behaviour.account_type = "SANDBOX".to_owned());
    let (code, checks) = checked(&world, &probe).await;
    assert_eq!(code, Some(0), "{checks:#?}");
    assert!(checks["uniqueness"]["message"].as_str().unwrap().contains("made 1 record,"), "{checks:#?}");
    assert_eq!(world.creates(), 20);

    world.hubspot.change_behaviour(|behaviour| {
        behaviour.uniqueness = Uniqueness::CheckedFirst { gap_ms: 500 };
    });
    let (code, checks) = checked(&world, &probe).await;
    assert_eq!(code, Some(1), "{checks:#?}");
    assert!(
        checks["uniqueness"]["mend"].as_str().unwrap().contains("exactly-once does not hold"),
        "{checks:#?}"
    );
    let records = world.hubspot.records();
    assert!(records.len() > 2 && records.iter().all(|record| record.archived), "what was made is archived");
}
