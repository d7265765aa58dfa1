-- Retention and present figures on PostgreSQL. Every walk reads a bounded number of rows, and what
-- goes is named by an array or where it stands, so that no plan reads a table to find it.

-- name: payloads_between
-- Payloads in order of their messages: key, time of acceptance, whether it has a time of its own,
-- whether a delivery or a held key may need it, and its size.
select p.message_id, m.created_at,
  (select 1 from payload_expiry x
    where x.expires_at = m.payload_expires_at and x.message_id = m.id) is not null,
  (select 1 from delivery d where d.message_id = m.id limit 1) is not null
    or (select 1 from held_key h where h.message_id = m.id limit 1) is not null,
  length(p.body)
from payload p
cross join lateral (select m.* from message m where m.id = p.message_id offset 0) as m
where p.message_id > :low and p.message_id <= :high order by p.message_id limit :limit::bigint;

-- name: expiries_between
-- Payloads with a time of their own, in order of that time: key, whether a delivery or a held key
-- may need it, and its size.
select x.expires_at, x.message_id,
  (select 1 from delivery d where d.message_id = x.message_id limit 1) is not null
    or (select 1 from held_key h where h.message_id = x.message_id limit 1) is not null,
  (select length(p.body) from payload p where p.message_id = x.message_id)
from payload_expiry x
where (x.expires_at, x.message_id) > (:low_at, :low)
  and (x.expires_at, x.message_id) <= (:high_at, :high)
order by x.expires_at, x.message_id limit :limit::bigint;

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
select id, started_at from attempt where id > :low and id <= :high order by id limit :limit::bigint;

-- name: attempt_delete
-- An attempt goes.
delete from attempt where id = ?;

-- name: messages_between
-- Messages in order of keeping: key, time of acceptance, whether something needs it still, and
-- the time that its payload has of its own. The last one stays, so that no key is used twice.
select m.id, m.created_at,
  (select 1 from delivery d where d.message_id = m.id limit 1) is not null
    or (select 1 from held_key h where h.message_id = m.id limit 1) is not null,
  (select x.expires_at from payload_expiry x
    where x.expires_at = m.payload_expires_at and x.message_id = m.id)
from message m
where m.id > :low and m.id <= :high and m.id < (select max(id) from message)
order by m.id limit :limit::bigint;

-- name: attempts_of_messages_delete
-- Attempts of a run of messages go, up to a limit.
delete from attempt where id = any (array(
  select id from attempt
  where message_id >= :low and message_id <= :high limit :limit::bigint));

-- name: finished_delete
-- Finished deliveries of a run of messages go, up to a limit.
delete from finished_delivery f
using (
  select g.message_id, g.endpoint_id from finished_delivery g
  where g.message_id >= :low and g.message_id <= :high limit :limit::bigint) as gone
where f.message_id = gone.message_id and f.endpoint_id = gone.endpoint_id
  and f.message_id >= :low and f.message_id <= :high;

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
-- Marks of a bucket that is over go, up to a limit. One that is made anew this moment has another
-- bucket when it is looked at again; its ctid is not.
delete from idempotency where bucket = :bucket and ctid = any (array(
  select ctid from idempotency where bucket = :bucket limit :limit::bigint));

-- name: secrets_over_delete
-- Secrets whose overlap has ended go, up to a limit.
delete from secret where id = any (array(
  select id from secret where expires_at <= :now limit :limit::bigint));

-- name: endpoints_deleted
-- Deleted endpoints in order of their end.
select deleted_at, id from endpoint
where deleted_at is not null and (deleted_at, id) > (:low_at, :low)
  and (deleted_at, id) <= (:high_at, :high)
order by deleted_at, id limit :limit::bigint;

-- name: deliveries_pending
-- Pending deliveries of an endpoint.
select message_id from delivery
where endpoint_id = :endpoint_id and state = 'pending' limit :limit::bigint;

-- name: keys_delete
-- Held keys of an endpoint go, up to a limit.
delete from held_key where ctid = any (array(
  select ctid from held_key where endpoint_id = :endpoint_id limit :limit::bigint));

-- name: endpoint_expunge
-- A deleted endpoint goes when nothing points to it any more. The last one stays, so that no key
-- is used twice.
delete from endpoint where id = :endpoint_id
  and id < (select max(id) from endpoint)
  and not exists (select 1 from attempt a
    where a.endpoint_id = :endpoint_id)
  and not exists (select 1 from delivery d
    where d.state = 'sending' and d.endpoint_id = :endpoint_id);

-- name: applications_deleted
-- Deleted applications in order of their end.
select deleted_at, id from application
where deleted_at is not null and (deleted_at, id) > (:low_at, :low)
  and (deleted_at, id) <= (:high_at, :high)
order by deleted_at, id limit :limit::bigint;

-- name: application_expunge
-- A deleted application goes when nothing points to it any more; the last one stays.
delete from application where id = :id
  and id < (select max(id) from application)
  and not exists (select 1 from endpoint e
    where e.application_id = :id)
  and not exists (select 1 from message m
    where m.application_id = :id);

-- name: failing_since
-- Live endpoints that have only failed since before an instant, longest first.
select l.endpoint_id from lane l
join endpoint e on e.id = l.endpoint_id
where l.failing_since is not null and l.failing_since < :before
  and e.disabled = 0 and e.deleted_at is null
order by l.failing_since limit :limit::bigint;

-- name: oldest_due
-- Since when the longest waiting lane that may send has been due.
select min(next_at) from lane
where next_at is not null and next_at <= :now;

-- name: oldest_pending
-- Since when the first delivery has been due that is not claimed, over the lanes whose turn comes
-- next; paused ones have none.
select min(due.due_at) from (
  select endpoint_id from lane where next_at is not null and next_at < 4611686018427387904
  order by next_at limit :limit::bigint) as next
cross join lateral (
  select d.due_at from delivery d
  where d.endpoint_id = next.endpoint_id and d.state = 'pending' and d.due_at <= :now
  order by d.due_at limit 1) as due;

-- name: parked
-- How many deliveries wait for a person because their claims were lost again and again.
select count(*) from (
  select 1 from delivery
  where lost_count > 0 and due_at >= 4611686018427387904 limit 100000) as parked;

-- name: partition_days
-- The days, counted from 1970-01-01, that a table of history has a partition of.
select (to_date(right(c.relname, 8), 'YYYYMMDD') - date '1970-01-01')::bigint
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = to_regclass(:table) order by 1;

-- name: partitions_drop
-- Drop a day of some tables.
select verdict, about
from drop_partitions(string_to_array(:tables, ','), :needs::boolean, :day::bigint, :now::bigint);

-- name: needed_between
-- Messages that an unfinished delivery or a held key needs: key and about when it was accepted.
select needed.message_id, (needed.message_id >> 22) + 1577836800000
from (
  (select distinct d.message_id from delivery d
    where d.message_id > :low and d.message_id <= :high order by d.message_id limit :limit::bigint)
  union
  (select distinct h.message_id from held_key h
    where h.message_id > :low and h.message_id <= :high order by h.message_id limit :limit::bigint)
) as needed
order by needed.message_id limit :limit::bigint;

-- name: event_ids_delete
-- eventIds of messages that were dropped with their day may be used again, up to a limit.
delete from message_event_id where ctid = any (array(
  select ctid from message_event_id
  where message_id >= :low and message_id < :high limit :limit::bigint));

-- name: expiries_delete
-- Notes of payloads' own times that were dropped with their day go, up to a limit.
delete from payload_expiry where ctid = any (array(
  select ctid from payload_expiry
  where message_id >= :low and message_id < :high limit :limit::bigint));

-- name: sizes
-- Bytes of all tables of the schema with their indexes.
select coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint
from pg_class c where c.relnamespace = current_schema()::regnamespace and c.relkind = 'r';

-- name: deliveries_waiting
-- When the messages of unfinished deliveries came, the oldest first.
select m.created_at
from delivery d cross join lateral (
  select m.created_at from message m where m.id = d.message_id offset 0) as m
where d.message_id > 0 order by d.message_id limit :limit::bigint;

-- name: keys_waiting
-- When the messages came that held keys wait for, the oldest first.
select m.created_at
from held_key h cross join lateral (
  select m.created_at from message m where m.id = h.message_id offset 0) as m
where h.message_id > 0 order by h.message_id limit :limit::bigint;

-- name: message_kept
-- Whether there is any message of a range of keys.
select 1 from message where id >= :low and id < :high limit 1;

-- name: payload_kept
-- Whether there is any payload of a range of keys.
select 1 from payload where message_id >= :low and message_id < :high limit 1;

-- name: attempt_kept
-- Whether there is any attempt of a range of keys.
select 1 from attempt where id >= :low and id < :high limit 1;
