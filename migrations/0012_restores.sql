-- How a database that was restored is noticed, by its leader's row: a counter that the leader remembers, and the
-- transaction that wrote the row. A restore brings back an older counter, or writes the row in another transaction or
-- into another table.

alter table course_sync_leader
    add column renewals   bigint not null default 0,
    add column written_by xid8,
    add column lasts      double precision,
    add column alarm      text;
-- A row that is inserted from now on was written by a restore, or replaces a row that is gone: no transaction has the
-- number 0. The row that is here now keeps null, which is no evidence.
alter table course_sync_leader alter column written_by set default '0';

comment on column course_sync_leader.renewals is
    'Grows with every update of the row. Each instance remembers it: a smaller number shows that the database lost commits.';
comment on column course_sync_leader.written_by is
    'The transaction that wrote this row, which its xmin repeats. After a restore of its data they differ. null: not known.';
comment on column course_sync_leader.lasts is
    'How many seconds the lease lasts without a renewal, as its holder is configured. null: not known.';
comment on column course_sync_leader.incarnation is
    'The database that the last leader knew: course_sync_identity(). Another one may have lost commits.';
comment on column course_sync_leader.alarm is
    'Why commits may be lost, while verifying is true; null: the operator requested the verification.';

-- Every update keeps the evidence, also one by hand or by an earlier version of this program. If the evidence shows a
-- restore already, the update does not hide it: only a leader that has noticed it sets written_by itself.
create function course_sync_leader_written() returns trigger language plpgsql as $$
begin
    new.renewals := greatest(new.renewals, old.renewals + 1);
    if new.written_by is not distinct from old.written_by and old.written_by::xid = old.xmin then
        new.written_by := pg_current_xact_id();
    end if;
    return new;
end $$;
comment on function course_sync_leader_written() is 'Keeps the evidence that the leader''s row was not restored.';

create trigger course_sync_leader_written before update on course_sync_leader
    for each row execute function course_sync_leader_written();

-- Which database this is: cluster, timeline, database, and the two tables that a restore creates again. VACUUM FULL,
-- CLUSTER, TRUNCATE and pg_upgrade keep the numbers of tables. '?' is a part that this role may not read.
create function course_sync_identity() returns text language plpgsql volatile as $$
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
    return concat_ws('/', cluster, timeline, (select oid from pg_database where datname = current_database()),
                     coalesce(to_regclass('course_sync_leader')::oid::text, '?'),
                     coalesce(to_regclass('course_outbox')::oid::text, '?'));
end $$;
comment on function course_sync_identity() is 'Which database this is: cluster, timeline, database, tables.';

-- The same database has a longer name from now on.
update course_sync_batch set incarnation = course_sync_identity()
 where state <> 'closed' and incarnation = course_sync_incarnation();
update course_sync_leader set incarnation = course_sync_identity() where incarnation = course_sync_incarnation();

-- Which run of the server this is: when it started. Empty if this role may not read that.
create function course_sync_server() returns text language plpgsql volatile as $$
begin
    return extract(epoch from pg_postmaster_start_time())::text;
exception when insufficient_privilege or feature_not_supported or undefined_function then
    return '';
end $$;
comment on function course_sync_server() is 'Which run of the server this is: its start, in seconds since 1970.';

-- Courses are claimed only while the leader's row has this value. It has another one as soon as the row was restored.
-- It is null after a restart of the server until the leader has renewed its lease there, because the files may have been
-- replaced by a copy while the server was stopped: the leader compares the row with what it remembers.
create or replace function course_sync_incarnation() returns text language plpgsql volatile as $$
declare
    -- The run of the server in which the leader last renewed its lease. Each session of the daemon sets it.
    known text := coalesce(current_setting('course_sync.server', true), '');
begin
    if known not in ('', course_sync_server()) then
        return null;
    end if;
    return course_sync_identity()
        || case when exists (select from course_sync_leader where written_by::xid <> xmin) then '/restored' else '' end;
end $$;
comment on function course_sync_incarnation() is
    'Which database this is, as course_sync_identity(); with a mark if the leader''s row was restored. null: the server was restarted since the leader''s last renewal.';
