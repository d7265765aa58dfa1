-- Applications, endpoints, secrets and event types on PostgreSQL.

-- name: application_id_by_public_id
-- Which live application has this id.
select id from application
where public_id = :ref and organization = :organization and deleted_at is null;

-- name: application_id_by_uid
-- Which live application has this uid.
select id from application
where uid = :ref and organization = :organization and deleted_at is null;

-- name: application
-- One live application.
select id, public_id, organization, uid, name, metadata, throttle_rate, revision, created_at,
  updated_at, dialect, retry_schedule, timeout, max_in_flight, order_by, order_on_failure
from application where id = :id and deleted_at is null;

-- name: application_position
-- Where in the order of creation an id stands, or would stand.
select id, public_id = :public_id from application
where public_id >= :public_id order by public_id limit 1;

-- name: applications_up
-- The next applications of an organization, in order of creation.
select id, public_id, organization, uid, name, metadata, throttle_rate, revision, created_at,
  updated_at, dialect, retry_schedule, timeout, max_in_flight, order_by, order_on_failure
from application
where (organization, id) > (:organization, :low) and (organization, id) < (:organization, :high)
  and deleted_at is null
order by organization, id limit :limit::bigint;

-- name: applications_down
-- The same, the other way round.
select id, public_id, organization, uid, name, metadata, throttle_rate, revision, created_at,
  updated_at, dialect, retry_schedule, timeout, max_in_flight, order_by, order_on_failure
from application
where (organization, id) > (:organization, :low) and (organization, id) < (:organization, :high)
  and deleted_at is null
order by organization desc, id desc limit :limit::bigint;

-- name: application_insert
-- Keep a new application.
insert into application (public_id, organization, uid, name, metadata, throttle_rate, dialect,
  retry_schedule, timeout, max_in_flight, order_by, order_on_failure, revision, created_at,
  updated_at)
values (:public_id, :organization, :uid, :name, :metadata, :throttle_rate, :dialect,
  :retry_schedule, :timeout, :max_in_flight, :order_by, :order_on_failure, 1, :now, :now)
returning id;

-- name: application_update
-- Replace what an application is.
update application set uid = :uid, name = :name, metadata = :metadata,
  throttle_rate = :throttle_rate, dialect = :dialect, retry_schedule = :retry_schedule,
  timeout = :timeout, max_in_flight = :max_in_flight, order_by = :order_by,
  order_on_failure = :order_on_failure, revision = revision + 1, updated_at = :now
where id = :id;

-- name: application_changed
-- One of its endpoints has changed: what was matched before is out of date.
update application set revision = revision + 1 where id = :id;

-- name: application_delete
-- Soft delete; its uid is free at once.
update application set deleted_at = :now, revision = revision + 1 where id = :id;

-- name: endpoint_id_by_public_id
-- Which live endpoint has this id.
select id from endpoint
where public_id = :ref and application_id = :application_id and deleted_at is null;

-- name: endpoint_id_by_uid
-- Which live endpoint has this uid.
select id from endpoint
where uid = :ref and application_id = :application_id and deleted_at is null;

-- name: endpoint
-- One live endpoint.
select e.id, e.public_id, e.application_id, e.uid, e.url, e.description, e.event_types, e.channels,
  e.sealed_headers, e.metadata, e.throttle_rate, e.disabled, e.paused, e.slot, e.revision,
  e.version, e.created_at, e.updated_at, l.failing_since, l.held_until, e.dialect, e.retry_schedule,
  e.timeout, e.max_in_flight, e.order_by, e.order_on_failure
from endpoint e left join lane l on l.endpoint_id = e.id
where e.id = :id and e.deleted_at is null;

-- name: endpoint_public_id
-- The public id of an endpoint.
select public_id from endpoint where id = :id;

-- name: endpoint_position
-- Where in the order of creation an id stands, or would stand.
select id, public_id = :public_id from endpoint
where public_id >= :public_id order by public_id limit 1;

-- name: endpoints_up
-- The next endpoints of an application, in order of creation.
select e.id, e.public_id, e.application_id, e.uid, e.url, e.description, e.event_types, e.channels,
  e.sealed_headers, e.metadata, e.throttle_rate, e.disabled, e.paused, e.slot, e.revision,
  e.version, e.created_at, e.updated_at, l.failing_since, l.held_until, e.dialect, e.retry_schedule,
  e.timeout, e.max_in_flight, e.order_by, e.order_on_failure
from endpoint e left join lane l on l.endpoint_id = e.id
where (e.application_id, e.id) > (:application_id, :low)
  and (e.application_id, e.id) < (:application_id, :high) and e.deleted_at is null
order by e.application_id, e.id limit :limit::bigint;

-- name: endpoints_down
-- The same, the other way round.
select e.id, e.public_id, e.application_id, e.uid, e.url, e.description, e.event_types, e.channels,
  e.sealed_headers, e.metadata, e.throttle_rate, e.disabled, e.paused, e.slot, e.revision,
  e.version, e.created_at, e.updated_at, l.failing_since, l.held_until, e.dialect, e.retry_schedule,
  e.timeout, e.max_in_flight, e.order_by, e.order_on_failure
from endpoint e left join lane l on l.endpoint_id = e.id
where (e.application_id, e.id) > (:application_id, :low)
  and (e.application_id, e.id) < (:application_id, :high) and e.deleted_at is null
order by e.application_id desc, e.id desc limit :limit::bigint;

-- name: endpoint_states
-- Every live endpoint of an application with what decides about its held keys.
select id, order_on_failure from endpoint
where application_id = :application_id and deleted_at is null;

-- name: endpoint_count
-- How many live endpoints an application has.
select count(*) from endpoint
where application_id = :application_id and deleted_at is null;

-- name: endpoint_insert
-- Keep a new endpoint.
insert into endpoint (public_id, application_id, uid, url, description, event_types, channels,
  sealed_headers, metadata, throttle_rate, dialect, retry_schedule, timeout, max_in_flight,
  order_by, order_on_failure, disabled, paused, slot, revision, version, created_at, updated_at)
values (:public_id, :application_id, :uid, :url, :description, :event_types, :channels,
  :sealed_headers, :metadata, :throttle_rate, :dialect, :retry_schedule, :timeout,
  :max_in_flight, :order_by, :order_on_failure, :disabled, :paused, :slot, 1, :version, :now, :now)
returning id;

-- name: endpoint_update
-- Replace what an endpoint is.
update endpoint set uid = :uid, url = :url, description = :description,
  event_types = :event_types, channels = :channels, sealed_headers = :sealed_headers,
  metadata = :metadata, throttle_rate = :throttle_rate, dialect = :dialect,
  retry_schedule = :retry_schedule, timeout = :timeout, max_in_flight = :max_in_flight,
  order_by = :order_by, order_on_failure = :order_on_failure, disabled = :disabled,
  paused = :paused, version = :version, revision = revision + 1, updated_at = :now
where id = :id;

-- name: endpoint_changed
-- Something that belongs to an endpoint has changed.
update endpoint set revision = revision + 1, updated_at = :now where id = :id;

-- name: endpoints_changed
-- The application's policy has changed, and with it that of every endpoint.
update endpoint set revision = revision + 1
where application_id = :application_id and deleted_at is null;

-- name: endpoint_disable
-- Disable a live endpoint that is not disabled.
update endpoint set disabled = 1, revision = revision + 1, updated_at = :now
where id = :id and disabled = 0 and deleted_at is null returning application_id;

-- name: endpoint_delete
-- Soft delete; its uid is free at once, its headers are forgotten.
update endpoint set deleted_at = :now, revision = revision + 1, sealed_headers = null
where id = :id;

-- name: lane_insert
-- The lane of a new endpoint: nothing to send yet.
insert into lane (endpoint_id, slot, next_at, held_until) values (:id, :slot, null, :held_until);

-- name: lane_delete
-- A deleted endpoint sends nothing.
delete from lane where endpoint_id = :id;

-- name: secrets
-- The secrets of an endpoint: the current one first, then the newest of the others.
select kind, sealed, expires_at from secret
where endpoint_id = :id order by expires_at is not null, id desc;

-- name: secret_count
-- How many secrets of an endpoint sign at that time.
select count(*) from secret
where endpoint_id = :id and (expires_at is null or expires_at > :now);

-- name: secret_insert
-- Keep a new current secret.
insert into secret (endpoint_id, kind, sealed, expires_at, created_at)
values (:id, :kind, :sealed, null, :now);

-- name: secret_retire
-- The current secret becomes an old one.
update secret set expires_at = :expires_at
where endpoint_id = :id and expires_at is null;

-- name: secret_drop
-- The current secret goes without an overlap.
delete from secret where endpoint_id = :id and expires_at is null;

-- name: secrets_delete
-- Forget all secrets of an endpoint.
delete from secret where endpoint_id = :id;

-- name: endpoint_pause
-- Pause a live endpoint or let it go on; nothing if it is so already.
update endpoint set paused = :paused, revision = revision + 1, updated_at = :now
where id = :id and paused <> :paused and deleted_at is null returning disabled;

-- name: secret_current
-- The current secret of an endpoint.
select kind, sealed from secret
where endpoint_id = :id and expires_at is null;

-- name: secrets_after
-- The next sealed secrets, in order of their making.
select s.id, e.public_id, s.sealed from secret s join endpoint e on e.id = s.endpoint_id
where s.id > :after order by s.id limit :limit::bigint;

-- name: secret_reseal
-- The same secret, sealed with another key.
update secret set sealed = :sealed where id = :id;

-- name: headers_after
-- The next endpoints with their sealed headers, in order of their making.
select id, public_id, sealed_headers from endpoint where id > :after order by id limit :limit::bigint;

-- name: headers_reseal
-- The same headers, sealed with another key.
update endpoint set sealed_headers = :sealed where id = :id;

-- name: event_type
-- One event type.
select organization, name, description, schemas, archived, deprecated, group_name, feature_flags,
  created_at, updated_at
from event_type where organization = :organization and name = :name;

-- name: event_types_revision
-- How often the event types of an organization have changed.
select coalesce(max(revision), 0) from event_type_revision where organization = :organization;

-- name: event_types_changed
-- They have changed: what was checked before is out of date.
insert into event_type_revision (organization, revision) values (:organization, 1)
on conflict (organization) do update set revision = event_type_revision.revision + 1;

-- name: event_types_up
-- The next event types of an organization, in order of names; with :flags those that they open.
select organization, name, description, schemas, archived, deprecated, group_name, feature_flags,
  created_at, updated_at
from event_type where organization = :organization and name > :low and name < :high
  and (archived = 0 or :include_archived)
  and (:flags::text is null or feature_flags is null or not exists (
    select 1 from jsonb_array_elements_text(feature_flags::jsonb) flag
    where flag <> all(array(select jsonb_array_elements_text(:flags::jsonb)))))
order by name limit :limit::bigint;

-- name: event_types_down
-- The same, the other way round.
select organization, name, description, schemas, archived, deprecated, group_name, feature_flags,
  created_at, updated_at
from event_type where organization = :organization and name > :low and name < :high
  and (archived = 0 or :include_archived)
  and (:flags::text is null or feature_flags is null or not exists (
    select 1 from jsonb_array_elements_text(feature_flags::jsonb) flag
    where flag <> all(array(select jsonb_array_elements_text(:flags::jsonb)))))
order by name desc limit :limit::bigint;

-- name: event_type_count
-- How many event types an organization has, archived ones among them.
select count(*) from event_type where organization = :organization;

-- name: event_type_put
-- Keep an event type, or replace what it is; it keeps the time of its first creation.
insert into event_type (organization, name, description, schemas, archived, deprecated, group_name,
  feature_flags, created_at, updated_at)
values (:organization, :name, :description, :schemas, :archived, :deprecated, :group_name,
  :feature_flags, :created_at, :updated_at)
on conflict (organization, name) do update set description = excluded.description,
  schemas = excluded.schemas, archived = excluded.archived, deprecated = excluded.deprecated,
  group_name = excluded.group_name, feature_flags = excluded.feature_flags,
  updated_at = excluded.updated_at;

-- name: event_type_delete
-- Remove an event type for good.
delete from event_type where organization = :organization and name = :name;
