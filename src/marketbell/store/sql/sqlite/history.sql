-- Messages, deliveries and attempts on SQLite, as they are and were.

-- name: message_id_by_public_id
-- Which message of the application has this id.
select id from message where public_id = :ref and application_id = :application_id;

-- name: message_id_by_event_id
-- Which message of the application has this eventId.
select id from message where event_id = :ref and application_id = :application_id;

-- name: message_position
-- Where among the messages an id stands, or would stand.
select id, public_id = :public_id from message
where public_id >= :public_id order by public_id limit 1;

-- name: message_before
-- The last message that was made before an id.
select id from message where public_id < :public_id order by public_id desc limit 1;

-- name: message
-- One message, with its payload if it is asked for and still kept.
select m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
  m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers, p.body
from message m left join payload p on :with_content and p.message_id = m.id
where m.id = :id;

-- name: attempt_position
-- Where among the attempts an id stands, or would stand.
select id, public_id = :public_id from attempt
where public_id >= :public_id order by public_id limit 1;

-- name: attempt_before
-- The last attempt that was made before an id.
select id from attempt where public_id < :public_id order by public_id desc limit 1;

-- name: attempt_of_message
-- The key of an attempt of a message.
select id from attempt where public_id = :public_id and message_id = :message_id;

-- name: attempt
-- One attempt with its message but for the payload, its endpoint, when its delivery is tried next
-- and how it is retried. A list of them shows no more: each further row would lie in a page of its own.
select m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
  m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers, null,
  a.public_id, a.message_id, a.endpoint_id, a.claim_number, a.number, a.trigger, a.outcome,
  a.status_code, a.reason, iif(:with_content, a.response, null), a.url, a.address, a.started_at,
  a.duration, e.public_id,
  iif(d.state = 'pending', max(d.due_at, l.held_until), null),
  coalesce(e.dialect, o.dialect), coalesce(e.retry_schedule, o.retry_schedule)
from attempt a
join message m on m.id = a.message_id
join endpoint e on e.id = a.endpoint_id
join application o on o.id = e.application_id
left join delivery d on d.message_id = a.message_id and d.endpoint_id = a.endpoint_id
left join lane l on l.endpoint_id = a.endpoint_id
where a.id = :id;

-- name: delivery_states
-- Where the deliveries of a message stand; one that was finished and made due again is unfinished.
select e.public_id, f.state
from finished_delivery f cross join endpoint e on e.id = f.endpoint_id
where f.message_id = :message_id
union all
select e.public_id, iif(e.deleted_at is not null and d.state = 'pending', 'cancelled', d.state)
from delivery d cross join endpoint e on e.id = d.endpoint_id
where d.message_id = :message_id;

-- name: destinations
-- The endpoints that a message is for, with where its deliveries stand.
select e.id, e.public_id, f.state, null
from finished_delivery f cross join endpoint e on e.id = f.endpoint_id
where f.message_id = :message_id and not exists (
  select 1 from delivery d where d.message_id = :message_id and d.endpoint_id = f.endpoint_id)
union all
select e.id, e.public_id, iif(l.endpoint_id is null and d.state = 'pending', 'cancelled', d.state),
  iif(d.state = 'pending', max(d.due_at, l.held_until), null)
from delivery d cross join endpoint e on e.id = d.endpoint_id
left join lane l on l.endpoint_id = d.endpoint_id
where d.message_id = :message_id;

-- name: resend_facts
-- What decides whether and how a delivery is made due again.
select e.disabled, d.state, d.attempt_count, d.order_key,
  exists (select 1 from payload p where p.message_id = :message_id)
from endpoint e
left join delivery d on d.message_id = :message_id and d.endpoint_id = :endpoint_id
where e.id = :endpoint_id;

-- name: delivery_due_now
-- A waiting delivery starts its schedule anew, outside of any order.
update delivery set due_at = :now, attempt_count = 0, lost_count = 0, born_at = :now,
  trigger = 'manual', order_key = null
where message_id = :message_id and endpoint_id = :endpoint_id and state = 'pending';

-- name: response_set
-- Put something else in the place of what a receiver answered.
update attempt set response = :response
where public_id = :public_id and message_id = :message_id;

-- name: owner_of_endpoint
-- Whose an endpoint is, and when it was deleted, or its application.
select o.organization, o.public_id, null, coalesce(e.deleted_at, o.deleted_at)
from endpoint e join application o on o.id = e.application_id
where e.public_id = :public_id;

-- name: owner_of_message
-- Whose a message is.
select o.organization, o.public_id, null, o.deleted_at
from message m join application o on o.id = m.application_id
where m.public_id = :public_id;

-- name: owner_of_attempt
-- Whose an attempt is, and of which message.
select o.organization, o.public_id, m.public_id, o.deleted_at
from attempt a join message m on m.id = a.message_id
join application o on o.id = m.application_id
where a.public_id = :public_id;
