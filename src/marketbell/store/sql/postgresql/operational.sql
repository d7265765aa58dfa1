-- Operational messages on PostgreSQL: whom to tell, and what is yet to be told.

-- name: notice_names
-- The names of an endpoint and its application, if its organization has an endpoint of its own
-- that is to be told.
select a.organization, a.public_id, a.uid, e.public_id, e.uid
from endpoint e join application a on a.id = e.application_id
where e.id = :endpoint_id and exists (
  select 1 from application h join endpoint o
    on o.application_id = h.id
  where h.organization = 'operational:' || a.organization and h.uid = 'operational'
    and h.deleted_at is null and o.deleted_at is null and o.disabled = 0);

-- name: notice_insert
-- Keep what is to be told.
insert into notice (public_id, organization, body) values (:public_id, :organization, :body);

-- name: notices
-- What is to be told, oldest first, but not to some.
select id, public_id, organization, body from notice
where organization <> all(array(select jsonb_array_elements_text(:but::jsonb)))
order by id limit :limit::bigint;

-- name: notice_delete
-- It has been told.
delete from notice where id = ?;

-- name: failure_stands
-- Whether a failure moved its delivery, of which nobody has been told: it waits, and so many
-- attempts were counted.
select 1 from delivery where message_id = :message_id and endpoint_id = :endpoint_id
  and claim_number = :claim_number and state = 'pending' and attempt_count = :attempt_count
  and not exists (
    select 1 from announced_delivery
    where message_id = :message_id and endpoint_id = :endpoint_id);

-- name: announced_insert
-- An operator was told that a delivery fails.
insert into announced_delivery (message_id, endpoint_id) values (:message_id, :endpoint_id)
on conflict do nothing;

-- name: announced_delete
-- It fails no more.
delete from announced_delivery where message_id = :message_id and endpoint_id = :endpoint_id;

-- name: announced_prune
-- Announcements of messages that are no longer kept go, up to a limit.
delete from announced_delivery where ctid = any(array(
  select ctid from announced_delivery
  where message_id < (select coalesce(min(id), 0) from message)
  order by message_id, endpoint_id limit :limit::bigint));

-- name: lane_failing_since
-- Since when an endpoint has only failed.
select failing_since from lane where endpoint_id = :endpoint_id;
