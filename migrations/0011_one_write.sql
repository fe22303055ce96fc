-- One write per course: a claim is a row of the journal alone, and the row of a course is written once its outcome is
-- known. A course is in flight while an open request in the journal lists it.

-- Constant defaults: the table is not rewritten.
alter table course_outbox
    add column revision bigint not null default 1,
    add column synced_revision bigint;
comment on column course_outbox.revision is
    'Grows whenever the catalogue really changes properties or associations. A claim notes it, and a result is recorded for it.';
comment on column course_outbox.synced_revision is
    'The revision that HubSpot is known to hold; null until synced, and for courses that an earlier version synced.';
comment on column course_outbox.status is
    'pending: to be sent; in flight while an open request in course_sync_batch lists it. unconfirmed: sent, outcome unknown. synced: HubSpot holds it. failed: see error. in_flight: only an earlier version writes it.';
comment on column course_outbox.batch_id is
    'The request whose result was recorded last: course_sync_batch.batch_id.';

create function course_outbox_revise() returns trigger language plpgsql as $$
begin
    new.revision := old.revision + 1;
    return new;
end $$;
comment on function course_outbox_revise() is 'Gives a changed course its next revision.';

-- Fires only for statements that set these columns, so recording a result does not evaluate it.
create trigger course_outbox_revision before update of properties, associations on course_outbox
    for each row
    when (new.properties is distinct from old.properties or new.associations is distinct from old.associations)
    execute function course_outbox_revise();

alter table course_sync_batch
    add column revisions bigint[],
    add column recorded bigint[] not null default '{}',
    add column blocked text,
    add column claim_number bigint,
    add column oldest_open bigint;
comment on column course_sync_batch.revisions is
    'The revision of each course in row_ids when it was claimed; null for requests of an earlier version.';
comment on column course_sync_batch.recorded is
    'While the request is open: the courses whose outcome is in their rows already. The others are in flight.';
comment on column course_sync_batch.blocked is
    'While the request is open after its end: why the other courses'' outcomes cannot be written to their rows.';
comment on column course_sync_batch.claim_number is
    'Claims are numbered one after the other. The number is unique, so a claim that did not see all earlier claims fails, and no course is in two open requests. Null: no claim.';
comment on column course_sync_batch.oldest_open is
    'The lowest number of a claim that was open when this one was made. A claim before it is never open again, so the next claim need not look for it.';

comment on column course_sync_batch.incarnation is 'Only an earlier version writes it.';

create unique index course_sync_batch_claim on course_sync_batch (claim_number) where claim_number is not null;
comment on index course_sync_batch_claim is 'Serializes the claims; serves the search for the last one.';
create index course_sync_batch_open on course_sync_batch (claim_number) where state = 'open';
comment on index course_sync_batch_open is 'Serves the claim: the courses in flight, which it leaves out.';

-- Functions and no view: a role that may read the journal needs no other right.
create function course_sync_in_flight()
returns table (batch_id uuid, claim_number bigint, id bigint, revision bigint) language sql stable begin atomic
    select b.batch_id, b.claim_number, c.id, c.revision
      from course_sync_batch b cross join lateral unnest(b.row_ids, b.revisions) as c (id, revision)
     where b.state = 'open' and c.id <> all (b.recorded);
end;
comment on function course_sync_in_flight() is
    'The courses in flight: claimed, perhaps sent, and without a recorded outcome.';

create function course_sync_sent_revision(request uuid, course bigint) returns bigint language sql stable begin atomic
    select c.revision
      from course_sync_batch b cross join lateral unnest(b.row_ids, b.revisions) as c (id, revision)
     where b.batch_id = request and c.id = course;
end;
comment on function course_sync_sent_revision(uuid, bigint) is
    'The revision of a course that a request sent; null if it is not known.';

-- Without its open request a course that may have been sent would be claimed again.
create function course_sync_batch_keep_open() returns trigger language plpgsql as $$
declare
    is_open boolean := true;
begin
    if tg_op = 'TRUNCATE' then
        execute format('select exists (select from %I.%I where state = ''open'')', tg_table_schema, tg_table_name) into is_open;
    end if;
    if is_open then
        raise exception using
            errcode = 'object_in_use', schema = tg_table_schema, table = tg_table_name,
            message = 'an open request in course_sync_batch cannot be deleted: its courses could be sent a second time',
            hint = 'Let course-sync run until no course is in flight, and stop it. Then delete.';
    end if;
    return case when tg_op = 'DELETE' then old end;
end $$;
comment on function course_sync_batch_keep_open() is 'Refuses to delete an open request.';

create trigger course_sync_batch_keep_open before delete on course_sync_batch
    for each row when (old.state = 'open') execute function course_sync_batch_keep_open();
create trigger course_sync_batch_keep_all_open before truncate on course_sync_batch
    for each statement execute function course_sync_batch_keep_open();
