//! Which changes of the leader's row, of its table and of the database count as lost commits when the lease is taken, and
//! which do not.

use std::time::Duration;

use course_sync::course::InstanceId;
use course_sync::outbox::claim::{ClaimResult, claim};
use course_sync::outbox::lease::{
    Lease, LeaseAnswer, LeaseGrant, LeaseRequest, release, request_lease, restore_leader_row,
};
use course_sync::outbox::verify::finish_verification;
use course_sync::policy::backlog::Cursor;
use course_sync::policy::leader_report::LeaderReport;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, PgPool};
use uuid::Uuid;

use super::{LEASE, enqueue, generous};
use crate::support::postgres::{TestDatabase, cluster, database};

/// An instance that leads, and what it remembers.
struct Instance {
    holder: InstanceId,
    renewals: Option<i64>,
    was_idle: bool,
}

impl Instance {
    fn new() -> Self {
        Self { holder: InstanceId(Uuid::new_v4()), renewals: None, was_idle: false }
    }

    async fn request(&mut self, pool: &PgPool) -> LeaseAnswer {
        let answer = request_lease(
            pool,
            &LeaseRequest {
                holder: self.holder,
                host: "test",
                lease: LEASE,
                report: &LeaderReport::default(),
                verify: false,
                renewals: self.renewals,
                was_idle: self.was_idle,
                stale: None,
                review: Some("Compare."),
            },
        )
        .await
        .unwrap();
        if let LeaseAnswer::Granted(granted) = &answer {
            self.renewals = Some(granted.renewals);
        }
        answer
    }

    async fn lead(&mut self, pool: &PgPool) -> LeaseGrant {
        match self.request(pool).await {
            LeaseAnswer::Granted(granted) => granted,
            other => panic!("the lease is free: {other:?}"),
        }
    }
}

async fn run(pool: &PgPool, statement: &str) {
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool).await.unwrap();
}

async fn can_claim(pool: &PgPool, lease: Lease) -> bool {
    let batch = course_sync::course::BatchId(Uuid::now_v7());
    let taken =
        claim(pool, lease, Duration::ZERO, &[batch], generous(), Cursor::default(), LEASE).await.unwrap();
    matches!(taken, ClaimResult::Taken(taken) if !taken.batches.is_empty())
}

/// A database with a leader, and one pending course or none.
async fn database_with_leader(has_course: bool) -> (TestDatabase, Instance, Lease) {
    let database = database().await;
    let mut leader = Instance::new();
    let granted = leader.lead(database.pool()).await;
    assert!(!granted.verifying && !granted.is_adopted, "{granted:?}");
    if has_course {
        enqueue(database.pool(), "a", json!({})).await;
    }
    (database, leader, granted.lease)
}

/// The alarm of the next leader, which remembers nothing, after the database was changed like this.
async fn alarm_after(change: &str, has_course: bool) -> Option<String> {
    let (database, _, lease) = database_with_leader(has_course).await;
    let pool = database.pool();
    release(pool, lease).await.unwrap();
    for statement in change.split(";;") {
        run(pool, statement).await;
    }
    let mut next = Instance::new();
    let granted = next.lead(pool).await;
    assert_eq!(granted.verifying, granted.alarm.is_some(), "{granted:?}");
    let pause: Option<String> =
        sqlx::query_scalar("select message from course_sync_pause where reason = 'operator'")
            .fetch_optional(pool)
            .await
            .unwrap();
    let expected =
        granted.alarm.as_ref().map(|alarm| format!("the database may have lost commits ({alarm}). Compare."));
    assert_eq!((&pause, &granted.pause), (&expected, &expected));
    // Once is enough: the row is again the one that a leader wrote.
    if granted.verifying {
        assert!(finish_verification(pool, granted.lease).await.unwrap());
    }
    let again = next.lead(pool).await;
    assert!(!again.verifying && !again.is_adopted, "{again:?}");
    assert_eq!(can_claim(pool, granted.lease).await, has_course);
    granted.alarm
}

const RESTORE_DATA: &str = "create temp table backup as table course_sync_leader; truncate course_sync_leader; \
                            insert into course_sync_leader table backup";
const RESTORE_TABLE: &str = "create table backup (like course_sync_leader including all); \
                             insert into backup table course_sync_leader; drop table course_sync_leader; \
                             alter table backup rename to course_sync_leader";
const OTHER_TIMELINE: &str =
    "update course_sync_leader set incarnation = regexp_replace(incarnation, '/[^/]+', '/00000007')";
const OTHER_CLUSTER: &str =
    "update course_sync_leader set incarnation = regexp_replace(incarnation, '^[^/]+', '77')";

#[tokio::test]
async fn maintenance_of_the_tables_is_no_alarm() {
    for change in [
        "vacuum full course_sync_leader;;vacuum full course_outbox",
        "cluster course_sync_leader using course_sync_leader_pkey",
        "vacuum freeze course_sync_leader",
        "truncate course_sync_history",
        "reindex table course_sync_leader",
        "alter table course_sync_leader add column extra integer default 7",
        "update course_sync_leader set expires_at = '-infinity'",
    ] {
        for has_course in [false, true] {
            assert_eq!(alarm_after(change, has_course).await, None, "{change}");
        }
    }
}

#[tokio::test]
async fn a_restored_row_or_table_is_an_alarm_also_without_courses() {
    for (change, reason) in [
        (RESTORE_DATA, "another program wrote the row"),
        (RESTORE_TABLE, "another program wrote the row"),
        (
            "delete from course_sync_leader;;insert into course_sync_leader default values",
            "another program wrote",
        ),
        // An update by hand after the restore hides nothing.
        (
            &format!("{RESTORE_DATA};;update course_sync_leader set expires_at = '-infinity'"),
            "another program wrote the row",
        ),
        (
            "create table other (like course_outbox including all);;drop table course_outbox;;
             alter table other rename to course_outbox",
            "created again",
        ),
        (
            "update course_sync_leader set incarnation = regexp_replace(incarnation, '^([^/]+/[^/]+)/[^/]+', '\\1/77')",
            "created again",
        ),
    ] {
        let alarm = alarm_after(change, false).await;
        assert!(alarm.as_ref().is_some_and(|alarm| alarm.contains(reason)), "{change}: {alarm:?}");
    }
}

#[tokio::test]
async fn another_timeline_or_system_identifier_is_an_alarm_only_while_courses_are_open() {
    for change in [OTHER_TIMELINE, OTHER_CLUSTER] {
        assert_eq!(alarm_after(change, false).await, None, "{change}");
        let alarm = alarm_after(change, true).await;
        assert!(
            alarm.as_ref().is_some_and(|alarm| alarm.contains("timeline or system identifier")),
            "{alarm:?}"
        );
    }
    let (database, _, lease) = database_with_leader(false).await;
    release(database.pool(), lease).await.unwrap();
    run(database.pool(), OTHER_TIMELINE).await;
    assert!(Instance::new().lead(database.pool()).await.is_adopted);
}

#[tokio::test]
async fn a_part_that_the_role_may_not_read_is_no_alarm() {
    for unreadable in ["'^[^/]+', '?'", "'/[^/]+', '/?'"] {
        let change =
            format!("update course_sync_leader set incarnation = regexp_replace(incarnation, {unreadable})");
        assert_eq!(alarm_after(&change, true).await, None, "{unreadable}");
    }
    // As an earlier version stored it.
    let change =
        "update course_sync_leader set incarnation = regexp_replace(incarnation, '(/[^/]+){2}$', '')";
    assert_eq!(alarm_after(change, true).await, None);
}

#[tokio::test]
async fn a_counter_that_went_back_is_an_alarm_also_without_courses() {
    let (database, mut leader, _) = database_with_leader(false).await;
    let pool = database.pool();
    leader.lead(pool).await;
    run(
        pool,
        "alter table course_sync_leader disable trigger all; update course_sync_leader set renewals = 1",
    )
    .await;
    run(pool, "alter table course_sync_leader enable trigger all").await;
    leader.was_idle = true;
    let granted = leader.lead(pool).await;
    assert!(granted.alarm.as_ref().is_some_and(|alarm| alarm.contains("older than before")), "{granted:?}");
    assert!(granted.renewals > 1_000, "another instance may remember a higher number");
}

#[tokio::test]
async fn an_idle_leader_whose_counter_continues_knows_that_nothing_is_lost() {
    for change in [OTHER_TIMELINE, OTHER_CLUSTER, RESTORE_DATA, RESTORE_TABLE] {
        for was_idle in [false, true] {
            let (database, mut leader, _) = database_with_leader(true).await;
            run(database.pool(), change).await;
            leader.was_idle = was_idle;
            let granted = leader.lead(database.pool()).await;
            assert_eq!((granted.verifying, granted.is_adopted), (!was_idle, was_idle), "{change}");
        }
    }
}

#[tokio::test]
async fn nothing_is_claimed_between_a_restore_and_the_next_renewal() {
    for change in [RESTORE_DATA, RESTORE_TABLE] {
        let (database, _, lease) = database_with_leader(true).await;
        run(database.pool(), change).await;
        assert!(!can_claim(database.pool(), lease).await, "{change}");
    }
}

#[tokio::test]
async fn no_lease_is_granted_while_keys_or_the_row_are_missing() {
    let (database, mut leader, _) = database_with_leader(true).await;
    let pool = database.pool();
    for table in ["course_outbox", "course_sync_batch", "course_sync_leader", "course_sync_pause"] {
        let key = if table == "course_sync_leader" { "one" } else { "" };
        let drop = format!("alter table {table} drop constraint {table}_pkey");
        let columns: String = sqlx::query_scalar(
            "select pg_get_constraintdef(oid) from pg_constraint where conname = $1 || '_pkey'",
        )
        .bind(table)
        .fetch_one(pool)
        .await
        .unwrap();
        assert!(columns.contains(key));
        run(pool, &drop).await;
        assert_eq!(leader.request(pool).await, LeaseAnswer::Unavailable, "{table}");
        run(pool, &format!("alter table {table} add constraint {table}_pkey {columns}")).await;
        assert!(!leader.lead(pool).await.verifying, "{table}");
    }
    run(pool, "delete from course_sync_leader").await;
    assert_eq!(leader.request(pool).await, LeaseAnswer::Unavailable);
    assert!(restore_leader_row(pool).await.unwrap());
    assert!(!restore_leader_row(pool).await.unwrap(), "it is there already");
    let granted = leader.lead(pool).await;
    assert!(granted.alarm.as_ref().is_some_and(|alarm| alarm.contains("was missing")), "{granted:?}");
}

#[tokio::test]
async fn a_lease_that_is_not_renewed_for_as_long_as_it_lasts_is_free_whatever_the_clock_shows() {
    let (database, leader, lease) = database_with_leader(false).await;
    let pool = database.pool();
    run(pool, "update course_sync_leader set expires_at = now() + interval '1 day'").await;
    let next = InstanceId(Uuid::new_v4());
    let report = LeaderReport::default();
    let mut request = LeaseRequest {
        holder: next,
        host: "test",
        lease: LEASE,
        report: &report,
        verify: false,
        renewals: None,
        was_idle: false,
        stale: None,
        review: None,
    };
    let LeaseAnswer::Held { renewals, lasts } = request_lease(pool, &request).await.unwrap() else {
        panic!("another instance leads");
    };
    // The holder's own setting counts, not the end that the row shows.
    assert_eq!(lasts, Some(LEASE));
    assert!(Some(renewals) > leader.renewals);
    request.stale = Some(renewals - 1);
    assert!(matches!(request_lease(pool, &request).await.unwrap(), LeaseAnswer::Held { .. }));
    request.stale = Some(renewals);
    let LeaseAnswer::Granted(granted) = request_lease(pool, &request).await.unwrap() else {
        panic!("the holder is gone");
    };
    assert_eq!(granted.lease.term.0, lease.term.0 + 1);
    assert!(!granted.verifying, "{granted:?}");
}

#[tokio::test]
async fn a_role_that_may_not_read_the_system_identifier_raises_no_alarm() {
    let (database, _, lease) = database_with_leader(true).await;
    let owner = database.pool();
    release(owner, lease).await.unwrap();
    let role = format!("runner_{}", database.name());
    run(
        owner,
        &format!(
            "create role {role}; grant select, insert, update, delete on all tables in schema public to {role};
             revoke execute on function pg_control_system(), pg_walfile_name(pg_lsn) from public"
        ),
    )
    .await;
    let set_role = format!("set role {role}");
    let restricted = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .after_connect(move |session, _| {
            let set_role = set_role.clone();
            Box::pin(async move { sqlx::raw_sql(AssertSqlSafe(set_role)).execute(session).await.map(drop) })
        })
        .connect(&database.url().await)
        .await
        .unwrap();
    for pool in [&restricted, owner, &restricted] {
        let mut next = Instance::new();
        let granted = next.lead(pool).await;
        assert!(!granted.verifying && !granted.is_adopted, "{granted:?}");
        release(pool, granted.lease).await.unwrap();
    }
    let stored: String =
        sqlx::query_scalar("select incarnation from course_sync_leader").fetch_one(owner).await.unwrap();
    assert!(stored.starts_with("?/?/"), "{stored}");
    restricted.close().await;
    run(owner, &format!("drop owned by {role}; drop role {role}")).await;
}

#[tokio::test]
async fn the_migration_keeps_the_identity_of_the_database() {
    let database = empty_database().await;
    let pool = &database;
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/migrations");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    // The table of the migrations, which a migration comments on.
    run(
        pool,
        "create table course_sync_migrations (version bigint, description text, installed_on timestamptz, success bool,
                                              checksum bytea, execution_time bigint)",
    )
    .await;
    for file in files {
        if file.ends_with("0012_restores.sql") {
            run(
                pool,
                "update course_sync_leader set holder = gen_random_uuid(), incarnation = course_sync_incarnation();
                 insert into course_sync_batch (batch_id, term, holder, row_ids, send_by, incarnation)
                 values (gen_random_uuid(), 0, gen_random_uuid(), '{}', now(), course_sync_incarnation())",
            )
            .await;
        }
        run(pool, &std::fs::read_to_string(file).unwrap()).await;
    }
    let (leader, journal): (bool, bool) = sqlx::query_as(
        "select (select incarnation = course_sync_incarnation() from course_sync_leader),
                (select incarnation = course_sync_incarnation() from course_sync_batch)",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert!(leader && journal);
    let granted = Instance::new().lead(pool).await;
    assert!(!granted.verifying && !granted.is_adopted, "{granted:?}");
    let name: String = sqlx::query_scalar("select current_database()").fetch_one(pool).await.unwrap();
    pool.close().await;
    let mut admin = PgConnection::connect(&cluster().await.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {name} with (force)")))
        .execute(&mut admin)
        .await
        .unwrap();
}

/// A database without any table.
async fn empty_database() -> PgPool {
    let name = format!("empty_{}", Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&cluster().await.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
    PgPool::connect(&cluster().await.url(&name)).await.unwrap()
}
