-- Figures of endpoints by hour on PostgreSQL.

-- name: figures
-- The sums of an endpoint's figures over a run of hours.
with recursive hours (hour) as (
  select :first::bigint union all select hour + 1 from hours where hour < :last)
select coalesce(sum(h.born), 0)::bigint, coalesce(sum(h.delivered), 0)::bigint,
  coalesce(sum(h.failed), 0)::bigint, coalesce(sum(h.cancelled), 0)::bigint,
  coalesce(sum(h.accepted), 0)::bigint, coalesce(sum(h.refused), 0)::bigint
from hours
cross join lateral (
  select e.* from endpoint_hour e
  where e.hour = hours.hour and e.endpoint_id = :endpoint_id offset 0) as h;

-- name: tallies
-- What has not been added up, in order of transactions.
select id, counts from tally order by id;

-- name: figures_old
-- Whether there are figures of hours that are over for long.
select 1 from endpoint_hour where hour < :before limit 1;

-- name: tallies_delete
-- What has been added up goes.
delete from tally
where id = any (array(select jsonb_array_elements_text(:keys::text::jsonb)::bigint));

-- name: figures_add
-- Add to the figures of an endpoint and an hour.
insert into endpoint_hour (hour, endpoint_id, born, delivered, failed, cancelled, accepted, refused)
values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict (hour, endpoint_id) do update set
  born = endpoint_hour.born + excluded.born,
  delivered = endpoint_hour.delivered + excluded.delivered,
  failed = endpoint_hour.failed + excluded.failed,
  cancelled = endpoint_hour.cancelled + excluded.cancelled,
  accepted = endpoint_hour.accepted + excluded.accepted,
  refused = endpoint_hour.refused + excluded.refused;

-- name: figures_delete
-- Figures of hours that are over for long go, up to a limit.
delete from endpoint_hour where ctid = any (array(
  select ctid from endpoint_hour where hour < :before order by hour limit :limit::bigint));

-- name: sending
-- How many deliveries of an endpoint and of messages of a time are being sent.
select count(*)
from delivery d
cross join lateral (select m.* from message m where m.id = d.message_id offset 0) as m
where d.state = 'sending' and d.endpoint_id = :endpoint_id
  and m.created_at >= :since and m.created_at < :until;
