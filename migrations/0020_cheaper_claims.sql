-- The courses of open requests, for each claim. Arrays that are expanded in a select list need not be stored first, as they are
-- in a from clause.
create or replace function course_sync_in_flight()
    returns table (batch_id uuid, claim_number bigint, id bigint, revision bigint) language sql stable
begin atomic
    select c.batch_id, c.claim_number, c.id, c.revision
      from (select b.batch_id, b.claim_number, unnest(b.row_ids) as id, unnest(b.revisions) as revision, b.recorded
              from course_sync_batch b where b.state = 'open') c
     where c.id <> all (c.recorded);
end;
