-- A course has at most 4 MiB as text, twice the default of batch.max_bytes. The text is not made to find that out: a number
-- such as 1e131071 has a few bytes in the row, and 128 kB as text.

create function course_sync_measure(value jsonb) returns bigint language sql stable parallel safe
    return case
        -- The stored form has at most four times the bytes of the text.
        when pg_column_size(value) > 16777216 then 1099511627776
        when pg_column_size(value #> '{}') > 16777216 then 1099511627776
        -- Numbers, estimated from above. Everything else has at most six times the bytes of the stored form.
        when (select sum(scale(n) + case when abs(n) < 1e40 then 42 when abs(n) < 1e1000 then 1002 else 131074 end)
                from (select number::numeric as n
                        from jsonb_path_query(value, 'strict $.** ? (@.type() == "number")') as number) numbers) > 16777216
            then 1099511627776
        else octet_length(value::text)
    end;
comment on function course_sync_measure(jsonb) is
    'The bytes of a value as text; 1 TiB if it has far too many, because then the text is not made.';

create function course_sync_text_size(value jsonb) returns bigint language sql stable parallel safe
    -- 2,000 bytes have at most 17 MB as text.
    return case when pg_column_size(value #> '{}') > 2000 then course_sync_measure(value)
                else octet_length(value::text) end;
comment on function course_sync_text_size(jsonb) is
    'The bytes of a value as text; 1 TiB if it has far too many. Cheap for an ordinary course.';

create function course_sync_may_be_large(value jsonb) returns boolean language sql stable parallel safe
    -- The path '{}' returns the value itself, uncompressed. In 480 bytes there is room for 28 numbers, of 147 kB each; in
    -- 2,000 bytes for 117, of which those with at most 40 digits before the point have at most 16 kB each.
    return case when pg_column_size(value #> '{}') <= 480 then false
                when pg_column_size(value #> '{}') <= 2000
                    then value @? 'strict $.** ? (@ >= 1e40)' or value @? 'strict $.** ? (@ <= -1e40)'
                else true end;
comment on function course_sync_may_be_large(jsonb) is
    'Whether the value may have more than 4 MiB as text. Cheap; false for an ordinary course.';

create function course_outbox_refuse_size() returns trigger language plpgsql set search_path = pg_catalog, pg_temp as $$
declare
    largest text;
begin
    if jsonb_typeof(new.properties) = 'object' then
        select key into largest from jsonb_each(new.properties)
         order by case when jsonb_typeof(value) <> 'number' then pg_column_size(value)
                       when abs(value::numeric) < 1e40 then scale(value::numeric)
                       else 131072 end desc
         limit 1;
    end if;
    raise exception using
        errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = tg_argv[0],
        message = format('course %L is refused: its properties and associations have more than 4 MiB as text',
                         left(new.course_key, 255))
                  || coalesce(format('; the largest property is %L', left(largest, 255)), ''),
        hint = 'A number is written with all its digits. HubSpot accepts at most 65,536 characters in a property.';
end $$;
comment on function course_outbox_refuse_size() is
    'Refuses a row that is too large, as a check would: its argument is the name.';

create trigger course_outbox_not_too_large before insert or update of properties, associations on course_outbox
    for each row
    when (case when course_sync_may_be_large(new.properties) or course_sync_may_be_large(new.associations)
               then course_sync_measure(new.properties) + course_sync_measure(new.associations) > 4194304
               else false end)
    execute function course_outbox_refuse_size('course_outbox_not_too_large');
