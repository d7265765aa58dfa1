-- The audit log on PostgreSQL.
--
-- A condition that is not always asked stands in a CASE: of that the planner expects half of the
-- rows to pass, and of an OR next to none, for which it would read all and sort.

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
where (organization, id) > (:organization, :low) and (organization, id) < (:organization, :high)
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization, id limit :limit::bigint;

-- name: audit_by_organization_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, id) > (:organization, :low) and (organization, id) < (:organization, :high)
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization desc, id desc limit :limit::bigint;

-- name: audit_by_application_up
-- The next entries about one application, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, application, id) > (:organization, :application, :low)
  and (organization, application, id) < (:organization, :application, :high) and application is not null
  and case when :actor::text is null then true else actor = :actor end
  and case when :operation::text is null then true else operation = :operation end
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization, application, id limit :limit::bigint;

-- name: audit_by_application_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, application, id) > (:organization, :application, :low)
  and (organization, application, id) < (:organization, :application, :high) and application is not null
  and case when :actor::text is null then true else actor = :actor end
  and case when :operation::text is null then true else operation = :operation end
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization desc, application desc, id desc limit :limit::bigint;

-- name: audit_by_actor_up
-- The next entries of one actor, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, actor, id) > (:organization, :actor, :low)
  and (organization, actor, id) < (:organization, :actor, :high)
  and case when :operation::text is null then true else operation = :operation end
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization, actor, id limit :limit::bigint;

-- name: audit_by_actor_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, actor, id) > (:organization, :actor, :low)
  and (organization, actor, id) < (:organization, :actor, :high)
  and case when :operation::text is null then true else operation = :operation end
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization desc, actor desc, id desc limit :limit::bigint;

-- name: audit_by_operation_up
-- The next entries of one operation, oldest first.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, operation, id) > (:organization, :operation, :low)
  and (organization, operation, id) < (:organization, :operation, :high)
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization, operation, id limit :limit::bigint;

-- name: audit_by_operation_down
-- The same, the other way round.
select id, public_id, organization, at, actor, operation, application, endpoint, path, address, request_id,
  fields
from audit
where (organization, operation, id) > (:organization, :operation, :low)
  and (organization, operation, id) < (:organization, :operation, :high)
  and case when :since::bigint is null then true else at >= :since end
  and case when :until::bigint is null then true else at < :until end
order by organization desc, operation desc, id desc limit :limit::bigint;

-- name: audit_between
-- Entries in order of their making, for retention.
select id, at from audit where id > :low and id <= :high order by id limit :limit::bigint;

-- name: audit_delete
-- An entry goes.
delete from audit where id = ?;
