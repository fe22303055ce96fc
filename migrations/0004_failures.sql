-- What the operator's commands ask of the failed courses.

-- Groups are found by leaping from one to the next, and a group's courses latest first, without reading the
-- others: a million courses that failed alike cost as much as ten. Failed courses only, which is a resting
-- status: no statement of the flow touches it twice.
create index course_outbox_failures on course_outbox
    (coalesce(error ->> 'category', ''), coalesce(error ->> 'code', ''), coalesce(error ->> 'property', ''), id)
    where status = 'failed';
comment on index course_outbox_failures is 'Serves the grouping of failed courses by category, code and property.';
