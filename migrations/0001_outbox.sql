-- The outbox that a catalogue writes, and the tables by which course-sync keeps its promise.
-- Append-only: a change to this schema is a new file.

-- Whether a value is a list of associations in HubSpot's shape and nothing else. The whole is right when
-- every element is; an element is right when no type of it is wrong. In strict mode a missing member makes
-- a condition unknown, hence `is unknown`.
create function course_sync_are_associations(value jsonb) returns boolean language sql immutable parallel safe as $$
    select case when jsonb_typeof(value) = 'array' then
        jsonb_array_length(value) = jsonb_array_length(jsonb_path_query_array(value, 'strict $[*] ? (
            @.to.id.type() == "string" && @.to.id != ""
            && !(exists (@.to.keyvalue() ? (@.key != "id")))
            && !(exists (@.keyvalue() ? (@.key != "to" && @.key != "types")))
            && @.types.type() == "array" && @.types.size() > 0
            && !(exists (@.types[*].keyvalue() ? (@.key != "associationTypeId" && @.key != "associationCategory")))
            && !(exists (@.types[*] ? (
                (@.associationTypeId.floor() == @.associationTypeId
                 && @.associationTypeId >= 0 && @.associationTypeId < 2147483648) is unknown
                || !(@.associationTypeId.floor() == @.associationTypeId
                     && @.associationTypeId >= 0 && @.associationTypeId < 2147483648))))
            && !(exists (@.types[*] ? (
                (@.associationCategory == "HUBSPOT_DEFINED") is unknown
                || !(@.associationCategory == "HUBSPOT_DEFINED" || @.associationCategory == "INTEGRATOR_DEFINED"
                     || @.associationCategory == "USER_DEFINED" || @.associationCategory == "WORK"))))
        )', silent => true))
    else false end
$$;
comment on function course_sync_are_associations(jsonb) is
    'Whether a value is a list of associations in HubSpot''s shape: [{"to":{"id":"…"},"types":[{"associationCategory":"…","associationTypeId":0}]}].';

create table course_outbox (
    id              bigint generated always as identity primary key,
    course_key      text        not null,
    properties      jsonb       not null,
    associations    jsonb       not null default '[]',
    status          text        not null default 'pending',
    attempts        integer     not null default 0,
    next_attempt_at timestamptz not null default now(),
    hubspot_id      text,
    error           jsonb,
    created_at      timestamptz not null default now(),
    updated_at      timestamptz not null default now(),
    synced_at       timestamptz,
    batch_id        uuid,
    faults          integer     not null default 0,
    batch_limit     smallint    not null default 100,

    constraint course_outbox_course_key_unique unique (course_key),
    constraint course_outbox_course_key_usable
        check (btrim(course_key) <> '' and length(course_key) <= 255),
    -- strict: in lax mode {"x": ["a"]} would pass as if it were {"x": "a"}
    constraint course_outbox_properties_flat_object
        check (jsonb_typeof(properties) = 'object'
               and not jsonb_path_exists(properties, 'strict $.* ? (@.type() == "object" || @.type() == "array")')),
    constraint course_outbox_associations_in_hubspots_shape
        check (course_sync_are_associations(associations)),
    constraint course_outbox_status_known
        check (status in ('pending', 'in_flight', 'unconfirmed', 'synced', 'failed')),
    constraint course_outbox_attempts_not_negative check (attempts >= 0),
    constraint course_outbox_faults_not_negative check (faults >= 0),
    constraint course_outbox_batch_limit_in_range check (batch_limit between 1 and 100),
    constraint course_outbox_synced_has_id
        check ((status = 'synced') = (hubspot_id is not null and synced_at is not null)),
    constraint course_outbox_sent_has_batch
        check (status not in ('in_flight', 'unconfirmed') or batch_id is not null),
    constraint course_outbox_failed_has_error check (status <> 'failed' or error is not null)
) with (
    fillfactor = 90,
    -- Fixed thresholds: a share of ten million rows would be millions of dead ones.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000, autovacuum_vacuum_cost_delay = 1,
    autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 200000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 200000
);

comment on table course_outbox is
    'Courses on their way to HubSpot. The catalogue inserts (course_key, properties, associations) in its own transaction; course-sync does the rest.';
comment on column course_outbox.id is 'Order of arrival. Never an identity outside this table: a failed-over database may hand one out twice.';
comment on column course_outbox.course_key is 'The catalogue''s own identifier of the course.';
comment on column course_outbox.properties is 'HubSpot property name → value (string, number, boolean or null). Sent as strings; null is left out.';
comment on column course_outbox.associations is 'Links to existing records, in HubSpot''s shape: [{"to":{"id":"…"},"types":[{"associationCategory":"…","associationTypeId":0}]}].';
comment on column course_outbox.status is 'pending: to be sent. in_flight: claimed, perhaps sent. unconfirmed: sent, outcome unknown. synced: HubSpot holds it. failed: see error.';
comment on column course_outbox.attempts is 'How often it was sent.';
comment on column course_outbox.next_attempt_at is 'pending: not sent before. unconfirmed: HubSpot is not asked before.';
comment on column course_outbox.hubspot_id is 'The record''s id in HubSpot; null until synced.';
comment on column course_outbox.error is 'The last error: {"category","message","code"?,"property"?,"http_status"?,"correlation_id"?,"at"}. message is HubSpot''s own text where HubSpot spoke.';
comment on column course_outbox.created_at is 'When the catalogue enqueued it.';
comment on column course_outbox.updated_at is 'When it last changed.';
comment on column course_outbox.synced_at is 'When it became synced.';
comment on column course_outbox.batch_id is 'The request it was last claimed for: course_sync_batch.batch_id. Guards every write of an answer.';
comment on column course_outbox.faults is 'How many attempts failed by the course''s own fault; bounded by retry.max_attempts.';
comment on column course_outbox.batch_limit is 'The largest batch it may travel in; lowered while a refused batch that named nobody is being taken apart.';

-- The claim's order. Partial: rows leave it for good, so it stays as small as the backlog.
create index course_outbox_pending on course_outbox (next_attempt_at, id) where status = 'pending';
comment on index course_outbox_pending is 'Serves the claim, the oldest pending course, and the count of pending ones.';
-- No index covers in_flight: the planner would prefer it to the primary key when recording.
create index course_outbox_unconfirmed on course_outbox (next_attempt_at, id) where status = 'unconfirmed';
comment on index course_outbox_unconfirmed is 'Serves the reconciler and the count of unconfirmed courses.';
create index course_outbox_failed on course_outbox (id) where status = 'failed';
comment on index course_outbox_failed is 'Serves the listing, the retrying and the count of failed courses.';

create table course_sync_batch (
    batch_id       uuid        primary key,
    operation      text        not null default 'create',
    term           bigint      not null,
    holder         uuid        not null,
    row_ids        bigint[]    not null,
    state          text        not null default 'open',
    claimed_at     timestamptz not null default now(),
    send_by        timestamptz not null,
    answered_at    timestamptz,
    http_status    integer,
    correlation_id text,
    outcome        text,

    constraint course_sync_batch_operation_known check (operation in ('create', 'read', 'schema')),
    constraint course_sync_batch_state_known check (state in ('open', 'unknown', 'closed'))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

comment on table course_sync_batch is
    'One row for each request about to be sent, committed before a byte leaves: the journal of intents, the memory of the rate window, the audit.';
comment on column course_sync_batch.batch_id is 'Made by the sender (UUIDv7); each course''s objectWriteTraceId begins with it.';
comment on column course_sync_batch.operation is 'create: courses are created. read: doubts are looked up. schema: the account''s schema is read.';
comment on column course_sync_batch.term is 'The leader''s term under which it was claimed.';
comment on column course_sync_batch.holder is 'The leader that claimed it. With term, because a failed-over database may repeat a term.';
comment on column course_sync_batch.row_ids is 'The courses of the request: course_outbox.id.';
comment on column course_sync_batch.state is 'open: claimed, perhaps sent. unknown: some outcome is unknown. closed: every outcome is recorded.';
comment on column course_sync_batch.claimed_at is 'When the intent was written.';
comment on column course_sync_batch.send_by is 'The request has ended by then, or its sender is gone.';
comment on column course_sync_batch.answered_at is 'When the request ended.';
comment on column course_sync_batch.http_status is 'The status of the answer, if one came.';
comment on column course_sync_batch.correlation_id is 'HubSpot''s identifier of the request.';
comment on column course_sync_batch.outcome is 'How it ended, in the words of the metric requests_total.';

create index course_sync_batch_unsettled on course_sync_batch (claimed_at) where state <> 'closed';
comment on index course_sync_batch_unsettled is 'Serves takeover, the age of the oldest request and the count of in-flight courses.';
create index course_sync_batch_claimed_at on course_sync_batch using brin (claimed_at) with (pages_per_range = 8);
comment on index course_sync_batch_claimed_at is 'Serves the memory of the rate window and retention; rows come in this order.';

-- Changes whenever acknowledged commits may be gone: another cluster, another timeline (a standby was
-- promoted, a backup recovered), another database of the same name (a dump was restored). A part that a
-- hosted Postgres does not tell is left out.
create function course_sync_incarnation() returns text language plpgsql volatile as $$
declare
    cluster  text := '?';
    timeline text := '?';
begin
    begin
        select system_identifier::text into cluster from pg_control_system();
    exception when insufficient_privilege or feature_not_supported or undefined_function then null;
    end;
    begin
        timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    exception when insufficient_privilege or feature_not_supported or undefined_function then null;
    end;
    return cluster || '/' || timeline || '/' || (select oid from pg_database where datname = current_database());
end $$;
comment on function course_sync_incarnation() is 'Which database this is: cluster, timeline, database.';

create table course_sync_leader (
    one               boolean     primary key default true,
    holder            uuid,
    host              text,
    term              bigint      not null default 0,
    expires_at        timestamptz not null default '-infinity',
    renewed_at        timestamptz,
    report            jsonb       not null default '{}',
    incarnation       text,
    verifying         boolean     not null default false,

    constraint course_sync_leader_one check (one)
) with (fillfactor = 50);

comment on table course_sync_leader is 'The lease: who may claim courses, and until when. One row.';
comment on column course_sync_leader.one is 'Makes it one row.';
comment on column course_sync_leader.holder is 'The instance that leads or led last.';
comment on column course_sync_leader.host is 'Where it runs, for a person.';
comment on column course_sync_leader.term is 'Grows with every change of holder.';
comment on column course_sync_leader.expires_at is 'When the lease ends unless renewed, by the database''s clock.';
comment on column course_sync_leader.incarnation is 'The database that the last leader knew: course_sync_incarnation(). Another one may have lost commits.';
comment on column course_sync_leader.verifying is 'Commits may be lost: every pending course is put in doubt, and looked up, before anything is sent.';
comment on column course_sync_leader.renewed_at is 'When it was last renewed.';
comment on column course_sync_leader.report is 'What the leader last said of itself, for status: its pauses and the account''s quota.';

insert into course_sync_leader default values;

create table course_sync_pause (
    reason  text        primary key,
    message text        not null,
    author  text,
    since   timestamptz not null default now(),
    until   timestamptz,

    constraint course_sync_pause_reason_durable check (reason in ('operator', 'daily_quota'))
);

comment on table course_sync_pause is 'Pauses that outlive a restart: a person''s, and the used-up day''s.';
comment on column course_sync_pause.reason is 'Why nothing is sent.';
comment on column course_sync_pause.message is 'What was said, for a person.';
comment on column course_sync_pause.author is 'Who paused.';
comment on column course_sync_pause.since is 'Since when.';
comment on column course_sync_pause.until is 'When it ends by itself; null: when a person resumes.';

create table course_sync_history (
    id         bigint      generated always as identity primary key,
    at         timestamptz not null default now(),
    course_id  bigint      not null,
    course_key text        not null,
    batch_id   uuid,
    event      text        not null,
    error      jsonb,

    constraint course_sync_history_event_known
        check (event in ('adopted', 'confirmed', 'failed', 'deferred', 'unconfirmed', 'retried', 'resolved'))
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 50000);

comment on table course_sync_history is 'What happened to the courses that did not go smoothly; a course synced at once leaves nothing here.';
comment on column course_sync_history.id is 'Order of events.';
comment on column course_sync_history.at is 'When.';
comment on column course_sync_history.course_id is 'course_outbox.id.';
comment on column course_sync_history.course_key is 'The course''s key, which outlives its row.';
comment on column course_sync_history.batch_id is 'The request it happened in.';
comment on column course_sync_history.event is 'What became of the course, or what a person did.';
comment on column course_sync_history.error is 'The error at that time, as in course_outbox.error.';

create index course_sync_history_course on course_sync_history (course_key, id);
comment on index course_sync_history_course is 'Serves the life of one course.';
create index course_sync_history_at on course_sync_history using brin (at) with (pages_per_range = 8);
comment on index course_sync_history_at is 'Serves retention; rows come in this order.';

-- A statement's worth of inserts wakes the daemon once. Behind a lock that is only tried, because a
-- committing transaction that has notified holds an instance-wide lock through its flush: one waiting
-- notifier at a time, and a wake-up skipped costs at most one outbox.poll_interval.
create function course_outbox_wake() returns trigger language plpgsql as $$
begin
    if pg_try_advisory_xact_lock(7245010001) then
        perform pg_notify('course_outbox', '');
    end if;
    return null;
end $$;
comment on function course_outbox_wake() is 'Tells the daemon that courses were enqueued.';

create trigger course_outbox_wake after insert on course_outbox
    for each statement execute function course_outbox_wake();
