-- What HubSpot would refuse or change is refused when it is written. HubSpot refuses a course that repeats an
-- association. It strips invisible characters from a key and composes what is left (Unicode NFC): then the key comes
-- back as another one, and two keys may become the same. Rows that are there already stay as they are.

create function course_outbox_refuse_key() returns trigger language plpgsql as $$
declare
    is_there boolean;
begin
    -- A row from before this migration: to enqueue it again does nothing, as before.
    if tg_op = 'INSERT' then
        execute format('select exists (select from %I.%I where course_key = $1)', tg_table_schema, tg_table_name)
           into is_there using new.course_key;
        if is_there then
            return new;
        end if;
    end if;
    raise exception using
        errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = tg_argv[0],
        message = format('course %L is refused: %s', new.course_key, tg_argv[1]),
        hint = tg_argv[2];
end $$;
comment on function course_outbox_refuse_key() is
    'Refuses a course key as a check would, unless its row is there already: its arguments are the name, what is wrong, and what would be right.';

create function course_outbox_refuse_repeated_association() returns trigger language plpgsql as $$
declare
    repeated text;
begin
    -- Lax paths: this never fails, whatever the shape, which another trigger judges.
    select format('%s (%s %s)', link #>> '{to,id}', min(kind ->> 'associationCategory'), min(kind ->> 'associationTypeId'))
      into repeated
      from jsonb_path_query(new.associations, '$[*]') as link, jsonb_path_query(link, '$.types[*]') as kind
     -- By value: 938 and 938.0 are one number.
     group by link #>> '{to,id}', kind -> 'associationCategory', kind -> 'associationTypeId'
    having count(*) > 1
     limit 1;
    if repeated is not null then
        raise exception using
            errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = tg_argv[0],
            message = format('course %L is refused: the association to %s is repeated', new.course_key, repeated),
            hint = 'Give each association once: HubSpot refuses a course that repeats one.';
    end if;
    return new;
end $$;
comment on function course_outbox_refuse_repeated_association() is
    'Refuses a row that gives the same association twice, as a check would: its argument is the name.';

-- The name comes after that of the trigger for the shape, and so does the trigger. One link of one type cannot repeat.
create trigger course_outbox_associations_not_repeated before insert or update of associations on course_outbox
    for each row
    when (jsonb_path_exists(new.associations, 'lax $[1]') or jsonb_path_exists(new.associations, 'lax $[*].types[1]'))
    execute function course_outbox_refuse_repeated_association('course_outbox_associations_not_repeated');

-- Only UTF8 has these characters under these numbers; other encodings have the first ones.
create trigger course_outbox_course_key_visible before insert or update of course_key on course_outbox
    for each row
    when (new.course_key ~ case getdatabaseencoding()
              when 'UTF8' then
                  '[\u0001-\u001f\u007f-\u009f\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]'
              else '[\u0001-\u001f\u007f]' end)
    execute function course_outbox_refuse_key(
        'course_outbox_course_key_visible',
        'course_key holds an invisible or control character',
        'Leave the character out: HubSpot strips it, and would hold the course under another key.');

-- Elsewhere the condition itself would fail.
create trigger course_outbox_course_key_composed before insert or update of course_key on course_outbox
    for each row
    when (case when getdatabaseencoding() = 'UTF8' then new.course_key is not nfc normalized else false end)
    execute function course_outbox_refuse_key(
        'course_outbox_course_key_composed',
        'course_key is not in Unicode NFC',
        'Write normalize(course_key, NFC): HubSpot does so itself, and would hold the course under another key.');
