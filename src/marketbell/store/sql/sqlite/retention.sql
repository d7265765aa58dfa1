-- Retention and present figures on SQLite. Every walk reads a bounded number of rows.

-- name: payloads_between
-- Payloads in order of their messages: key, time of acceptance, whether it has a time of its own,
-- whether a delivery or a held key may need it, and its size.
select p.message_id, m.created_at,
  exists (select 1 from payload_expiry x
    where x.expires_at = m.payload_expires_at and x.message_id = m.id),
  exists (select 1 from delivery d where d.message_id = m.id)
    or exists (select 1 from held_key h where h.message_id = m.id),
  length(p.body)
from payload p cross join message m on m.id = p.message_id
where p.message_id > :low and p.message_id <= :high order by p.message_id limit :limit;

-- name: expiries_between
-- Payloads with a time of their own, in order of that time: key, whether a delivery or a held key
-- may need it, and its size.
select x.expires_at, x.message_id,
  exists (select 1 from delivery d where d.message_id = x.message_id)
    or exists (select 1 from held_key h where h.message_id = x.message_id),
  (select length(p.body) from payload p where p.message_id = x.message_id)
from payload_expiry x
where (x.expires_at, x.message_id) > (:low_at, :low)
  and (x.expires_at, x.message_id) <= (:high_at, :high)
order by x.expires_at, x.message_id limit :limit;

-- name: deliveries_of_message
-- The unfinished deliveries of a message, whether their endpoint has been disabled or deleted, and
-- whose it is.
select d.endpoint_id, d.state,
  e.id is null or e.disabled = 1 or e.deleted_at is not null, e.application_id
from delivery d left join endpoint e on e.id = d.endpoint_id
where d.message_id = :message_id;

-- name: keys_held_by_message
-- The keys that wait for a message, and whether their endpoint has been disabled or deleted.
select h.endpoint_id, h.order_key, e.id is null or e.disabled = 1 or e.deleted_at is not null
from held_key h left join endpoint e on e.id = h.endpoint_id
where h.message_id = :message_id;

-- name: payload_delete
-- A payload goes.
delete from payload where message_id = ?;

-- name: expiry_delete
-- The note of a payload's own time goes.
delete from payload_expiry where expires_at = ? and message_id = ?;

-- name: attempts_between
-- Attempts in order of recording.
select id, started_at from attempt where id > :low and id <= :high order by id limit :limit;

-- name: attempt_delete
-- An attempt goes.
delete from attempt where id = ?;

-- name: messages_between
-- Messages in order of keeping: key, time of acceptance, whether something needs it still, and
-- the time that its payload has of its own. The last one stays, so that no key is used twice.
select m.id, m.created_at,
  exists (select 1 from delivery d where d.message_id = m.id)
    or exists (select 1 from held_key h where h.message_id = m.id),
  (select x.expires_at from payload_expiry x
    where x.expires_at = m.payload_expires_at and x.message_id = m.id)
from message m
where m.id > :low and m.id <= :high and m.id < (select max(id) from message)
order by m.id limit :limit;

-- name: attempts_of_messages_delete
-- Attempts of a run of messages go, up to a limit.
delete from attempt where id in (
  select id from attempt indexed by attempt_message
  where message_id >= :low and message_id <= :high limit :limit);

-- name: finished_delete
-- Finished deliveries of a run of messages go, up to a limit.
delete from finished_delivery where (message_id, endpoint_id) in (
  select message_id, endpoint_id from finished_delivery
  where message_id >= :low and message_id <= :high limit :limit);

-- name: payloads_delete
-- Payloads of a run of messages go.
delete from payload where message_id >= :low and message_id <= :high;

-- name: messages_delete
-- A run of messages goes.
delete from message where id >= :low and id <= :high;

-- name: bucket_after
-- The next bucket of idempotency marks.
select min(bucket) from idempotency where bucket > :bucket;

-- name: marks_delete
-- Marks of a bucket that is over go, up to a limit.
delete from idempotency where (bucket, sequence) in (
  select bucket, sequence from idempotency where bucket = :bucket order by sequence limit :limit);

-- name: secrets_over_delete
-- Secrets whose overlap has ended go, up to a limit.
delete from secret where id in (
  select id from secret indexed by secret_expiry where expires_at <= :now limit :limit);

-- name: endpoints_deleted
-- Deleted endpoints in order of their end.
select deleted_at, id from endpoint indexed by endpoint_deleted
where deleted_at is not null and (deleted_at, id) > (:low_at, :low)
  and (deleted_at, id) <= (:high_at, :high)
order by deleted_at, id limit :limit;

-- name: deliveries_pending
-- Pending deliveries of an endpoint.
select message_id from delivery indexed by delivery_due
where endpoint_id = :endpoint_id and state = 'pending' limit :limit;

-- name: keys_delete
-- Held keys of an endpoint go, up to a limit.
delete from held_key where (endpoint_id, order_key) in (
  select endpoint_id, order_key from held_key where endpoint_id = :endpoint_id limit :limit);

-- name: endpoint_expunge
-- A deleted endpoint goes when nothing points to it any more. The last one stays, so that no key
-- is used twice. All attempts at it must have been noted.
delete from endpoint where id = :endpoint_id
  and id < (select max(id) from endpoint)
  and not exists (select 1 from endpoint_attempt a where a.endpoint_id = :endpoint_id)
  and not exists (select 1 from delivery d indexed by delivery_leased
    where d.state = 'sending' and d.endpoint_id = :endpoint_id);

-- name: applications_deleted
-- Deleted applications in order of their end.
select deleted_at, id from application indexed by application_deleted
where deleted_at is not null and (deleted_at, id) > (:low_at, :low)
  and (deleted_at, id) <= (:high_at, :high)
order by deleted_at, id limit :limit;

-- name: application_expunge
-- A deleted application goes when nothing points to it any more; the last one stays. All of its
-- messages must have been labelled.
delete from application where id = :id
  and id < (select max(id) from application)
  and not exists (select 1 from endpoint e indexed by endpoint_application
    where e.application_id = :id)
  and not exists (select 1 from message_label l where l.application_id = :id and l.label = '');

-- name: failing_since
-- Live endpoints that have only failed since before an instant, longest first.
select l.endpoint_id from lane l indexed by lane_failing
cross join endpoint e on e.id = l.endpoint_id
where l.failing_since is not null and l.failing_since < :before
  and e.disabled = 0 and e.deleted_at is null
order by l.failing_since limit :limit;

-- name: oldest_due
-- Since when the longest waiting lane that may send has been due.
select min(next_at) from lane indexed by lane_next
where next_at is not null and next_at <= :now;

-- name: oldest_pending
-- Since when the first delivery has been due that is not claimed, over the lanes whose turn comes
-- next; paused ones have none.
select min(due_at) from (
  select (select min(d.due_at) from delivery d indexed by delivery_due
    where d.endpoint_id = next.endpoint_id and d.state = 'pending') as due_at
  from (select endpoint_id from lane indexed by lane_next
    where next_at is not null and next_at < 4611686018427387904
    order by next_at limit :limit) as next)
where due_at <= :now;

-- name: parked
-- How many deliveries wait for a person because their claims were lost again and again.
select count(*) from (
  select 1 from delivery indexed by delivery_parked
  where lost_count > 0 and due_at >= 4611686018427387904 limit 100000);

-- name: deliveries_waiting
-- When the messages of unfinished deliveries came, the oldest first.
select m.created_at
from delivery d cross join message m on m.id = d.message_id
where d.message_id > 0 order by d.message_id limit :limit;

-- name: keys_waiting
-- When the messages came that held keys wait for, the oldest first.
select m.created_at
from held_key h cross join message m on m.id = h.message_id
where h.message_id > 0 order by h.message_id limit :limit;
