-- How often a course was in doubt, and in which database a request was noted.

alter table course_outbox add column doubts integer not null default 0;
comment on column course_outbox.doubts is
    'How often its outcome was unknown. Above 0, HubSpot may hold it from an earlier sending; bounds outbox.unconfirmed = "resend".';

alter table course_sync_batch add column incarnation text;
comment on column course_sync_batch.incarnation is
    'The database in which the intent was written: course_sync_incarnation(). In another one, later sendings may be forgotten.';
