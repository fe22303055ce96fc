-- Notifications when a transaction commits, and for pauses.

-- A transaction tries the lock when it commits, no longer when it inserts: an open transaction that held the lock kept
-- every other one from notifying. The lock itself stays: a committing transaction that has notified holds a lock of the
-- whole instance until its commit is on disk, so at most one at a time may notify. A transaction that finds the lock taken
-- is committing, too. It may commit a little later than the one that notifies, so the daemon looks again soon after each
-- notification.
drop trigger course_outbox_wake on course_outbox;

-- Only a trigger for each row can be deferred until the commit. The condition is true for the first row of a transaction
-- only, because the setting lasts as long as the transaction (or its savepoint).
create function course_outbox_is_first_insert() returns boolean language sql volatile
    return case when current_setting('course_sync.inserted', true) = pg_current_xact_id()::text then false
                else set_config('course_sync.inserted', pg_current_xact_id()::text, true) is not null end;
comment on function course_outbox_is_first_insert() is 'Whether no course was inserted in this transaction before.';

create constraint trigger course_outbox_wake after insert on course_outbox
    deferrable initially deferred
    for each row when (course_outbox_is_first_insert())
    execute function course_outbox_wake();
comment on trigger course_outbox_wake on course_outbox is 'Notifies the daemon when the transaction commits.';

-- Pauses are rare, so their notifications need no lock. For each row, because renewals of the lease contain a statement for
-- pauses that normally changes none.
create function course_sync_pause_wake() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    perform pg_notify('course_outbox', quote_ident(tg_table_schema));
    return null;
end $$;
comment on function course_sync_pause_wake() is 'Notifies the daemon of this schema that a pause began or ended.';

create trigger course_sync_pause_wake after insert or update or delete on course_sync_pause
    for each row execute function course_sync_pause_wake();
