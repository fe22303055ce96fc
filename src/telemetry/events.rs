//! Every event that the log can contain: one closed table.
//!
//! Each call of a `tracing` macro in this crate names its event, `event = events::LEASE_ACQUIRED`, and has the event's
//! name in words as its message, "lease acquired". A test compares levels, fields and messages with this table and
//! generates docs/logging.md from it. An event's name never changes its meaning: alerts and searches depend on it.

use tracing::Level;

/// What is known about an event.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// The value of the field `event`: the name of its constant in lower case.
    pub name: &'static str,
    /// How severe it is.
    pub level: Level,
    /// Its fields, besides those that every line has.
    pub fields: &'static [&'static str],
    /// What happened.
    pub meaning: &'static str,
    /// What an operator does about it.
    pub action: &'static str,
}

/// Events about one subject.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The heading in docs/logging.md.
    pub title: &'static str,
    /// In the order of docs/logging.md.
    pub events: &'static [Event],
}

macro_rules! events {
    ($($title:literal {
        $($constant:ident = $name:literal, $level:ident, [$($field:ident),*], $meaning:literal, $action:literal;)+
    })+) => {
        $($(
            #[doc = $meaning]
            pub const $constant: &str = $name;
        )+)+

        /// Every event, by subject.
        pub const GROUPS: &[Group] = &[$(Group {
            title: $title,
            events: &[$(Event {
                name: $constant,
                level: Level::$level,
                fields: &[$(stringify!($field)),*],
                meaning: $meaning,
                action: $action,
            }),+],
        }),+];
    };
}

events! {
    "Courses and requests" {
        PROGRESS_REPORTED = "progress_reported", INFO,
            [seconds, synced, adopted, updated, archived, failed, deferred, unconfirmed, requests, outcomes, delay_p50_seconds,
             delay_p95_seconds, pending, quota_interval, quota_daily, paused],
            "The work since the last such line, at most a minute ago. Courses by outcome; requests by operation and \
             outcome; how long half and 95 % of the courses took from their last change to sync; courses still pending; calls \
             left according to HubSpot; reasons of active pauses.",
            "Nothing.";
        COURSE_FAILED = "course_failed", WARN,
            [batch, course_key, row, category, code, property, correlation_id],
            "HubSpot refused the course permanently, or the course cannot be sent.",
            "Run `course-sync explain KEY`. Correct the row: it is sent automatically. If you fixed the cause in HubSpot, run `course-sync retry`. If the record was deleted or merged, run `course-sync resolve`.";
        FURTHER_COURSES_FAILED = "further_courses_failed", WARN, [courses, hint],
            "More courses failed in this minute than are logged one by one.",
            "Run `course-sync failures` to see them grouped.";
        BATCH_REQUEST_FAILED = "batch_request_failed", INFO,
            [batch, courses, status, outcome, took, correlation_id],
            "A create, update or archive request failed as a whole. `outcome` has the values of `course_sync_requests_total`. Its courses \
             are retried, bisected or looked up.",
            "Nothing, unless it keeps happening.";
        BATCH_SENT = "batch_sent", DEBUG, [batch, courses, status, outcome, took, correlation_id],
            "A create, update or archive request completed. Some of its courses may have been refused (`outcome` = `partial`).",
            "Nothing.";
        BATCH_HELD = "batch_held", DEBUG, [batch, courses],
            "A pause began before the batch was sent. Its courses are pending again.",
            "Nothing.";
        SEND_DEADLINE_MISSED = "send_deadline_missed", WARN, [batch, courses],
            "The process was suspended between claim and request. Nothing was sent; the courses are pending again.",
            "If it happens often, give the process more CPU.";
        UNMATCHED_RESULTS_RECEIVED = "unmatched_results_received", ERROR, [batch, surplus, correlation_id],
            "HubSpot's response has records or errors that match no course of the request.",
            "Check these records in HubSpot. Report the correlation id to HubSpot's support.";
        STALE_RESULTS_DISCARDED = "stale_results_discarded", ERROR, [batch, courses],
            "Results were discarded because another writer had changed the rows: a later leader, or a change by hand.",
            "Nothing after a leader change. Otherwise find out what else writes to the outbox.";
        RESULT_RECORDING_DELAYED = "result_recording_delayed", DEBUG, [batch],
            "The database did not accept a result. It is kept and recorded later.",
            "Nothing.";
        ROWS_NOT_WRITABLE = "rows_not_writable", WARN, [batch, courses, keys, reason],
            "The outcomes of these courses cannot be written to their rows: another session holds them, or a trigger \
             refuses or ignores the write. They stay in flight, and it is tried again every few seconds.",
            "End the session that holds the rows, or repair the trigger. `explain` shows the reason too.";
        CREATED_COURSE_NOT_RECORDED = "created_course_not_recorded", ERROR, [batch, course_key, hubspot_id],
            "HubSpot created the course, but the process had to end before the database accepted the result.",
            "Keep the line. Without a unique property you need it for `course-sync resolve KEY --hubspot-id ID`.";
        REQUEST_END_NOT_RECORDED = "request_end_not_recorded", DEBUG, [error, request],
            "The end of a read request was not recorded. After a leader change it counts against the quota for longer.",
            "Nothing.";
        LOOKUP_FAILED = "lookup_failed", INFO, [batch, courses, place, outcome, took, correlation_id],
            "A request that looks up unconfirmed courses failed. It is retried.",
            "Nothing, unless it keeps happening.";
        LOOKUP_COMPLETED = "lookup_completed", DEBUG, [batch, courses, place, outcome, took, correlation_id],
            "A read completed: of courses whose outcome is unknown, or of records before and after an archive.",
            "Nothing.";
        STALE_LOOKUPS_DISCARDED = "stale_lookups_discarded", WARN, [courses],
            "Results of a look-up were discarded because another writer had changed the rows.",
            "Nothing after a leader change. Otherwise find out what else writes to the outbox.";
        ARCHIVES_HELD = "archives_held", ERROR, [detail],
            "More courses are withdrawn at once than `outbox.archive_limit` allows. Their records are not archived; creates and updates continue.",
            "Find out whether the catalogue withdrew them on purpose. Then run `course-sync resume --archives`, or correct the rows.";
        ARCHIVES_RELEASED = "archives_released", INFO, [],
            "Archives are no longer held: an operator released them, or the catalogue corrected its rows.",
            "Nothing.";
        RECORD_REPAIRED = "record_repaired", WARN, [course_key, hubspot_id],
            "A request whose outcome was unknown was executed late and changed the record. The course is sent again.",
            "Nothing.";
        CLAIM_REFUSED = "claim_refused", DEBUG, [],
            "A claim took no courses, because another one was committed at the same time. It is repeated.",
            "Nothing.";
        CLAIM_WITHDRAWN = "claim_withdrawn", INFO, [requests],
            "The database's response to a claim was lost. Nothing was sent; the courses are pending again.",
            "Nothing.";
        RETENTION_CLEANUP_FAILED = "retention_cleanup_failed", WARN, [error],
            "Rows older than `outbox.retention` or `outbox.history_retention` could not be deleted. It is retried.",
            "Fix what `error` names in the database.";
        COURSES_NOT_DELETED = "courses_not_deleted", WARN, [courses, keys, error],
            "The database refuses to delete synced courses older than `outbox.retention`. They stay, and each is logged \
             once: `courses` is their number, `keys` names the first of them. All others are deleted.",
            "Remove what refers to their rows, such as a foreign key of another table, or declare it `on delete cascade`.";
        STRANDED_COURSES_FOUND = "stranded_courses_found", WARN, [courses],
            "Courses were in flight or unconfirmed, but their requests are missing in `course_sync_batch`: it was \
             truncated, or a backup was restored in part. They are looked up, or held without a unique property.",
            "Find out what deleted rows of `course_sync_batch`. Decide about held courses with `course-sync resolve`.";
    }
    "Pauses and the account" {
        SENDING_PAUSED = "sending_paused", WARN, [reason, detail, ends],
            "Nothing is sent for this reason. The pause ends by itself, at `ends` where that is known; a pause by an \
             operator ends with `course-sync resume`.",
            "Run `course-sync status`.";
        SENDING_BLOCKED = "sending_blocked", ERROR, [reason, detail],
            "HubSpot refuses every request: because of the token, its scopes, the object type or the unique property, \
             or every course for the same reason (`rejected`).",
            "Do what `detail` asks for. Sending then resumes by itself.";
        SENDING_RESUMED = "sending_resumed", INFO, [reason],
            "The pause for this reason ended.",
            "Nothing.";
        LOOKUPS_PAUSED = "lookups_paused", WARN, [reason, detail],
            "Look-ups of unconfirmed courses fail one after the other and are paused. Creates continue.",
            "Run `course-sync status`. The pause ends by itself.";
        LOOKUPS_RESUMED = "lookups_resumed", INFO, [reason],
            "The pause of look-ups for this reason ended.",
            "Nothing.";
        DAILY_QUOTA_RESET_LEARNED = "daily_quota_reset_learned", INFO, [resets_at],
            "HubSpot reported when the account's daily quota is reset.",
            "Nothing.";
        BATCH_SIZE_REDUCED = "batch_size_reduced", WARN, [courses],
            "Large requests fail while small ones succeed, or a request was refused as too large. `courses` is the new \
             batch size; it grows again slowly.",
            "If it stays low, look for the size limit of a proxy.";
        UNIQUE_PROPERTY_NOT_VERIFIED = "unique_property_not_verified", WARN, [property, retry_seconds, hint],
            "The account's properties cannot be read, so it is unknown whether the property's values are unique. \
             Sending continues.",
            "Run `course-sync check`. Give the token the scope that it names.";
        UNIQUE_PROPERTY_VERIFIED = "unique_property_verified", DEBUG, [property],
            "The unique property exists and can be used.",
            "Nothing.";
        RATE_LIMIT_REDUCED = "rate_limit_reduced", WARN, [max, interval, allowed, hint],
            "HubSpot's headers show a smaller quota than the configuration. The smaller one is used.",
            "Set `rate_limit.requests` and `rate_limit.per` to what the account allows.";
        QUOTA_SHARE_REDUCED = "quota_share_reduced", INFO, [others],
            "Other integrations use the same quota. Fewer requests are sent, so that the sum stays within it.",
            "Nothing, or reduce what the other integrations send.";
        QUOTA_SHARE_RESTORED = "quota_share_restored", INFO, [],
            "Other integrations no longer use the same quota.",
            "Nothing.";
        CREDENTIALS_CHANGED = "credentials_changed", INFO, [],
            "New credentials were found while HubSpot refused the old ones. They are tried at once.",
            "Nothing.";
        TOKEN_ENDPOINT_REPLACED = "token_endpoint_replaced", WARN, [gone, used],
            "The OAuth token endpoint of `hubspot.api_version` answered 404 or 410. The endpoint of another version is \
             used until the process ends.",
            "Set `hubspot.api_version` to a version that HubSpot still serves.";
        REFRESH_TOKEN_REPLACED = "refresh_token_replaced", WARN, [hint],
            "HubSpot issued another refresh token. It is used until the process ends; the configured one may stop \
             working.",
            "Install the app again and set the new token in `hubspot.oauth.refresh_token`.";
    }
    "The lease and the database" {
        LEASE_ACQUIRED = "lease_acquired", INFO, [term, unconfirmed, slots_taken],
            "This instance is the leader and sends. `unconfirmed` courses were left by earlier leaders; `slots_taken` \
             requests of the quota are already in use.",
            "Nothing.";
        STANDBY_STARTED = "standby_started", INFO, [],
            "Another instance is the leader. This one takes over when needed.",
            "Nothing.";
        LEASE_LOST = "lease_lost", WARN, [term, reason],
            "The lease belongs to another instance, or could not be renewed in time. This instance sends nothing new.",
            "If it happens often, check the database's latency and the CPU of this process.";
        LEASE_RELEASED = "lease_released", INFO, [term],
            "The lease was released at shutdown. Another instance can take over at once.",
            "Nothing.";
        LEASE_RELEASE_FAILED = "lease_release_failed", WARN, [],
            "The lease was not released at shutdown. Another instance takes over after `outbox.lease`.",
            "Nothing.";
        LEASE_TASK_ENDED = "lease_task_ended", ERROR, [],
            "A defect: the task that renews the lease ended. The process stops.",
            "Restart the process and report the defect.";
        LOST_COMMITS_VERIFICATION_STARTED = "lost_commits_verification_started", WARN, [term, alarm],
            "The database may have lost commits: `alarm` states why. Or `--verify-first` was given: then there is no \
             `alarm`. Every pending course is looked up in HubSpot before it is sent.",
            "Nothing. It takes one request per 100 courses.";
        LOST_COMMITS_REVIEW_REQUIRED = "lost_commits_review_required", ERROR, [term, detail],
            "The database may have lost commits, and there is no unique property to verify with. Nothing is sent.",
            "Compare the pending courses with HubSpot, then run `course-sync resume`.";
        DATABASE_CHANGE_ADOPTED = "database_change_adopted", INFO, [term],
            "The database's timeline, system identifier or leader's row changed, and no commit of interest is lost: no \
             course is open, or this instance sent nothing since its last renewal.",
            "Nothing.";
        OUTBOX_UNUSABLE = "outbox_unusable", ERROR, [detail],
            "The database works, but the outbox cannot be used: the leader's row or a primary key is missing, or \
             row-level security hides the rows. Nothing is sent, and `/readyz` shows the same reason.",
            "Wait for the end of a restore that is under way. Otherwise do what `detail` asks for.";
        OUTBOX_USABLE = "outbox_usable", INFO, [],
            "The outbox can be used again.",
            "Nothing.";
        LEADER_ROW_INSERTED = "leader_row_inserted", WARN, [],
            "The row of `course_sync_leader` stayed missing, so it was inserted. The database counts as one that may \
             have lost commits.",
            "Find out what deleted the row, such as a restore of some tables only.";
        DATABASE_UNAVAILABLE = "database_unavailable", WARN, [error, consequence],
            "The database does not respond, or refuses a statement. Logged once per outage; it is retried until it succeeds.",
            "Fix the database. Do not kill the process: it may hold results that are not recorded yet.";
        DATABASE_STILL_UNAVAILABLE = "database_still_unavailable", WARN, [error, lasts_seconds, affected],
            "The same outage continues. Logged at most once a minute.",
            "As for `database_unavailable`.";
        DATABASE_RETRY_FAILED = "database_retry_failed", DEBUG, [error, consequence],
            "One failed attempt during an outage of the database.",
            "As for `database_unavailable`.";
        DATABASE_RECOVERED = "database_recovered", INFO, [lasted_seconds],
            "The outage of the database ended.",
            "Nothing.";
        LONG_TRANSACTION_FOUND = "long_transaction_found", WARN, [pid, user, program, open_seconds, hint],
            "A transaction of another program has been open for a long time. The outbox's tables grow until it ends, \
             because Postgres cannot remove old row versions.",
            "End it in its program, or with `pg_terminate_backend(pid)`.";
        DATABASE_URL_CHANGED = "database_url_changed", INFO, [],
            "The file with the database's URL has changed. New connections use the new URL.",
            "Nothing.";
        POOLER_DETECTED = "pooler_detected", WARN, [],
            "The database is behind a connection pooler in transaction mode, although `outbox.listen` is true. The daemon \
             goes on without prepared statements and notifications: new courses are found by polling.",
            "Set `outbox.listen = false`, or let `database.url` bypass the pooler.";
        SCHEMA_PREPARED = "schema_prepared", INFO, [applied],
            "The schema is up to date. `applied` migrations were run; absent if `database.migrate` is false.",
            "Nothing.";
        MIGRATION_WAITING = "migration_waiting", WARN, [error],
            "An open transaction holds a lock that the migration needs, or another instance migrates. Logged once; it is \
             retried with growing waits. The daemon is not ready meanwhile, and inserts wait a few seconds at most.",
            "End the transaction, such as that of a `pg_dump`, or wait for its end.";
        OUTBOX_GAUGES_NOT_REFRESHED = "outbox_gauges_not_refreshed", DEBUG, [error],
            "The gauges of the outbox could not be read. `/metrics` shows their last values.",
            "Nothing.";
    }
    "The process" {
        DAEMON_STARTED = "daemon_started", INFO, [holder, requests, per, promise],
            "The daemon started with this quota. `promise` states what is guaranteed about duplicates.",
            "Nothing. `promise` states the guarantee in force.";
        ADMIN_SERVER_STARTED = "admin_server_started", INFO, [address],
            "Health checks, metrics and the console are served at this address.",
            "Nothing.";
        ADMIN_SERVER_FAILED = "admin_server_failed", ERROR, [error],
            "Health checks and metrics are no longer served. The daemon continues.",
            "Restart the process and report the defect.";
        ADMIN_CONNECTION_NOT_ACCEPTED = "admin_connection_not_accepted", DEBUG, [error],
            "A connection to the admin port could not be accepted. It is retried.",
            "Nothing.";
        CONFIGURATION_WARNING_FOUND = "configuration_warning_found", WARN, [warning],
            "The configuration works, but has a consequence that may not be intended.",
            "Do what `warning` asks for.";
        SHUTDOWN_STARTED = "shutdown_started", INFO, [grace],
            "SIGTERM, SIGINT or SIGHUP was received. Nothing new is started; open requests are awaited for `grace`, \
             which is `shutdown.grace` less its last steps.",
            "Nothing.";
        OPEN_REQUESTS_ABANDONED = "open_requests_abandoned", WARN, [requests],
            "`shutdown.grace` was over, or a second signal came. The courses of these requests are looked up later.",
            "Set `shutdown.grace` above `hubspot.request_timeout`.";
        DAEMON_STOPPED = "daemon_stopped", INFO, [finished],
            "The daemon stopped. `finished` is true if every result is recorded.",
            "Nothing. The next start handles the rest.";
        THREAD_PANICKED = "thread_panicked", ERROR, [location, error],
            "A defect. The courses of the affected batch are unconfirmed and are looked up.",
            "Report the defect.";
        LOG_LINES_DROPPED = "log_lines_dropped", WARN, [dropped],
            "stderr was read too slowly. Also counted in `course_sync_log_lines_dropped_total`.",
            "Check the program that reads stderr.";
        TRACES_DISABLED = "traces_disabled", WARN, [error],
            "The `OTEL_…` variables name an endpoint that cannot be used. No spans are sent.",
            "Do what `error` asks for.";
        TRACE_EXPORT_FAILED = "trace_export_failed", WARN, [reason],
            "The trace endpoint is unreachable or refuses. Spans are lost; courses are not delayed.",
            "Check the collector.";
        TRACE_EXPORT_RECOVERED = "trace_export_recovered", INFO, [],
            "The trace endpoint accepts spans again.",
            "Nothing.";
        STALE_CLUSTER_NOT_REMOVED = "stale_cluster_not_removed", DEBUG, [directory, error],
            "`course-sync demo` found a database directory of an earlier run and could not remove it.",
            "Remove the directory.";
    }
}
