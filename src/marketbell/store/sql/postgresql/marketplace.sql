-- Statements of the marketplaces' things. Conditions that are not asked arrive as null, or as
-- the widest span of time; what drives each list is in its name.
--
-- A condition that is not always asked stands in a CASE: of that the planner expects half of the
-- rows to pass, and of an OR next to none, for which it would read all and sort.

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
where kind = :kind and number = any(array(select jsonb_array_elements_text(:numbers::jsonb)::bigint))
  and application_id = :application_id
  and case when :keys::text is null then true
    else key = any(array(select jsonb_array_elements_text(:keys::jsonb))) end
  and case when :parent::bigint is null then true else parent = :parent end
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when created_at >= :created_since then created_at < :created_until else false end
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by
  case when :down::bigint <> 0 then -created_at else created_at end,
  case when :down::bigint <> 0 then -number else number end
limit :limit::bigint offset :offset;

-- name: entities_by_key
-- Those of some keys; few enough to be sorted.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where application_id = :application_id and kind = :kind
  and key = any(array(select jsonb_array_elements_text(:keys::jsonb))) and key <> ''
  and case when :parent::bigint is null then true else parent = :parent end
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when created_at >= :created_since then created_at < :created_until else false end
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by
  case when :down::bigint <> 0 then -created_at else created_at end,
  case when :down::bigint <> 0 then -number else number end
limit :limit::bigint offset :offset;

-- name: entities_by_parent
-- Those that belong to one thing; few enough to be sorted.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where application_id = :application_id and kind = :kind and parent = :parent and parent <> 0
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when created_at >= :created_since then created_at < :created_until else false end
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by
  case when :down::bigint <> 0 then -created_at else created_at end,
  case when :down::bigint <> 0 then -number else number end
limit :limit::bigint offset :offset;

-- name: entities_created_up
-- In order of creation, oldest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where (application_id, kind, created_at) >= (:application_id, :kind, :created_since)
  and (application_id, kind, created_at) < (:application_id, :kind, :created_until)
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by application_id, kind, created_at, number
limit :limit::bigint offset :offset;

-- name: entities_updated_up
-- In order of their last change, oldest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where (application_id, kind, updated_at) >= (:application_id, :kind, :updated_since)
  and (application_id, kind, updated_at) < (:application_id, :kind, :updated_until)
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when created_at >= :created_since then created_at < :created_until else false end
order by application_id, kind, updated_at, number
limit :limit::bigint offset :offset;

-- name: entities_state_up
-- Of one state in order of creation, oldest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where (application_id, kind, state, created_at)
    >= (:application_id, :kind, :state, :created_since)
  and (application_id, kind, state, created_at)
    < (:application_id, :kind, :state, :created_until)
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by application_id, kind, state, created_at, number
limit :limit::bigint offset :offset;

-- name: entities_created_down
-- In order of creation, newest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where (application_id, kind, created_at) >= (:application_id, :kind, :created_since)
  and (application_id, kind, created_at) < (:application_id, :kind, :created_until)
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by application_id desc, kind desc, created_at desc, number desc
limit :limit::bigint offset :offset;

-- name: entities_updated_down
-- In order of their last change, newest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where (application_id, kind, updated_at) >= (:application_id, :kind, :updated_since)
  and (application_id, kind, updated_at) < (:application_id, :kind, :updated_until)
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when created_at >= :created_since then created_at < :created_until else false end
order by application_id desc, kind desc, updated_at desc, number desc
limit :limit::bigint offset :offset;

-- name: entities_state_down
-- Of one state in order of creation, newest first.
select application_id, kind, number, key, sole, parent, state, over, revision, body,
  created_at, updated_at
from entity
where (application_id, kind, state, created_at)
    >= (:application_id, :kind, :state, :created_since)
  and (application_id, kind, state, created_at)
    < (:application_id, :kind, :state, :created_until)
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
order by application_id desc, kind desc, state desc, created_at desc, number desc
limit :limit::bigint offset :offset;

-- name: entity_counts
-- How many of each state.
select state, count(*)
from entity
where application_id = :application_id and kind = :kind
  and case when :numbers::text is null then true
    else number = any(array(select jsonb_array_elements_text(:numbers::jsonb)::bigint)) end
  and case when :keys::text is null then true
    else key = any(array(select jsonb_array_elements_text(:keys::jsonb))) end
  and case when :parent::bigint is null then true else parent = :parent end
  and case when :states::text is null then true
    else state = any(array(select jsonb_array_elements_text(:states::jsonb))) end
  and case when created_at >= :created_since then created_at < :created_until else false end
  and case when updated_at >= :updated_since then updated_at < :updated_until else false end
group by state;

-- name: entity_revisions
-- The revisions that are kept of some numbers, and whose they are.
select number, revision, application_id
from entity
where kind = :kind and number = any(array(select jsonb_array_elements_text(:numbers::jsonb)::bigint));

-- name: entity_keys_taken
-- Things of an application and kind that alone may have one of these keys.
select number, key
from entity
where application_id = :application_id and kind = :kind and sole = 1
  and key = any(array(select jsonb_array_elements_text(:keys::jsonb)));

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
on conflict (kind) do update set last = entity_number.last + excluded.last
returning last;

-- name: application_alive
-- Whether an application is there and not deleted.
select 1 from application where id = :application_id and deleted_at is null;

-- name: entities_drop
-- Things of a deleted application, a bounded number of them.
delete from entity where ctid = any(array(
  select ctid from entity where application_id = :application_id
  order by application_id, kind, created_at, number limit :limit::bigint));

-- name: entities_over
-- Things of a kind that have ended, in order of their last change: key, its time, whose it is,
-- and whether something that belongs to it has not ended or not been left alone for as long.
select e.updated_at, e.number, e.application_id, (
  select true from entity c
  where c.application_id = e.application_id and c.kind = any(array(select jsonb_array_elements_text(:parts::jsonb)))
    and c.parent = e.number and c.parent <> 0 and (c.over = 0 or c.updated_at > :cutoff)
  limit 1) is not null
from entity e
where e.over = 1 and e.kind = :kind and (e.updated_at, e.number) > (:low_at, :low)
  and (e.updated_at, e.number) <= (:high_at, :high)
order by e.updated_at, e.number limit :limit::bigint;

-- name: entity_parts_drop
-- What belongs to a thing goes.
delete from entity
where ctid = any(array(
  select ctid from entity
  where application_id = :application_id and kind = any(array(select jsonb_array_elements_text(:parts::jsonb)))
    and parent = :number and parent <> 0));

-- name: entity_drop
-- A thing goes.
delete from entity where kind = :kind and number = :number;

-- name: credentials_drop
-- User names of a deleted application, a bounded number of them.
delete from credential where id = any(array(
  select id from credential where application_id = :application_id
  order by application_id limit :limit::bigint));
