-- Several outboxes may be in one database, each in a schema of its own; and the functions work whatever the search path
-- of the session is in which they run.

-- A notification names the schema, quoted as in SQL, so that it wakes only the daemon of that schema. The lock, too,
-- belongs to one table: an open transaction that writes to one outbox must not silence the others.
create or replace function course_outbox_wake() returns trigger language plpgsql
    set search_path = pg_catalog, pg_temp as $$
begin
    if pg_try_advisory_xact_lock(7245010001 # tg_relid::bigint) then
        perform pg_notify('course_outbox', quote_ident(tg_table_schema));
    end if;
    return null;
end $$;
comment on function course_outbox_wake() is 'Notifies the daemon of this schema that courses were enqueued.';

-- A search path may put functions of the same names before those of Postgres.
alter function course_outbox_refuse() set search_path = pg_catalog, pg_temp;
alter function course_outbox_refuse_key() set search_path = pg_catalog, pg_temp;
alter function course_outbox_refuse_repeated_association() set search_path = pg_catalog, pg_temp;

-- The same condition as before, now bound to the functions of Postgres when it is created: a setting would cost more
-- than the condition itself.
create or replace function course_sync_are_associations(value jsonb) returns boolean language sql immutable parallel safe
    return case when jsonb_typeof(value) = 'array' then
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
    else false end;
