-- Courses that failed over the account's properties go again by themselves when those change. The index holds
-- these alone, however many others failed. Status, and with it every index, changes with each step of a
-- course anyway, so it costs the recording nothing that was cheap.
create index course_outbox_refused_by_schema on course_outbox (id)
    where status = 'failed' and error ->> 'category' = 'VALIDATION_ERROR'
      and (error -> 'http_status' is null or error ->> 'code' = 'PROPERTY_DOESNT_EXIST');
comment on index course_outbox_refused_by_schema is 'Serves the look at failed courses after the account''s properties have changed.';
