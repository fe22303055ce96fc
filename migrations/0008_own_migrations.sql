-- The table in which this program keeps what it applied is its own, since the catalogue may keep its migrations in
-- the same database by the same library; and a batch that was never sent is told from one whose answer was lost.

comment on table course_sync_migrations is 'Which changes to the schema of course-sync were applied.';
comment on column course_sync_migrations.version is 'The number of the file in migrations/.';
comment on column course_sync_migrations.description is 'The rest of its name.';
comment on column course_sync_migrations.installed_on is 'When it was applied.';
comment on column course_sync_migrations.success is 'Always true: what fails leaves no row.';
comment on column course_sync_migrations.checksum is 'Of the file as it was applied; it may not change afterwards.';
comment on column course_sync_migrations.execution_time is 'How long it took, in nanoseconds.';

comment on column course_sync_batch.answered_at is 'When the request ended, or was given up unsent: then there is no outcome.';
comment on column course_sync_batch.outcome is 'How it ended, in the words of the metric requests_total; null: not sent, not ended, or a look at HubSpot, of which it is not kept.';
