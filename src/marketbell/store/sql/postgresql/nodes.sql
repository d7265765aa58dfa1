-- Nodes and their slots on PostgreSQL. Times are those of the database's clock, in milliseconds.

-- name: node_number
-- A number that has not been given out for long.
select nextval('node_number');

-- name: node_register
-- A new node; nothing if another one has the number.
insert into node (number, name, role, version, schema, skew, started_at, lease_until)
select :number::bigint, :name::text, :role::text, :version::text, :schema::bigint, :skew::bigint,
  n.at, n.at + :lease::bigint
from (select (extract(epoch from clock_timestamp()) * 1000)::bigint as at) n
on conflict (number) do nothing
returning id;

-- name: nodes_reap
-- Forget nodes whose lease was over long ago; their slots count as free.
delete from node
where lease_until < (extract(epoch from clock_timestamp()) * 1000)::bigint - :age::bigint;

-- name: node_beat
-- A sign of life: the time, whether the node is known, all nodes, and who has each slot by which fence.
with n as (select (extract(epoch from clock_timestamp()) * 1000)::bigint as at),
beaten as (
  update node set lease_until = n.at + :lease::bigint, leaving = :leaving::bigint,
    fit = :fit::bigint, skew = :skew::bigint
  from n where id = :id returning id)
select (select at from n), exists (select 1 from beaten),
  (select at from n) - (extract(epoch from pg_postmaster_start_time()) * 1000)::bigint,
  (select array_agg(id order by id) from node),
  (select array_agg(case when role = 'api' then 0 else 1 end order by id) from node),
  (select array_agg(leaving order by id) from node),
  (select array_agg(fit order by id) from node),
  (select array_agg(lease_until - (select at from n) order by id) from node),
  (select array_agg(coalesce(node_id, 0) order by slot) from slot),
  (select array_agg(fence order by slot) from slot);

-- name: clock_now
-- The time.
select (extract(epoch from clock_timestamp()) * 1000)::bigint;

-- name: slots_take
-- Take slots that nobody has, or whose node is lost, if their fences are still these.
update slot set node_id = :id::bigint, fence = slot.fence + 1
from unnest(:slots::bigint[], :fences::bigint[]) as seen (slot, fence)
where slot.slot = seen.slot and slot.fence = seen.fence
  and exists (select 1 from node where id = :id)
  and (slot.node_id is null or slot.node_id = :id or not exists (
    select 1 from node where id = slot.node_id
      and lease_until >= (extract(epoch from clock_timestamp()) * 1000)::bigint))
returning slot.slot, slot.fence;

-- name: slots_give_up
-- Slots that a node has no more.
update slot set node_id = null, fence = fence + 1
where slot = any (:slots::bigint[]) and node_id = :id;

-- name: node_leave
-- A node has ended: its slots are free, and it is forgotten.
with gone as (delete from node where id = :id),
freed as (
  update slot set node_id = null, fence = fence + 1 where node_id = :id returning slot)
select count(*) from freed;

-- name: tell
-- Tell all nodes of something that was committed.
select pg_notify(:channel::text, :payload::text);

-- name: nodes_all
-- Every node that is remembered, with how much of its lease is left and how many slots it has.
select n.number, n.name, n.role, n.version, n.schema, n.leaving, n.skew, n.started_at,
  n.lease_until - (extract(epoch from clock_timestamp()) * 1000)::bigint,
  (select count(*) from slot s where s.node_id = n.id), n.fit
from node n order by n.number;
