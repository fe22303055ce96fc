-- An earlier version does not know that a pending course may be in an open request: it would send the course again. So it
-- does not become the leader while such requests are open. It waits as a standby until a newer version has settled them.

create function course_sync_leader_keep_version() returns trigger language plpgsql as $$
declare
    has_open boolean;
begin
    execute format('select exists (select from %I.course_sync_batch where state = ''open'' and revisions is not null)',
                   tg_table_schema) into has_open;
    if has_open then
        return null;
    end if;
    return new;
end $$;
comment on function course_sync_leader_keep_version() is
    'Ignores a change of the leader by an earlier version while requests of a newer one are open.';

-- An earlier version does not set written_by. The name comes before that of the trigger that sets it otherwise.
create trigger course_sync_leader_keep_version before update on course_sync_leader
    for each row
    when (new.holder is distinct from old.holder and new.written_by is not distinct from old.written_by)
    execute function course_sync_leader_keep_version();
