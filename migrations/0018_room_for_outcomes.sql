-- The outcome of a course is written into the page that holds its row. With less free space, the new row version goes to
-- another page, and the whole row is written to the WAL once more. A row takes the same space in the end, because its first
-- version becomes free. Existing pages stay as they are; the lock lasts a moment and does not wait for readers or writers.
alter table course_outbox set (fillfactor = 50);
