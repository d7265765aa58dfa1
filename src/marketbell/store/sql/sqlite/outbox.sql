-- The outbox on SQLite, where no caller has a transaction of its own: only what is asked of rejected ones.

-- name: outbox_take
-- Those of these rows that are there: a JSON list of pairs, transaction and id.
select "transaction", id from outbox
where ("transaction", id) in (
  select json_extract(k.value, '$[0]'), json_extract(k.value, '$[1]') from json_each(:keys) as k);

-- name: outbox_delete
-- Take rows away that are published or rejected in this transaction.
delete from outbox
where ("transaction", id) in (
  select json_extract(k.value, '$[0]'), json_extract(k.value, '$[1]') from json_each(:keys) as k);

-- name: outbox_put
-- Put one in.
insert into outbox (organization, application, body, created_at)
values (:organization, :application, :body, :created_at);

-- name: rejected_insert
-- Keep one that is refused.
insert into outbox_rejected
  (public_id, organization, application, body, created_at, rejected_at, code, reason)
select :public_id, :organization, application, body, created_at, :now, :code, :reason
from outbox where "transaction" = :transaction and id = :id;

-- name: outbox_owner
-- The first and the last organization that has this application, by id or uid.
select min(organization), max(organization) from application
where deleted_at is null and (public_id = :ref or uid = :ref)
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
order by id limit :limit;

-- name: rejected_down
-- The same, the other way round.
select public_id, application, created_at, rejected_at, code, reason
from outbox_rejected
where organization = :organization and id > :low and id < :high
order by id desc limit :limit;

-- name: rejected_one
-- One rejected message with its body.
select public_id, application, created_at, rejected_at, code, reason, body
from outbox_rejected
where public_id = :public_id and organization = :organization;

-- name: rejected_delete
-- Forget one.
delete from outbox_rejected where public_id = :public_id and organization = :organization;

-- name: rejected_prune
-- Forget old ones.
delete from outbox_rejected
where id in (
  select id from outbox_rejected where rejected_at < :before order by rejected_at limit :limit);

-- name: outbox_figures
-- How many wait, how old in milliseconds the first of them is, and how many are rejected.
select
  (select count(*) from (select 1 from outbox limit :limit)),
  (select max(0, cast(unixepoch('subsec') * 1000 as integer) - created_at)
    from outbox order by "transaction", id limit 1),
  (select count(*) from (select 1 from outbox_rejected limit :limit));
