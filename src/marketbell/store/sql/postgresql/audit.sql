-- The audit log on PostgreSQL.

-- name: audit_insert
-- Keep one entry.
insert into audit (public_id, organization, at, actor, operation, application, endpoint, path,
  address, request_id, fields)
values (:public_id, :organization, :at, :actor, :operation, :application, :endpoint, :path,
  :address, :request_id, :fields);

-- name: application_of
-- Whose an application is, and its public id, whether it is still there or deleted.
select organization, public_id from application where id = :id;

-- name: audit_position
-- Where in the order of entries an id stands, or would stand.
select id, public_id = :public_id from audit
where public_id >= :public_id order by public_id limit 1;

-- name: audit_before
-- The last entry that was made before an id.
select id from audit where public_id < :public_id order by public_id desc limit 1;

-- name: audit_by_organization_up
-- The next entries of an organization, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and id > :low and id < :high
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id limit :limit::bigint;

-- name: audit_by_organization_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and id > :low and id < :high
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id desc limit :limit::bigint;

-- name: audit_by_application_up
-- The next entries about one application, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and application = :application and id > :low and id < :high
  and (:actor is null or actor = :actor)
  and (:operation is null or operation = :operation)
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id limit :limit::bigint;

-- name: audit_by_application_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and application = :application and id > :low and id < :high
  and (:actor is null or actor = :actor)
  and (:operation is null or operation = :operation)
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id desc limit :limit::bigint;

-- name: audit_by_actor_up
-- The next entries of one actor, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and actor = :actor and id > :low and id < :high
  and (:operation is null or operation = :operation)
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id limit :limit::bigint;

-- name: audit_by_actor_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and actor = :actor and id > :low and id < :high
  and (:operation is null or operation = :operation)
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id desc limit :limit::bigint;

-- name: audit_by_operation_up
-- The next entries of one operation, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and operation = :operation and id > :low and id < :high
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id limit :limit::bigint;

-- name: audit_by_operation_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where organization = :organization and operation = :operation and id > :low and id < :high
  and (:since is null or at >= :since) and (:until is null or at < :until)
order by id desc limit :limit::bigint;

-- name: audit_between
-- Entries in order of their making, for retention.
select id, at from audit where id > :low and id <= :high order by id limit :limit::bigint;

-- name: audit_delete
-- An entry goes.
delete from audit where id = ?;
