-- What the catalogue writes is looked at when it is written, and not again with every step of a course: a check
-- is evaluated at each update, whatever it changes, and these two were a tenth of a claim and of a record. The
-- conditions, the error code and the names that a catalogue is told stay.

create function course_outbox_refuse() returns trigger language plpgsql as $$
begin
    raise exception using
        errcode = 'check_violation', schema = tg_table_schema, table = tg_table_name, constraint = tg_argv[0],
        message = format('course %L is refused: %s', new.course_key, tg_argv[1]),
        hint = tg_argv[2];
end $$;
comment on function course_outbox_refuse() is
    'Refuses a row, as a check would: its arguments are the name, what is wrong, and what would be right.';

create trigger course_outbox_properties_flat_object before insert or update of properties on course_outbox
    for each row
    -- strict: in lax mode {"x": ["a"]} would pass as if it were {"x": "a"}
    when (not (jsonb_typeof(new.properties) = 'object'
               and not jsonb_path_exists(new.properties, 'strict $.* ? (@.type() == "object" || @.type() == "array")')))
    execute function course_outbox_refuse(
        'course_outbox_properties_flat_object',
        'properties must be a JSON object without nested values',
        'Property name → string, number, boolean or null.');

create trigger course_outbox_associations_in_hubspots_shape before insert or update of associations on course_outbox
    for each row
    when (new.associations is not null and not course_sync_are_associations(new.associations))
    execute function course_outbox_refuse(
        'course_outbox_associations_in_hubspots_shape',
        'associations are not in HubSpot''s shape',
        '[{"to":{"id":"…"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":0}]}]');

alter table course_outbox
    drop constraint course_outbox_properties_flat_object,
    drop constraint course_outbox_associations_in_hubspots_shape;
