-- Courses change and are withdrawn. The row is the desired state of the course: a change makes it pending again, and the
-- record in HubSpot is updated, archived, or created again.

-- Constant defaults: the table is not rewritten.
alter table course_outbox
    add column archived           boolean not null default false,
    add column archive_released   boolean not null default false,
    add column changed_at         timestamptz,
    add column offered_at         timestamptz,
    add column hubspot_properties jsonb,
    add column late_values        jsonb,
    add column recheck_at         timestamptz;
comment on column course_outbox.archived is
    'The course is withdrawn: its record goes to HubSpot''s recycle bin. false again: a new record is created.';
comment on column course_outbox.archive_released is
    'An operator has released this withdrawal: its record is archived, however many are pending.';
comment on column course_outbox.changed_at is 'When the catalogue last changed the course; null: not since it was enqueued.';
comment on column course_outbox.offered_at is
    'When the course was offered again after its record was archived. An older record in the recycle bin is not the new one.';
comment on column course_outbox.hubspot_properties is
    'While a change is pending: the properties that HubSpot holds, as far as they are known. null as a value: not known. null: as in properties, or nothing is known.';
comment on column course_outbox.late_values is
    'What requests with an unknown outcome may still do: {"properties": {name: value, null for any value}, "archives": whether one may archive the record}.';
comment on column course_outbox.recheck_at is 'When the record is read once more, because of late_values.';
comment on column course_outbox.hubspot_id is 'The record''s id in HubSpot; null until known. It stays while a change is pending.';
comment on column course_outbox.synced_at is 'When it last became synced.';
comment on column course_outbox.status is
    'pending: to be sent; in flight while an open request in course_sync_batch lists it. unconfirmed: sent, outcome unknown. synced: HubSpot holds it. failed: see error. archived: its record is in HubSpot''s recycle bin, or never existed. in_flight: only an earlier version writes it.';

-- Not valid: enforced from now on, and a table of millions of rows need not be read while it is locked.
alter table course_outbox
    drop constraint course_outbox_status_known,
    drop constraint course_outbox_synced_has_id,
    drop constraint course_outbox_doubt_known,
    add constraint course_outbox_status_known
        check (status in ('pending', 'in_flight', 'unconfirmed', 'synced', 'failed', 'archived')) not valid,
    add constraint course_outbox_synced_has_id
        check (status <> 'synced' or (hubspot_id is not null and synced_at is not null)) not valid,
    -- An earlier version did not note the revision.
    add constraint course_outbox_synced_revision
        check (status <> 'synced' or synced_revision is null or synced_revision = revision) not valid,
    add constraint course_outbox_archived_is_archived check (status <> 'archived' or archived) not valid,
    -- change: whether HubSpot holds the last change.
    add constraint course_outbox_doubt_known
        check (doubt in ('unknown', 'created', 'conflict', 'refused', 'change')) not valid;

create index course_outbox_updates on course_outbox (next_attempt_at, id)
    where status = 'pending' and hubspot_id is not null and not archived;
comment on index course_outbox_updates is 'Serves the claims of courses whose record is to be updated.';
create index course_outbox_archives on course_outbox (next_attempt_at, id) where status = 'pending' and archived;
comment on index course_outbox_archives is 'Serves the claims of courses that are withdrawn, and their count.';
create index course_outbox_archived on course_outbox (id) where status = 'archived';
comment on index course_outbox_archived is 'Serves the count of withdrawn courses.';
create index course_outbox_changes_in_doubt on course_outbox (next_attempt_at, id)
    where status = 'unconfirmed' and doubt = 'change';
comment on index course_outbox_changes_in_doubt is
    'Serves the look at records of which it is not known whether they hold the last change, however many courses are unconfirmed.';
create index course_outbox_rechecks on course_outbox (recheck_at) where recheck_at is not null;
comment on index course_outbox_rechecks is 'Serves the second look at records that a late request may have changed.';

-- Courses that changed while an earlier version ran, which did not send changes. What HubSpot holds is not known.
update course_outbox
   set status = 'pending', next_attempt_at = now(), updated_at = now(), changed_at = now(),
       hubspot_properties = (select jsonb_object_agg(name, null) from jsonb_object_keys(jsonb_strip_nulls(properties)) as name)
 where status = 'synced' and synced_revision < revision;

alter table course_sync_batch drop constraint course_sync_batch_operation_known;
alter table course_sync_batch
    add constraint course_sync_batch_operation_known
        check (operation in ('create', 'update', 'archive', 'read', 'schema')) not valid,
    add column knows_changes boolean;
comment on column course_sync_batch.operation is
    'create, update, archive: courses are sent. read: records are read. schema: the account''s settings are read.';
comment on column course_sync_batch.knows_changes is 'true: the version that wrote the request distinguishes changes from new courses. null: an earlier version, which does not.';

alter table course_sync_history add column hubspot_id text;
comment on column course_sync_history.hubspot_id is 'The record that the event is about, where the row may name another one later.';
alter table course_sync_history
    drop constraint course_sync_history_event_known,
    add constraint course_sync_history_event_known
        check (event in ('adopted', 'confirmed', 'failed', 'deferred', 'unconfirmed', 'retried', 'resolved',
                         'updated', 'archived', 'repaired')) not valid;

-- Whether an open request lists the course. Called only when associations change. Security definer, because the catalogue's
-- role may not read the journal; the table is bound when the function is created, so no caller can put another one before it.
create function course_sync_is_listed(course bigint) returns boolean language sql stable
    security definer set search_path = pg_catalog, pg_temp
begin atomic
    select exists (select from course_sync_batch where state = 'open' and row_ids @> array[course]);
end;
comment on function course_sync_is_listed(bigint) is 'Whether an open request lists the course.';

-- course-sync sends associations only when it creates a record.
create function course_outbox_refuse_late_associations() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    is_sent boolean := true;
begin
    -- A request with an unknown outcome may still create it.
    if old.hubspot_id is null and old.doubts = 0 and old.status in ('pending', 'failed', 'archived') then
        execute format('select %I.course_sync_is_listed($1)', tg_table_schema)
           into is_sent using old.id;
    end if;
    if is_sent then
        raise exception using
            errcode = 'feature_not_supported', schema = tg_table_schema, table = tg_table_name, column = 'associations',
            message = format('course %L is refused: associations cannot be changed after the course was sent to HubSpot',
                             left(old.course_key, 255)),
            hint = 'Change them in HubSpot. course-sync sends associations only when it creates a record.';
    end if;
    return new;
end $$;
comment on function course_outbox_refuse_late_associations() is
    'Refuses a change of associations after the course was sent.';

create trigger course_outbox_late_associations before update of associations on course_outbox
    for each row when (new.associations is distinct from old.associations)
    execute function course_outbox_refuse_late_associations();

-- A write that changes nothing leaves no row version. Triggers fire in the order of their
-- names: this name sorts first, so the others do not run.
create trigger course_outbox_absorb_repeats before update of properties, associations, archived on course_outbox
    for each row when (old is not distinct from new)
    execute function suppress_redundant_updates_trigger();

-- A real change: the next revision, which is pending. What HubSpot held before is kept once, at the first change.
create or replace function course_outbox_revise() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    new.revision := old.revision + 1;
    new.archive_released := false;
    new.changed_at := now();
    new.updated_at := now();
    if old.status in ('pending', 'unconfirmed', 'in_flight') then
        -- HubSpot may hold the old values, or receive them now: they are not known.
        new.hubspot_properties :=
            coalesce((select jsonb_object_agg(name, null) from jsonb_object_keys(jsonb_strip_nulls(old.properties)) as name), '{}')
            || coalesce(old.hubspot_properties, '{}');
    elsif old.status = 'synced' and old.synced_revision < old.revision then
        -- Changed while an earlier version ran: HubSpot holds an older revision.
        new.hubspot_properties :=
            (select jsonb_object_agg(name, null) from jsonb_object_keys(jsonb_strip_nulls(old.properties)) as name);
    elsif old.status = 'synced' then
        -- A null was never sent.
        new.hubspot_properties := coalesce(old.hubspot_properties, jsonb_strip_nulls(old.properties));
    elsif old.status = 'archived' and not new.archived then
        -- HubSpot cannot restore a record: a new one is created. The history names the old one. A request with an unknown
        -- outcome may still create one of an older revision, so the names of its properties are kept.
        new.offered_at := now();
        new.hubspot_id := null;
        new.hubspot_properties :=
            (select jsonb_object_agg(name, null)
               from jsonb_object_keys(jsonb_strip_nulls(old.properties) || coalesce(old.hubspot_properties, '{}')) as name);
        new.late_values := null;
        new.recheck_at := null;
    end if;
    if old.status = 'archived' and new.archived then
        -- Its record is in the recycle bin, whatever else has changed.
        new.synced_revision := new.revision;
    elsif old.status in ('pending', 'synced', 'failed', 'archived') then
        new.status := 'pending';
        new.next_attempt_at := now();
        new.error := null;
        new.faults := 0;
        new.batch_limit := 100;
        new.suspected_at := null;
    end if;
    return new;
end $$;
comment on function course_outbox_revise() is 'Gives a changed course its next revision, and makes it pending.';

drop trigger course_outbox_revision on course_outbox;
create trigger course_outbox_revision before update of properties, associations, archived on course_outbox
    for each row
    when (new.properties is distinct from old.properties or new.associations is distinct from old.associations
          or new.archived is distinct from old.archived)
    execute function course_outbox_revise();

-- A result of an older revision is not final: the newer revision is still to be sent.
create function course_outbox_go_on() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    if new.status = 'archived' and new.archived then
        -- The course is still withdrawn, whatever else has changed.
        new.synced_revision := new.revision;
        return new;
    end if;
    if new.status = 'archived' then
        new.offered_at := now();
        new.hubspot_id := null;
        new.hubspot_properties :=
            (select jsonb_object_agg(name, null)
               from jsonb_object_keys(jsonb_strip_nulls(new.properties) || coalesce(old.hubspot_properties, '{}')) as name);
        new.late_values := null;
        new.recheck_at := null;
    end if;
    new.status := 'pending';
    new.next_attempt_at := now();
    new.faults := 0;
    new.batch_limit := 100;
    new.suspected_at := null;
    return new;
end $$;
comment on function course_outbox_go_on() is 'Makes a course pending again whose newer revision is not synced yet.';

create trigger course_outbox_superseded before update of status on course_outbox
    for each row when (new.status in ('synced', 'archived') and new.synced_revision < new.revision)
    execute function course_outbox_go_on();

-- The daemon is notified of changes in the same way as of new courses: once per transaction, when it commits. The setting
-- holds the transaction that was seen last. The word "changed" in the notification makes the daemon look for changes.
create function course_outbox_is_first_change() returns boolean language sql volatile
    return case when current_setting('course_sync.changed', true) = pg_current_xact_id()::text then false
                else set_config('course_sync.changed', pg_current_xact_id()::text, true) is not null end;
comment on function course_outbox_is_first_change() is 'Whether no course was changed in this transaction before.';

create function course_outbox_wake_change() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if pg_try_advisory_xact_lock(7245010002 # tg_relid::bigint) then
        perform pg_notify('course_outbox', quote_ident(tg_table_schema) || ' changed');
    end if;
    return null;
end $$;
comment on function course_outbox_wake_change() is 'Notifies the daemon of this schema that courses were changed.';

create constraint trigger course_outbox_wake_change after update of properties, associations, archived on course_outbox
    deferrable initially deferred
    for each row when (course_outbox_is_first_change())
    execute function course_outbox_wake_change();
comment on trigger course_outbox_wake_change on course_outbox is 'Notifies the daemon when the transaction commits.';

-- An earlier version would treat a change as a new course and create it a second time.
create function course_sync_batch_refuse_changes() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
declare
    has_change boolean;
begin
    execute format('select exists (select from %I.course_outbox where id = any($1) and (hubspot_id is not null or archived))',
                   tg_table_schema)
       into has_change using new.row_ids;
    if has_change then
        raise exception using
            errcode = 'object_not_in_prerequisite_state', schema = tg_table_schema, table = tg_table_name,
            message = 'this version of course-sync cannot send changes of courses, and changes are pending',
            hint = 'Run the newer version of course-sync that has migrated this database.';
    end if;
    return new;
end $$;
comment on function course_sync_batch_refuse_changes() is 'Refuses a claim of changes by an earlier version.';

create trigger course_sync_batch_refuse_changes before insert on course_sync_batch
    for each row when (new.claim_number is not null and new.knows_changes is null)
    execute function course_sync_batch_refuse_changes();
