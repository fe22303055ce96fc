-- Tables of a catalogue that are attached: their triggers write to the outbox (`course-sync attach`). And a write to the
-- outbox costs less, because most of its cost was the preparation of conditions.

-- Postgres prepares the conditions of all triggers for each statement, and puts the text of an SQL function in place of its
-- call. So long functions in conditions cost more than everything else in a statement that writes one course. What an
-- ordinary course does not need is no longer put there: a function with a setting, or in PL/pgSQL, is only called.
alter function course_sync_are_associations(jsonb) set search_path = pg_catalog, pg_temp;
alter function course_sync_measure(jsonb) set search_path = pg_catalog, pg_temp;

create or replace function course_sync_may_be_large(value jsonb) returns boolean language plpgsql stable parallel safe as $$
declare
    size constant integer := pg_catalog.pg_column_size(value operator(pg_catalog.#>) '{}');
begin
    -- The path '{}' returns the value itself, uncompressed. In 480 bytes there is room for 28 numbers, of 147 kB each; in
    -- 2,000 bytes for 117, of which those with at most 40 digits before the point have at most 16 kB each.
    return case when size operator(pg_catalog.<=) 480 then false
                when size operator(pg_catalog.<=) 2000
                    then value operator(pg_catalog.@?) 'strict $.** ? (@ >= 1e40)'
                      or value operator(pg_catalog.@?) 'strict $.** ? (@ <= -1e40)'
                else true end;
end $$;

create or replace trigger course_outbox_associations_in_hubspots_shape before insert or update of associations on course_outbox
    for each row
    when (new.associations <> '[]' and not course_sync_are_associations(new.associations))
    execute function course_outbox_refuse(
        'course_outbox_associations_in_hubspots_shape',
        'associations are not in HubSpot''s shape',
        '[{"to":{"id":"…"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":0}]}]');

create or replace trigger course_outbox_not_too_large before insert or update of properties, associations on course_outbox
    for each row
    when (case when pg_column_size(new.properties #> '{}') <= 480 and pg_column_size(new.associations #> '{}') <= 480
               then false
               when course_sync_may_be_large(new.properties) or course_sync_may_be_large(new.associations)
               then course_sync_measure(new.properties) + course_sync_measure(new.associations) > 4194304
               else false end)
    execute function course_outbox_refuse_size('course_outbox_not_too_large');

create or replace function course_outbox_is_first_insert() returns boolean language plpgsql volatile as $$
begin
    if pg_catalog.current_setting('course_sync.inserted', true) operator(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.text then
        return false;
    end if;
    return pg_catalog.set_config('course_sync.inserted', pg_catalog.pg_current_xact_id()::pg_catalog.text, true) is not null;
end $$;

create or replace function course_outbox_is_first_change() returns boolean language plpgsql volatile as $$
begin
    if pg_catalog.current_setting('course_sync.changed', true) operator(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.text then
        return false;
    end if;
    return pg_catalog.set_config('course_sync.changed', pg_catalog.pg_current_xact_id()::pg_catalog.text, true) is not null;
end $$;

-- How a value of a column is written in the properties of a course. A value comes as JSON with its type, because the columns
-- of an attached table have any type. In PL/pgSQL, because its text is not put in place of its calls.

create function course_sync_value(value jsonb, type regtype, zone text) returns jsonb language plpgsql stable parallel safe as $$
declare
    kind constant text := jsonb_typeof(value);
    base regtype := type;
    parent oid;
    items jsonb[] := array[value];
    item jsonb;
    part text;
    list text;
begin
    if kind is null then
        return 'null';
    elsif kind = 'boolean' then
        return value;
    elsif kind = 'number' then
        return to_jsonb(trim_scale((value #>> '{}')::numeric));
    end if;
    -- The type that a domain is based on. The types that are built in have smaller numbers.
    while base::oid >= 16384 loop
        select typbasetype into parent from pg_type where oid = base;
        exit when parent is null or parent = 0;
        base := parent;
    end loop;
    if kind in ('array', 'object') then
        select typelem into parent from pg_type where oid = base and typcategory = 'A';
        if parent is null then
            -- A document, or a row type.
            return to_jsonb(value::text);
        end if;
        -- The elements, however many dimensions the array has.
        base := parent;
        items := array(select jsonb_path_query(value, 'strict $.** ? (@.type() != "array" && @.type() != "null")'));
    end if;
    if kind = 'string' and base not in ('date'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype, 'bpchar'::regtype, 'money'::regtype) then
        return value;
    end if;
    foreach item in array items loop
        part := item #>> '{}';
        if jsonb_typeof(item) = 'number' then
            part := trim_scale(part::numeric);
        elsif base = 'bpchar'::regtype then
            part := rtrim(part);
        elsif base = 'money'::regtype then
            part := trim_scale(part::money::numeric);
        elsif base in ('date'::regtype, 'timestamptz'::regtype, 'timestamp'::regtype) and part in ('infinity', '-infinity') then
            -- HubSpot has no infinite date.
            continue;
        elsif base = 'timestamptz'::regtype then
            -- In JSON it has the offset of the session's time zone: the moment is the same, whatever that is. HubSpot's
            -- times have milliseconds.
            part := (to_jsonb(date_trunc('milliseconds', part::timestamptz at time zone 'UTC')) #>> '{}') || 'Z';
        elsif base = 'timestamp'::regtype then
            part := (to_jsonb(date_trunc('milliseconds', part::timestamp at time zone zone at time zone 'UTC')) #>> '{}') || 'Z';
        end if;
        list := concat_ws(';', list, part);
    end loop;
    return coalesce(to_jsonb(list), 'null');
end $$;
comment on function course_sync_value(jsonb, regtype, text) is
    'The value of a column as HubSpot expects it. zone is the time zone of a timestamp that has none.';

create function course_sync_key(separator text, variadic parts jsonb[]) returns text language plpgsql stable parallel safe as $$
declare
    part jsonb;
    key text;
begin
    foreach part in array parts loop
        if part #>> '{}' is null or btrim(part #>> '{}') = '' then
            return null;
        end if;
        key := concat_ws(separator, key, part #>> '{}');
    end loop;
    return key;
end $$;
comment on function course_sync_key(text, jsonb[]) is
    'The course key that the values of columns form; null if one of them is null or blank.';

-- What the outbox would refuse must not fail the write of the catalogue, and must not be lost either.

create table course_sync_refused_change (
    source     text        not null,
    digest     text        not null,
    course_key text,
    reason     text        not null,
    properties text        not null,
    times      bigint      not null default 1,
    first_at   timestamptz not null default now(),
    last_at    timestamptz not null default now(),
    primary key (source, digest)
);
comment on table course_sync_refused_change is
    'Courses of attached tables that the outbox cannot hold. A course is removed when its row is corrected or deleted.';
comment on column course_sync_refused_change.source is 'The attached table, as it is written in SQL.';
comment on column course_sync_refused_change.digest is 'Identifies the course: by its key, or by its properties if it has none.';
comment on column course_sync_refused_change.course_key is 'Its key; null if a column of the key is null or blank.';
comment on column course_sync_refused_change.reason is 'Why the outbox cannot hold it.';
comment on column course_sync_refused_change.properties is 'The beginning of its properties, so that the row can be found.';
comment on column course_sync_refused_change.times is 'How often it was written.';
comment on column course_sync_refused_change.first_at is 'When it was first written.';
comment on column course_sync_refused_change.last_at is 'When it was last written.';

-- The same conditions as those of the outbox.
create function course_sync_is_usable(key text, properties jsonb) returns boolean language sql stable parallel safe
    return coalesce(
        btrim(key) <> '' and length(key) <= 255
        and key !~ case getdatabaseencoding()
                when 'UTF8' then '[\u0001-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]'
                else '[\u0001-\u001f\u007f]' end
        and case when getdatabaseencoding() = 'UTF8' then key is nfc normalized else true end
        -- The associations are empty: '[]'.
        and case when course_sync_may_be_large(properties) then course_sync_measure(properties) + 2 <= 4194304
                 else true end, false);
comment on function course_sync_is_usable(text, jsonb) is 'Whether the outbox can hold a course with this key and these properties.';

create function course_sync_warn(message text) returns boolean language plpgsql volatile
    set search_path = pg_catalog, pg_temp as $$
begin
    raise warning '%', message
        using hint = 'The row of the table was written, but HubSpot does not receive it. course-sync check lists such courses.';
    return false;
end $$;
comment on function course_sync_warn(text) is 'Raises a warning; false.';

-- Security definer, because the writer of the table has no rights on this one. The tables are bound when the function is
-- created, so no caller can put others before them.
create function course_sync_refuse(source text, key text, properties jsonb, archived boolean) returns boolean
    language sql volatile security definer set search_path = pg_catalog, pg_temp
begin atomic
    -- Its row was corrected or deleted.
    delete from course_sync_refused_change as refused
     where archived and refused.source = course_sync_refuse.source
       and refused.digest = md5(coalesce('key ' || key, course_sync_refuse.properties::text));
    insert into course_sync_refused_change as refused (source, digest, course_key, reason, properties)
    select course_sync_refuse.source, md5(coalesce('key ' || key, course_sync_refuse.properties::text)), left(key, 1000),
           case when key is null then 'a column of the key is null or blank'
                when btrim(key) = '' then 'the key is blank'
                when length(key) > 255 then format('the key has %s characters; at most 255 are allowed', length(key))
                when course_sync_is_usable(key, '{}') then 'its properties have more than 4 MiB as text'
                else 'the key has an invisible or control character, or is not in Unicode NFC' end,
           left(course_sync_refuse.properties::text, 1000)
     where not archived
    on conflict (source, digest) do update
        set times = refused.times + 1, last_at = now(), reason = excluded.reason, properties = excluded.properties;
    select case when archived then false
                else course_sync_warn(format('course %L of table %s is not enqueued: its key or its size is not allowed',
                                             left(key, 255), course_sync_refuse.source)) end;
end;
comment on function course_sync_refuse(text, text, jsonb, boolean) is
    'Keeps a course that the outbox cannot hold, or removes it if its row was corrected or deleted (archived). Returns false.';
revoke execute on function course_sync_refuse(text, text, jsonb, boolean) from public;

create function course_sync_forget_refused(source text) returns void language sql volatile
    security definer set search_path = pg_catalog, pg_temp
begin atomic
    delete from course_sync_refused_change as refused where refused.source = course_sync_forget_refused.source;
end;
comment on function course_sync_forget_refused(text) is 'Removes the refused courses of a table that is detached, or read again.';
revoke execute on function course_sync_forget_refused(text) from public;
