-- Publish, record and claim on PostgreSQL: one statement for each batch. What they do is in migrations/0004_hot_path.sql.

-- part: publishing
-- Keep messages with their deliveries.
publish_messages(
  :ids, :public_ids, :application_ids, :revisions, :event_types, :event_ids, :channels, :tags,
  :occurred, :created, :expires, :deliver, :headers, :bodies,
  :mark_ids, :mark_keys, :mark_bodies, :mark_buckets,
  :born_ids, :born_endpoints, :born_dues, :born_leases, :born_ats, :born_keys,
  :aimed, :noted, :noted_expiries, :outbox_ids, :outbox_transactions, :outbox_rows)

-- part: recording
-- Keep attempts and move their deliveries.
record_attempts(
  :attempt_ids, :attempt_public_ids, :message_ids, :endpoint_ids, :claim_numbers, :numbers,
  :triggers, :outcomes, :status_codes, :reasons, :responses, :urls, :addresses, :started,
  :durations, :counted, :judged, :dues, :accepted_ats, :first, :last, :hold_lanes, :hold_untils)

-- part: order
-- The current secret first, then the newest of the others.
k.expires_at is not null, k.id desc

-- name: publish
-- Keep messages; which of them were refused, and why.
select {publishing};

-- name: record
-- Keep attempts; which of them were kept before.
select {recording};

-- name: record_and_publish
-- Both in one transaction and one round trip, results first.
select {recording}, {publishing};

-- name: claim
-- Claim from these lanes and from those that are due.
select * from claim_deliveries(:now, :leases_now, :lease_until, :limit, :bytes, :second_look, :lanes,
  :known, :rooms, :new_room, :node, :owned, :lanes_limit, :lost_limit);

-- name: lose_claims
-- End claims whose lease has run out, or all in slots that nobody serves; how many.
select lose_claims(:now, :leases_now, :owned, :lost_max, :reason, :ids, :public_ids);

-- name: endpoints_with_owners
-- Endpoints that a node does not know, each with its application and its secrets.
select e.id, e.public_id, e.application_id, e.uid, e.url, e.description, e.event_types, e.channels,
  e.sealed_headers, e.metadata, e.throttle_rate, e.disabled, e.paused, e.slot, e.revision,
  e.version, e.created_at, e.updated_at, l.failing_since, l.held_until, e.dialect, e.retry_schedule,
  e.timeout, e.max_in_flight, e.order_by, e.order_on_failure,
  a.id, a.public_id, a.organization, a.uid, a.name, a.metadata, a.throttle_rate, a.revision,
  a.created_at, a.updated_at, a.dialect, a.retry_schedule, a.timeout, a.max_in_flight, a.order_by,
  a.order_on_failure,
  s.kinds, s.sealed, s.expiries
from unnest(:endpoint_ids::bigint[]) as t (id)
join endpoint e on e.id = t.id and e.deleted_at is null
join application a on a.id = e.application_id and a.deleted_at is null
left join lane l on l.endpoint_id = e.id
cross join lateral (
  select array_agg(k.kind order by {order}) as kinds, array_agg(k.sealed order by {order}) as sealed,
    array_agg(k.expires_at order by {order}) as expiries
  from secret k where k.endpoint_id = e.id) as s;

-- name: keys_lock
-- Lock order keys until the transaction ends.
select pg_advisory_xact_lock(t.lock) from (
  select distinct order_key_lock(b.endpoint_id, b.order_key) as lock
  from unnest(:endpoint_ids::bigint[], :order_keys::bytea[]) as b (endpoint_id, order_key)
  order by 1) as t;

-- name: lanes_lock
-- Lock lanes until the transaction ends, in the order in which all do.
select 1 from lane where endpoint_id = any (:endpoint_ids::bigint[])
order by endpoint_id for no key update;

-- name: place_next
-- The turn of a delivery among those of its order key, which must be locked.
select nextval('delivery_place');
