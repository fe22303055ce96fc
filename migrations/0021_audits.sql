-- The results of audits, so that the daemon can show them as metrics. And the part of the quota that commands use beside the
-- daemon, so that both together stay within it.

create table course_sync_audit (
    id          uuid        primary key,
    started_at  timestamptz not null,
    ended_at    timestamptz not null default clock_timestamp(),
    complete    boolean     not null,
    stopped_at  text,
    courses     bigint      not null,
    records     bigint      not null,
    differences jsonb       not null,
    repaired    jsonb       not null
);
comment on table course_sync_audit is
    'The results of audits: the last complete one, those since, and some before. One row for each run of course-sync audit.';
comment on column course_sync_audit.id is 'Identifies the audit.';
comment on column course_sync_audit.started_at is 'When it began; for an audit that was continued (--from), when the first part began.';
comment on column course_sync_audit.ended_at is 'When it ended or stopped.';
comment on column course_sync_audit.complete is 'It covers all courses and all records.';
comment on column course_sync_audit.stopped_at is 'Where it stopped, for course-sync audit --from; null if it came to the end.';
comment on column course_sync_audit.courses is 'The number of courses that were read, with those of the parts before.';
comment on column course_sync_audit.records is 'The number of records of HubSpot that were listed, with those of the parts before.';
comment on column course_sync_audit.differences is 'The number of differences by class, with those of the parts before. A class that is absent has none.';
comment on column course_sync_audit.repaired is 'How many of them were repaired (--repair), by class.';

-- Constant default: the table is not rewritten.
alter table course_sync_leader add column reservations jsonb not null default '{}';
comment on column course_sync_leader.reservations is
    'The part of the quota that the leader leaves to commands such as audit: {command: {"requests": in a window, "until": seconds since 1970}}.';
