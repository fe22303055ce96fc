-- What attribution by evidence has to remember across a restart: which courses failed without being named, what is
-- unknown of a course and how it can be proved, and what each request showed.

alter table course_outbox
    add column suspected_at   timestamptz,
    add column doubt          text,
    add column doubt_property text,
    add column doubted_since  timestamptz;
-- Not valid: it is enforced from now on, and a table of millions of rows need not be read while it is locked.
alter table course_outbox add constraint course_outbox_doubt_known
    check (doubt in ('unknown', 'created', 'conflict', 'refused')) not valid;

comment on column course_outbox.suspected_at is
    'When it last failed in a request that named no course, or was asked to come later; null: it never did. Such courses go behind the others, in a bounded share of the requests.';
comment on column course_outbox.doubt is
    'unconfirmed: what is in doubt. unknown: whether HubSpot created it. created: HubSpot did, under an id that is not known. conflict: HubSpot reports its key as taken. refused: HubSpot refused it, but an earlier request may have created it.';
comment on column course_outbox.doubt_property is
    'The HubSpot property that carried its key when its outcome became unknown: what it is looked up by. null: no look-up can prove anything.';
comment on column course_outbox.doubted_since is
    'When the first request was claimed whose outcome is unknown. A record created earlier is not this course.';
comment on column course_outbox.batch_limit is
    'The largest batch it may travel in; lowered while the course that a batch failed for is being isolated.';

-- Courses in doubt, as an earlier version left them. What an earlier version refused or found in conflict is looked
-- up as unknown: HubSpot gives the same answer again.
update course_outbox o
   set doubt = 'unknown', doubt_property = b.unique_property, doubted_since = b.claimed_at
  from course_sync_batch b
 where o.status = 'unconfirmed' and b.batch_id = o.batch_id and b.operation = 'create';

-- Suspects have an index of their own, so that they are found whatever number of others is pending.
create index course_outbox_suspects on course_outbox (next_attempt_at, id)
    where status = 'pending' and suspected_at is not null;
comment on index course_outbox_suspects is 'Serves the claims of courses that failed before without being named.';

-- A course may be synced although HubSpot reported an error for it (created, but an association failed).
create index course_outbox_warnings on course_outbox (id) where status = 'synced' and error is not null;
comment on index course_outbox_warnings is 'Serves the listing of synced courses with a warning.';

-- Courses are no longer checked before they are sent, so none waits for a change of the account's properties.
drop index course_outbox_refused_by_schema;

alter table course_sync_batch add column passed boolean;
comment on column course_sync_batch.passed is
    'Evidence about HubSpot. true: HubSpot judged the courses of the request. false: the request failed without naming a course, and none of its courses had failed before. null: it shows nothing.';
comment on column course_sync_batch.outcome is
    'How it ended, in the words of the metric requests_total; null: not sent, or not ended.';

-- "HubSpot refuses every course" outlives a restart: otherwise each start would fail some more courses.
alter table course_sync_pause drop constraint course_sync_pause_reason_durable;
alter table course_sync_pause add constraint course_sync_pause_reason_durable
    check (reason in ('operator', 'daily_quota', 'rejected'));
comment on table course_sync_pause is
    'Pauses that outlive a restart: the operator''s, a used-up day, and an account that refuses every course.';
