-- Figures of endpoints by hour on PostgreSQL.

-- name: figures
-- The sums of an endpoint's figures over a run of hours.
with recursive hours (hour) as (
  select :first union all select hour + 1 from hours where hour < :last)
select coalesce(sum(h.born), 0), coalesce(sum(h.delivered), 0), coalesce(sum(h.failed), 0),
  coalesce(sum(h.cancelled), 0), coalesce(sum(h.accepted), 0), coalesce(sum(h.refused), 0)
from hours join endpoint_hour h on h.hour = hours.hour and h.endpoint_id = :endpoint_id;

-- name: tallies
-- What has not been added up, in order of transactions.
select id, counts from tally order by id;

-- name: figures_old
-- Whether there are figures of hours that are over for long.
select 1 from endpoint_hour where hour < :before limit 1;

-- name: tallies_delete
-- What has been added up goes.
delete from tally where id <= :last;

-- name: figures_add
-- Add to the figures of an endpoint and an hour.
insert into endpoint_hour (hour, endpoint_id, born, delivered, failed, cancelled, accepted, refused)
values (?, ?, ?, ?, ?, ?, ?, ?)
on conflict (hour, endpoint_id) do update set
  born = born + excluded.born,
  delivered = delivered + excluded.delivered,
  failed = failed + excluded.failed,
  cancelled = cancelled + excluded.cancelled,
  accepted = accepted + excluded.accepted,
  refused = refused + excluded.refused;

-- name: figures_delete
-- Figures of hours that are over for long go, up to a limit.
delete from endpoint_hour where (hour, endpoint_id) in (
  select hour, endpoint_id from endpoint_hour where hour < :before order by hour limit :limit::bigint);

-- name: sending
-- How many deliveries of an endpoint and of messages of a time are being sent.
select count(*)
from delivery d join message m on m.id = d.message_id
where d.state = 'sending' and d.endpoint_id = :endpoint_id
  and m.created_at >= :since and m.created_at < :until;
