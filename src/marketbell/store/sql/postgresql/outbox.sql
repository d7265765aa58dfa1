-- The outbox on PostgreSQL. Callers fill it by src/marketbell/outbox/insert.sql.

-- part: mine
-- Whether a row is of the applications that this node looks for.
(:slots::text is null
    or (hashtext(application) & 1023)::bigint = any (:slots::text::bigint[])
    or created_at < :late::bigint)
  and application <> all (string_to_array(:but::text, e'\n'))

-- name: outbox_look
-- Rows that have come since a sight, with how many there are at least, and the sight of now; one row without a key if there are none.
with unseen as (
  (select transaction, id, organization, application, body, created_at from outbox
    where transaction >= :horizon::bigint and {mine}
    order by transaction, id limit :limit::bigint + 1)
  union all
  (select transaction, id, organization, application, body, created_at from outbox
    where transaction = any (:running::text::bigint[]) and transaction < :horizon::bigint and {mine}
    order by transaction, id limit :limit::bigint + 1)
), measured as (
  select *, octet_length(body::text) as size, count(*) over () as there
  from unseen
), summed as (
  select *,
    sum(case when size <= :body_max::bigint then size else 0 end)
      over (order by transaction, id) as until,
    row_number() over (order by transaction, id) as place
  from measured
)
select s.sight::text, f.there, f.transaction, f.id, f.organization, f.application,
  case when f.size <= :body_max::bigint then convert_to(f.body::text, 'UTF8') end, f.created_at
from (select pg_current_snapshot() as sight) as s
left join summed as f
  on f.place <= :limit::bigint and (f.place = 1 or f.until <= :bytes_max::bigint)
order by f.transaction, f.id;

-- name: outbox_take
-- Lock those of these rows that nobody else is publishing: a JSON list of pairs, transaction and id.
select transaction, id from outbox
where (transaction, id) in (
  select (k.value ->> 0)::bigint, (k.value ->> 1)::bigint
  from jsonb_array_elements(:keys::text::jsonb) as k)
for update skip locked;

-- name: outbox_delete
-- Take rows away that are published or rejected in this transaction.
delete from outbox
where (transaction, id) in (
  select (k.value ->> 0)::bigint, (k.value ->> 1)::bigint
  from jsonb_array_elements(:keys::text::jsonb) as k);

-- name: outbox_put
-- Put one in.
insert into outbox (organization, application, body, created_at)
values (:organization::text, :application::text, convert_from(:body::bytea, 'UTF8')::json,
  :created_at::bigint);

-- name: rejected_insert
-- Keep one that is refused.
insert into outbox_rejected
  (public_id, organization, application, body, created_at, rejected_at, code, reason)
select :public_id::text, :organization::text, application, body, created_at, :now::bigint,
  :code::text, :reason::text
from outbox where transaction = :transaction::bigint and id = :id::bigint;

-- name: outbox_owner
-- The first and the last organization that has this application, by id or uid.
select min(organization), max(organization) from application
where deleted_at is null and (public_id = :ref::text or uid = :ref::text)
  and organization not like 'operational:%';

-- name: outbox_only_owner
-- The first and the last organization of all.
select min(organization), max(organization) from application
where deleted_at is null and organization not like 'operational:%';

-- name: rejected_position
-- Where in the order of rejected messages an id stands, or would stand.
select id, public_id = :public_id from outbox_rejected
where public_id >= :public_id order by public_id limit 1;

-- name: rejected_up
-- The next rejected messages of an organization, oldest first.
select public_id, application, created_at, rejected_at, code, reason
from outbox_rejected
where organization = :organization and id > :low and id < :high
order by id limit :limit::bigint;

-- name: rejected_down
-- The same, the other way round.
select public_id, application, created_at, rejected_at, code, reason
from outbox_rejected
where organization = :organization and id > :low and id < :high
order by id desc limit :limit::bigint;

-- name: rejected_one
-- One rejected message with its body.
select public_id, application, created_at, rejected_at, code, reason,
  convert_to(body::text, 'UTF8')
from outbox_rejected
where public_id = :public_id and organization = :organization;

-- name: rejected_delete
-- Forget one.
delete from outbox_rejected where public_id = :public_id and organization = :organization;

-- name: rejected_prune
-- Forget old ones.
delete from outbox_rejected
where id in (
  select id from outbox_rejected
  where rejected_at < :before::bigint order by rejected_at limit :limit::bigint);

-- name: outbox_figures
-- How many wait, how old in milliseconds the first of them is, and how many are rejected.
select
  (select count(*) from (select 1 from outbox limit :limit::bigint) as w),
  (select greatest(0, (extract(epoch from clock_timestamp()) * 1000)::bigint - created_at)
    from outbox order by transaction, id limit 1),
  (select count(*) from (select 1 from outbox_rejected limit :limit::bigint) as r);
