//! `check`, with the real program: its report on valid and invalid setups, and `--fix`.

use std::collections::BTreeMap;
use std::process::Output;

use serde_json::{Value, json};
use simulator::{
    Answer, Behaviour, CoursesState, Dialect, Fault, Limits, Operation, PropertyType, RecordLimit, Uniqueness,
};
use sqlx::AssertSqlSafe;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::daemon::{output, program};
use crate::support::eventually::eventually;
use crate::support::http::{http_client, http_get};
use crate::support::world::{UNIQUE_PROPERTY, World};

const CODES: [&str; 12] = [
    "configuration",
    "database",
    "schema",
    "grants",
    "wakeup",
    "token",
    "scopes",
    "object_type",
    "quota",
    "record_limit",
    "unique_property",
    "properties",
];

async fn run_check(settings: &BTreeMap<String, String>, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(settings);
    command.arg("check").args(arguments);
    let Output { status, stdout, stderr } = output(command).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// The exit code, and each check's status by its code.
async fn check_as_json(world: &World, arguments: &[&str]) -> (Option<i32>, BTreeMap<String, Value>) {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let (code, out, err) = run_check(&world.settings, &arguments).await;
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    assert_eq!(report["ok"], code == Some(0), "{report:#}");
    let checks = report["checks"].as_array().unwrap();
    let by_code = checks.iter().map(|check| (check["code"].as_str().unwrap().to_owned(), check.clone()));
    (code, by_code.collect())
}

/// Asserts that all checks pass except these, which have this status and contain these words.
async fn assert_results(world: &World, expected: &[(&str, &str, &str)]) {
    let (code, checks) = check_as_json(world, &[]).await;
    let is_wrong = expected.iter().any(|(_, status, _)| *status == "failed");
    assert_eq!(code, Some(i32::from(is_wrong)), "{checks:#?}");
    for name in CODES {
        let result = checks[name].to_string();
        // It depends on the property list and the database.
        if name == "properties" && checks[name]["status"] == "skipped" {
            continue;
        }
        let (status, words) = expected
            .iter()
            .find(|(code, ..)| *code == name)
            .map_or(("ok", ""), |(_, status, words)| (*status, *words));
        assert_eq!(checks[name]["status"], status, "{name}: {result}");
        assert!(result.contains(words), "{name}: {words:?} in {result}");
        assert_eq!(checks[name]["fix"].is_string(), matches!(status, "failed" | "warning"), "{result}");
    }
}

#[tokio::test]
async fn a_valid_setup_prints_one_line_per_check() {
    let mut world = World::new().await;
    // The tests' own setting is shorter than recommended, which is a note.
    world.set("OUTBOX__SETTLE", "30s");
    world.enqueue_many("A", 3).await;
    let (code, out, err) = run_check(&world.settings, &[]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines.len(), CODES.len(), "{out}");
    for (line, code) in lines.iter().zip(CODES) {
        assert!(line.starts_with(&format!("✓ {code} ")), "{line}");
    }
    assert!(lines[8].contains("configured: 190 requests in 10s; allowed by HubSpot: 190 in 10 s"), "{out}");
    assert_results(&world, &[]).await;
    assert_eq!((courses_sent(&world), world.rows().await.len()), (0, 3), "it sends no course");
    assert!(world.hubspot.records().is_empty(), "it creates no record");
    let touched = world.received(Operation::PropertyCreate).len();
    assert_eq!(touched, 0, "it changes nothing without --fix");
}

/// Courses in all the creates that HubSpot received.
fn courses_sent(world: &World) -> usize {
    world.received(Operation::BatchCreate).iter().map(|create| create.inputs.len()).sum()
}

fn literal_answer(status: u16, body: &str) -> Answer {
    Answer::Literal { status, headers: BTreeMap::new(), body: body.to_owned() }
}

/// What HubSpot answers to a token without scopes.
const MISSING_SCOPES: &str = r#"{"status":"error","message":"This app hasn't been granted all required scopes to make this call.",
    "errors":[{"message":"One or more of the following scopes are required.",
    "context":{"requiredGranularScopes":["crm.objects.courses.write","crm.objects.courses.read"]}}],"category":"MISSING_SCOPES"}"#;

#[tokio::test]
async fn a_token_without_scopes_fails_and_the_missing_scopes_are_named() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(literal_answer(403, MISSING_SCOPES)));
    let missing = "add crm.objects.courses.write, crm.objects.courses.read";
    assert_results(
        &world,
        &[
            ("scopes", "failed", missing),
            ("object_type", "failed", missing),
            ("record_limit", "skipped", "403"),
            ("unique_property", "failed", "add the scope crm.objects.courses.read"),
        ],
    )
    .await;
    let (code, out, _) = run_check(&world.settings, &[]).await;
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("✗ scopes ") && out.contains("✗ object_type "), "{out}");

    // A firewall that answers in HubSpot's place is wrong as well, whatever the token lists.
    world.hubspot.clear_faults();
    world
        .hubspot
        .add_fault(Fault::new(literal_answer(403, "<html>forbidden</html>")).on(Operation::BatchCreate));
    assert_results(&world, &[("scopes", "failed", "a request that `run` needs: HubSpot answered 403")]).await;
    // And by the simulator's own rules.
    world.hubspot.clear_faults();
    world.hubspot.set_scopes(["crm.schemas.courses.read".to_owned()].into());
    let read = ("unique_property", "ok", "its values are unique");
    let limits = ("record_limit", "skipped", "could not be read");
    assert_results(&world, &[("scopes", "failed", missing), limits, read]).await;
}

#[tokio::test]
async fn a_refused_property_list_alone_fails_no_check() {
    const UNAUTHORIZED: &str = r#"{"status":"error","message":"Authentication credentials not found.","category":"INVALID_AUTHENTICATION"}"#;
    let world = World::new().await;
    for (status, body) in [(401, UNAUTHORIZED), (403, MISSING_SCOPES), (500, "")] {
        world.hubspot.clear_faults();
        world.hubspot.add_fault(Fault::new(literal_answer(status, body)).on(Operation::PropertyList));
        let unread = format!("the property list could not be read: HubSpot answered {status}");
        assert_results(&world, &[("scopes", "ok", &unread), ("unique_property", "skipped", &unread)]).await;
    }
    // Unless the look-up is refused as well.
    world.hubspot.create_property("plain", PropertyType::String, false);
    let mut world = world;
    world.set("HUBSPOT__UNIQUE_PROPERTY", "plain");
    assert_results(&world, &[("unique_property", "failed", "HubSpot rejects look-ups by")]).await;
}

#[tokio::test]
async fn a_missing_token_endpoint_is_not_a_failure() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(literal_answer(404, "")).on(Operation::TokenInfo));
    assert_results(&world, &[]).await;
    world.hubspot.set_scopes(["crm.objects.courses.read".to_owned()].into());
    assert_results(&world, &[("scopes", "failed", "lacks crm.objects.courses.write: HubSpot answered 403")])
        .await;

    // The list decides where the call shows nothing of the scopes.
    world.hubspot.clear_faults();
    let refused = r#"{"status":"error","message":"Batch input provided should have at least one object."}"#;
    world.hubspot.add_fault(Fault::new(literal_answer(400, refused)).on(Operation::BatchCreate));
    assert_results(&world, &[("scopes", "failed", "the token lacks crm.objects.courses.write")]).await;
}

#[tokio::test]
async fn a_wrong_region_and_a_redirect_suggest_the_correct_url() {
    let world = World::new().await;
    let rest = |code| (code, "skipped", "hubspot.base_url is wrong");
    let others = ["token", "scopes", "quota", "record_limit", "unique_property"].map(rest);
    let region = r#"{"status":"error","message":"Hub 12345 is unknown to this Hublet, but it appears to exist in Hublet eu1","correctHublet":"eu1"}"#;
    world.hubspot.add_fault(Fault::new(literal_answer(488, region)));
    let wrong = ("object_type", "failed", "region eu1: set hubspot.base_url to https://api-eu1.hubapi.com");
    assert_results(&world, &[&others[..], &[wrong]].concat()).await;

    world.hubspot.clear_faults();
    let headers = [("location".to_owned(), "https://login.example.com/?token=sekret".to_owned())];
    let redirect = Answer::Literal { status: 302, headers: headers.into(), body: String::new() };
    world.hubspot.add_fault(Fault::new(redirect));
    let wrong = ("object_type", "failed", "302: a redirect to https://login.example.com/, which");
    assert_results(&world, &[&others[..], &[wrong]].concat()).await;
}

#[tokio::test]
async fn the_record_limit_is_shown_and_a_full_account_fails() {
    let world = World::new().await;
    let limit = |limit: Option<(u64, u64)>| {
        let limit = limit.map(|(limit, others)| RecordLimit { limit, others });
        world.hubspot.change_behaviour(|behaviour| behaviour.account.record_limit = limit);
    };
    for (of, status, words) in [
        (Some((500_000, 12_345)), "ok", "12345 of 500000 records used (2 %)"),
        (Some((500_000, 450_000)), "warning", "450000 of 500000 records used (90 %): 50000 left"),
        (Some((500_000, 500_000)), "failed", "500000 of 500000 records used (100 %)"),
        (None, "skipped", "does not list"),
    ] {
        limit(of);
        assert_results(&world, &[("record_limit", status, words)]).await;
    }
    limit(Some((10, 9)));
    let (code, out, _) = run_check(&world.settings, &[]).await;
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("! record_limit    9 of 10 records used"), "{out}");
    world.hubspot.add_fault(Fault::new(literal_answer(404, "")).on(Operation::RecordLimits));
    assert_results(&world, &[("record_limit", "skipped", "404")]).await;
}

#[tokio::test]
async fn a_read_only_unique_property_fails() {
    for flags in [json!({ "modificationMetadata": { "readOnlyValue": true } }), json!({ "calculated": true })]
    {
        let world = World::new().await;
        let mut property = json!({ "name": UNIQUE_PROPERTY, "type": "string", "hasUniqueValue": true });
        property.as_object_mut().unwrap().extend(flags.as_object().unwrap().clone());
        let list = json!({ "results": [{ "name": "hs_course_name", "type": "string" }, property] });
        world
            .hubspot
            .add_fault(Fault::new(literal_answer(200, &list.to_string())).on(Operation::PropertyList));
        assert_results(
            &world,
            &[("unique_property", "failed", "is unique, but read-only"), ("quota", "ok", "")],
        )
        .await;
    }
}

#[tokio::test]
async fn the_scopes_of_an_oauth_token_are_read_from_the_version_that_exists() {
    for (version, v1_gone, dated_gone, operation) in [
        ("v3", false, false, Operation::AccessTokenInfo),
        ("v3", true, false, Operation::TokenIntrospect),
        ("2026-03", false, false, Operation::TokenIntrospect),
        ("2026-03", false, true, Operation::AccessTokenInfo),
    ] {
        let mut world = World::new().await;
        world.hubspot.change_behaviour(|behaviour| {
            behaviour.account.oauth_v1_gone = v1_gone;
            behaviour.account.oauth_dated_gone = dated_gone;
        });
        world.settings.remove("HUBSPOT_ACCESS_TOKEN");
        world.set("HUBSPOT__API_VERSION", version);
        world.set("HUBSPOT__OAUTH__CLIENT_ID", "simulator-client");
        world.set("HUBSPOT__OAUTH__CLIENT_SECRET", "simulator-secret");
        world.set("HUBSPOT__OAUTH__REFRESH_TOKEN", "simulator-refresh");
        assert_results(&world, &[("token", "ok", "for account 48210377")]).await;
        let asked = world.received(operation);
        assert!(asked.iter().any(|entry| entry.status == Some(200)), "{version}: {asked:?}");
        if version == "2026-03" && !dated_gone {
            world.set("HUBSPOT__OAUTH__CLIENT_SECRET", "sekret-of-yesterday");
            let (code, out, err) = run_check(&world.settings, &[]).await;
            assert_eq!(code, Some(1), "{out}");
            assert!(
                out.contains("400 invalid_client BAD_CLIENT_SECRET missing or invalid client secret"),
                "{out}"
            );
            assert!(!out.contains("sekret") && !err.contains("sekret"), "{out}{err}");
        }
    }
}

#[tokio::test]
async fn an_invalid_configuration_exits_with_2() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_SIZE", "0");
    world.set("BATCH__LINGR", "1s");
    let (code, out, err) = run_check(&world.settings, &[]).await;
    assert_eq!(code, Some(2));
    assert!(out.starts_with("✗ configuration   problems: 2"), "{out}");
    assert_eq!(out.lines().filter(|line| line.starts_with('–')).count(), 11, "{out}");
    assert!(err.contains("BATCH__MAX_SIZE") && err.contains("BATCH__LINGER"), "{err}");
    let (code, checks) = check_as_json(&world, &[]).await;
    assert_eq!(code, Some(2));
    assert!(checks["configuration"]["message"].as_str().unwrap().contains("batch.max_size"), "{checks:#?}");
}

#[tokio::test]
async fn database_problems_are_reported() {
    let mut world = World::new().await;
    let url = world.settings["DATABASE_URL"].clone();
    let rest = |why| ["schema", "grants", "wakeup"].map(|code| (code, "skipped", why));
    world.settings.insert("DATABASE_URL".into(), "postgres://sync:geheim@127.0.0.1:1/catalogue".into());
    let [schema, grants, wakeup] = rest("cannot be reached");
    assert_results(&world, &[("database", "failed", "127.0.0.1:1/catalogue"), schema, grants, wakeup]).await;
    let (_, out, err) = run_check(&world.settings, &[]).await;
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
    assert_results(&world, &[("grants", "failed", "grant insert on course_sync_batch")]).await;
    let drop_role = format!("drop owned by {role}; drop role {role}");
    sqlx::raw_sql(AssertSqlSafe(drop_role)).execute(world.pool()).await.unwrap();

    world.settings.insert("DATABASE_URL".into(), url);
    sqlx::raw_sql("drop schema public cascade; create schema public").execute(world.pool()).await.unwrap();
    let [_, grants, wakeup] = rest("the schema is not usable");
    assert_results(&world, &[("schema", "failed", "course-sync migrate"), grants, wakeup]).await;
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_is_reported() {
    let Some((mut world, _pooler)) = World::behind_pooler().await else { return };
    let (_, checks) = check_as_json(&world, &[]).await;
    assert_eq!(checks["wakeup"]["status"], "warning", "{checks:#?}");
    assert!(checks["wakeup"]["message"].as_str().unwrap().contains("pooler"), "{checks:#?}");
    assert!(checks["wakeup"]["fix"].as_str().unwrap().contains("outbox.listen = false"), "{checks:#?}");
    world.set("OUTBOX__LISTEN", "false");
    assert_results(&world, &[("wakeup", "ok", "within 1s")]).await;
}

#[tokio::test]
async fn account_problems_are_reported() {
    let later = |why| {
        ["scopes", "object_type", "quota", "record_limit", "unique_property"]
            .map(|code| (code, "skipped", why))
    };
    let mut world = World::new().await;
    world.hubspot.set_token("pat-na1-another");
    let token = ("token", "failed", "HUBSPOT_ACCESS_TOKEN");
    assert_results(&world, &[&[token], &later("no valid token")[..]].concat()).await;
    let url = std::mem::replace(
        world.settings.get_mut("COURSE_SYNC__HUBSPOT__BASE_URL").unwrap(),
        "http://127.0.0.1:1".into(),
    );
    let token = ("token", "failed", "hubspot.base_url");
    assert_results(&world, &[&[token], &later("could not be reached")[..]].concat()).await;
    world.settings.insert("COURSE_SYNC__HUBSPOT__BASE_URL".into(), url);
    world.hubspot.set_token(&world.settings["HUBSPOT_ACCESS_TOKEN"]);

    let scopes = |scopes: &[&str]| scopes.iter().map(|scope| (*scope).to_owned()).collect();
    world.hubspot.set_scopes(scopes(&["crm.objects.courses.read"]));
    assert_results(&world, &[("scopes", "failed", "lacks crm.objects.courses.write")]).await;
    world.hubspot.set_scopes(scopes(&["crm.objects.courses.read", "crm.objects.courses.write"]));
    assert_results(&world, &[]).await;

    world.hubspot.change_behaviour(|behaviour| behaviour.courses = CoursesState::Forbidden);
    let unread = ("unique_property", "failed", "add the scope");
    assert_results(&world, &[("object_type", "failed", "switch Courses on"), unread]).await;
    world.hubspot.change_behaviour(|behaviour| behaviour.courses = CoursesState::Unknown);
    let unread = ("unique_property", "skipped", "could not be looked up");
    assert_results(&world, &[("object_type", "failed", "switch Courses on"), unread]).await;
    world.hubspot.change_behaviour(|behaviour| behaviour.courses = CoursesState::Active);

    let spent = Answer::RateLimited { dialect: Dialect::Daily, retry_after: None };
    world.hubspot.add_fault(Fault::new(spent));
    let skipped = |code| (code, "skipped", "quota is used up");
    let quota = ("quota", "failed", "midnight");
    assert_results(
        &world,
        &[
            skipped("token"),
            skipped("scopes"),
            skipped("object_type"),
            quota,
            skipped("record_limit"),
            skipped("unique_property"),
        ],
    )
    .await;
    world.hubspot.clear_faults();

    world.hubspot.change_behaviour(|behaviour| {
        behaviour.limits = Limits { requests: 100, ..Limits::default() };
    });
    assert_results(&world, &[("quota", "failed", "set rate_limit.requests = 100")]).await;
    world.set("RATE_LIMIT__REQUESTS", "100");
    assert_results(&world, &[]).await;
}

#[tokio::test]
async fn the_unique_property_is_created_and_verified() {
    let mut world = World::with(false, Behaviour::default()).await;
    assert_results(&world, &[("unique_property", "skipped", "hubspot.unique_property is not set")]).await;
    let (code, _, err) = run_check(&world.settings, &["--probe-uniqueness", "--confirm-sandbox"]).await;
    assert_eq!(code, Some(2));
    assert!(err.contains("hubspot.unique_property"), "{err}");

    world.set("HUBSPOT__UNIQUE_PROPERTY", UNIQUE_PROPERTY);
    assert_results(&world, &[("unique_property", "failed", "course-sync check --fix")]).await;
    let (_, checks) = check_as_json(&world, &["--fix", "--dry-run"]).await;
    assert!(
        checks["unique_property"]["message"].as_str().unwrap().starts_with("would create"),
        "{checks:#?}"
    );
    assert!(world.received(Operation::PropertyCreate).is_empty());
    for words in ["was created, and its values are unique", "exists, and its values are unique"] {
        let (code, checks) = check_as_json(&world, &["--fix"]).await;
        assert_eq!(code, Some(0), "{checks:#?}");
        assert!(checks["unique_property"]["message"].as_str().unwrap().contains(words), "{checks:#?}");
    }
    assert_eq!(world.received(Operation::PropertyCreate).len(), 1);
    assert_results(&world, &[]).await;
    world.enqueue_many("A", 3).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

/// Courses that HubSpot would refuse: two new properties, a new option, and two misspellings.
async fn with_unknown_properties() -> World {
    let world = World::new().await;
    let level = json!({
        "name": "level", "label": "Level", "type": "enumeration", "fieldType": "select", "groupName": "course_information",
        "options": [{ "label": "First steps", "value": "beginner", "displayOrder": 5, "hidden": true }],
    });
    let url = format!("{}/crm/v3/properties/0-410", world.hubspot.url());
    let token = &world.settings["HUBSPOT_ACCESS_TOKEN"];
    let created = http_client()
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(level.to_string());
    assert_eq!(created.send().await.unwrap().status(), 201);
    let course = |name: &str, more: Value| {
        let mut course = json!({ "hs_course_name": name });
        course.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        course
    };
    world
        .enqueue("A", &course("A", json!({ "price": 19.5, "level": "expert", "starts_on": "2027-02-01" })))
        .await;
    world
        .enqueue("B", &course("B", json!({ "price": "20", "level": "beginner", "starts_on": "2027-03-01" })))
        .await;
    world
}

#[tokio::test]
async fn missing_properties_and_options_are_created_on_request() {
    let world = with_unknown_properties().await;
    let (code, checks) = check_as_json(&world, &[]).await;
    let message = checks["properties"]["message"].as_str().unwrap();
    assert_eq!((code, &checks["properties"]["status"]), (Some(0), &json!("warning")), "{checks:#?}");
    for words in [
        "no property \"price\" (2 courses)",
        "no property \"starts_on\"",
        "\"level\" has no option \"expert\"",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    let (_, checks) = check_as_json(&world, &["--fix", "--dry-run"]).await;
    let message = checks["properties"]["message"].as_str().unwrap();
    assert!(message.contains("would create the property \"price\" (number, label \"Price\")"), "{message}");
    let changes = |world: &World| {
        world.received(Operation::PropertyCreate).len() + world.received(Operation::PropertyUpdate).len()
    };
    assert_eq!(changes(&world), 1, "the test itself created a property, and nothing else did");

    let (code, checks) = check_as_json(&world, &["--fix"]).await;
    assert_eq!((code, &checks["properties"]["status"]), (Some(0), &json!("ok")), "{checks:#?}");
    assert_eq!(changes(&world), 4);
    let url = format!("{}/crm/v3/properties/0-410/level", world.hubspot.url());
    let level = http_client().get(url).bearer_auth(&world.settings["HUBSPOT_ACCESS_TOKEN"]);
    let level: Value = serde_json::from_slice(&level.send().await.unwrap().bytes().await.unwrap()).unwrap();
    let options: Vec<_> = level["options"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (&it["label"], &it["value"], &it["hidden"]))
        .collect();
    assert_eq!(
        options,
        [
            (&json!("First steps"), &json!("beginner"), &json!(true)),
            (&json!("expert"), &json!("expert"), &json!(false)),
        ]
    );
    let (_, checks) = check_as_json(&world, &["--fix"]).await;
    assert_eq!((changes(&world), &checks["properties"]["status"]), (4, &json!("ok")), "once is enough");
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn what_is_probably_misspelt_is_not_created() {
    let world = World::new().await;
    let properties = [
        json!({ "hs_course_nmae": "A" }),
        json!({ "Price EUR": "2" }),
        json!({ "hs_enrolment_capacity": 3 }),
    ];
    for (n, properties) in properties.iter().enumerate() {
        world.enqueue(&format!("A-{n}"), properties).await;
    }
    let (code, checks) = check_as_json(&world, &["--fix"]).await;
    assert_eq!((code, &checks["properties"]["status"]), (Some(1), &json!("failed")), "{checks:#?}");
    let message = checks["properties"]["message"].as_str().unwrap();
    for words in ["\"hs_course_nmae\": HubSpot keeps names", "\"Price EUR\": HubSpot takes names of a-z"] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(world.received(Operation::PropertyCreate).is_empty());
}

#[tokio::test]
async fn a_property_without_unique_values_is_not_changed() {
    let mut world = World::with(false, Behaviour::default()).await;
    world.hubspot.create_property("plain", PropertyType::String, false);
    world.set("HUBSPOT__UNIQUE_PROPERTY", "plain");
    for arguments in [&[] as &[&str], &["--fix"]] {
        let (code, checks) = check_as_json(&world, arguments).await;
        assert_eq!(code, Some(1), "{checks:#?}");
        assert!(checks["unique_property"]["fix"].as_str().unwrap().contains("a new name"), "{checks:#?}");
    }
    assert_eq!(world.received(Operation::PropertyCreate).len(), 0);

    // HubSpot brings an archived one back as it was.
    let client = http_client();
    let url = format!("{}/crm/v3/properties/0-410/plain", world.hubspot.url());
    client.delete(url).bearer_auth(&world.settings["HUBSPOT_ACCESS_TOKEN"]).send().await.unwrap();
    let (code, checks) = check_as_json(&world, &["--fix"]).await;
    assert_eq!(code, Some(1));
    assert!(
        checks["unique_property"]["message"].as_str().unwrap().contains("restored an archived"),
        "{checks:#?}"
    );
    // And a scope of its own is needed to make one.
    world.set("HUBSPOT__UNIQUE_PROPERTY", "another");
    world
        .hubspot
        .set_scopes(["crm.objects.courses.read", "crm.objects.courses.write"].map(str::to_owned).into());
    let (_, checks) = check_as_json(&world, &["--fix"]).await;
    assert!(
        checks["unique_property"]["fix"].as_str().unwrap().contains("crm.schemas.courses.write"),
        "{checks:#?}"
    );
}

#[tokio::test]
async fn uniqueness_is_probed_only_in_a_sandbox() {
    let world = World::new().await;
    let (code, _, err) = run_check(&world.settings, &["--probe-uniqueness"]).await;
    assert_eq!(code, Some(2), "{err}");
    let probe = ["--probe-uniqueness", "--confirm-sandbox"];
    let (code, checks) = check_as_json(&world, &probe).await;
    assert_eq!((code, &checks["uniqueness"]["status"]), (Some(1), &json!("failed")));
    assert!(checks["uniqueness"]["message"].as_str().unwrap().contains("not a sandbox"), "{checks:#?}");
    assert_eq!(world.hubspot.records().len(), 0, "nothing was tried");

    world.hubspot.change_behaviour(|behaviour| behaviour.account_type = "SANDBOX".to_owned());
    let (code, checks) = check_as_json(&world, &probe).await;
    assert_eq!(code, Some(0), "{checks:#?}");
    assert!(checks["uniqueness"]["message"].as_str().unwrap().contains("created 1 record,"), "{checks:#?}");
    assert_eq!(courses_sent(&world), 20);

    world.hubspot.change_behaviour(|behaviour| {
        behaviour.uniqueness = Uniqueness::CheckedFirst { gap_ms: 500 };
    });
    let (code, checks) = check_as_json(&world, &probe).await;
    assert_eq!(code, Some(1), "{checks:#?}");
    assert!(
        checks["uniqueness"]["fix"].as_str().unwrap().contains("exactly-once does not hold"),
        "{checks:#?}"
    );
    let records = world.hubspot.records();
    assert!(records.len() > 2 && records.iter().all(|record| record.archived), "what was made is archived");
}

/// An HTTP proxy that gives this answer to everything. Returns its address; its task ends with the test's runtime.
async fn proxy_that_answers(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            if stream.read(&mut request).await.is_ok() {
                // The client may be gone.
                stream.write_all(answer.as_bytes()).await.ok();
            }
        }
    });
    format!("http://{address}")
}

#[tokio::test]
async fn a_proxy_error_has_advice_in_check_log_and_readyz() {
    let mut world = World::new().await;
    world.settings.insert("COURSE_SYNC__HUBSPOT__BASE_URL".into(), "https://hubspot.invalid".into());
    let rest = |code| (code, "skipped", "could not be reached");
    let others = ["scopes", "object_type", "quota", "record_limit", "unique_property"].map(rest);
    let wants_a_password =
        proxy_that_answers("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n").await;
    let refuses = proxy_that_answers("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    for (proxy, advice) in [
        ("http://127.0.0.1:1".to_owned(), "check host and port in HTTPS_PROXY"),
        (refuses, "did not open a tunnel"),
        (wants_a_password, "put both into HTTPS_PROXY, as USER:PASSWORD"),
    ] {
        world.settings.insert("HTTPS_PROXY".into(), proxy);
        assert_results(&world, &[&others[..], &[("token", "failed", advice)]].concat()).await;
    }

    world.enqueue_many("A", 1).await;
    let daemon = world.start_daemon();
    daemon.wait_for_log("put both into HTTPS_PROXY, as USER:PASSWORD").await;
    let url = format!("{}/readyz", daemon.admin_url().await);
    eventually("/readyz has the advice", async || {
        let text = http_get(&url).await.unwrap().text().await.unwrap();
        if text.contains("put both into HTTPS_PROXY, as USER:PASSWORD") { Ok(()) } else { Err(text) }
    })
    .await;
}
