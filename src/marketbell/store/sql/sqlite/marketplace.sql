-- Statements of the marketplaces' things. Conditions that are not asked arrive as null, or as
-- the widest span of time; what drives each list is in its name.

-- name: entity_by_number
-- One thing of an application.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where kind = :kind and number = :number and application_id = :application_id;

-- name: entities_by_number
-- Those of some numbers; few enough to be sorted.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where kind = :kind and number in (select value from json_each(:numbers))
  and application_id = :application_id
  and (:keys is null or key in (select value from json_each(:keys)))
  and (:parent is null or parent = :parent)
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by
  case when :down then -created_at else created_at end,
  case when :down then -number else number end
limit :limit offset :offset;

-- name: entities_by_key
-- Those of some keys; few enough to be sorted.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_key
where application_id = :application_id and kind = :kind
  and key in (select value from json_each(:keys)) and key <> ''
  and (:parent is null or parent = :parent)
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by
  case when :down then -created_at else created_at end,
  case when :down then -number else number end
limit :limit offset :offset;

-- name: entities_by_parent
-- Those that belong to one thing; few enough to be sorted.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_parent
where application_id = :application_id and kind = :kind and parent = :parent and parent <> 0
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by
  case when :down then -created_at else created_at end,
  case when :down then -number else number end
limit :limit offset :offset;

-- name: entities_created_up
-- In order of creation, oldest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_created
where application_id = :application_id and kind = :kind
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by created_at, number
limit :limit offset :offset;

-- name: entities_updated_up
-- In order of their last change, oldest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_updated
where application_id = :application_id and kind = :kind
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by updated_at, number
limit :limit offset :offset;

-- name: entities_state_up
-- Of one state in order of creation, oldest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_state
where application_id = :application_id and kind = :kind and state = :state
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by created_at, number
limit :limit offset :offset;

-- name: entities_created_down
-- In order of creation, newest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_created
where application_id = :application_id and kind = :kind
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by created_at desc, number desc
limit :limit offset :offset;

-- name: entities_updated_down
-- In order of their last change, newest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_updated
where application_id = :application_id and kind = :kind
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by updated_at desc, number desc
limit :limit offset :offset;

-- name: entities_state_down
-- Of one state in order of creation, newest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity indexed by entity_state
where application_id = :application_id and kind = :kind and state = :state
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
order by created_at desc, number desc
limit :limit offset :offset;

-- name: entity_counts
-- How many of each state.
select state, count(*)
from entity indexed by entity_state
where application_id = :application_id and kind = :kind
  and (:numbers is null or number in (select value from json_each(:numbers)))
  and (:keys is null or key in (select value from json_each(:keys)))
  and (:parent is null or parent = :parent)
  and (:states is null or state in (select value from json_each(:states)))
  and created_at >= :created_since and created_at < :created_until
  and updated_at >= :updated_since and updated_at < :updated_until
group by state;

-- name: entity_revisions
-- The revisions that are kept of some numbers, and whose they are.
select number, revision, application_id
from entity
where kind = :kind and number in (select value from json_each(:numbers));

-- name: entity_keys_taken
-- Things of an application and kind that alone may have one of these keys.
select number, key
from entity indexed by entity_sole
where application_id = :application_id and kind = :kind and sole = 1
  and key in (select value from json_each(:keys));

-- name: entity_insert
-- A new thing.
insert into entity
  (application_id, kind, number, key, sole, parent, state, over, revision, body, created_at,
   updated_at)
values (:application_id, :kind, :number, :key, :sole, :parent, :state, :over, 1, :body, :created_at,
  :now);

-- name: entity_update
-- A thing as it is from now on.
update entity
set key = :key, sole = :sole, parent = :parent, state = :state, over = :over,
  revision = revision + 1, body = :body, updated_at = :now
where kind = :kind and number = :number and application_id = :application_id;

-- name: entity_numbers_take
-- The next numbers of a kind; the last of them.
insert into entity_number (kind, last) values (:kind, :count)
on conflict (kind) do update set last = last + excluded.last
returning last;

-- name: application_alive
-- Whether an application is there and not deleted.
select 1 from application where id = :application_id and deleted_at is null;

-- name: entities_drop
-- Things of a deleted application, a bounded number of them.
delete from entity where (kind, number) in (
  select kind, number from entity indexed by entity_created
  where application_id = :application_id limit :limit);

-- name: entities_over
-- Things of a kind that have ended, in order of their last change: key, its time, whose it is,
-- and whether something that belongs to it has not ended or not been left alone for as long.
select e.updated_at, e.number, e.application_id, exists (
  select 1 from entity c indexed by entity_parent
  where c.application_id = e.application_id and c.kind in (select value from json_each(:parts))
    and c.parent = e.number and c.parent <> 0 and (c.over = 0 or c.updated_at > :cutoff))
from entity e indexed by entity_over
where e.over = 1 and e.kind = :kind and (e.updated_at, e.number) > (:low_at, :low)
  and (e.updated_at, e.number) <= (:high_at, :high)
order by e.updated_at, e.number limit :limit;

-- name: entity_parts_drop
-- What belongs to a thing goes.
delete from entity
where (kind, number) in (
  select kind, number from entity indexed by entity_parent
  where application_id = :application_id and kind in (select value from json_each(:parts))
    and parent = :number and parent <> 0);

-- name: entity_drop
-- A thing goes.
delete from entity where kind = :kind and number = :number;

-- name: credentials_drop
-- User names of a deleted application, a bounded number of them.
delete from credential where id in (
  select id from credential indexed by credential_application
  where application_id = :application_id limit :limit);
