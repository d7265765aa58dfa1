-- Messages, deliveries and attempts on PostgreSQL, as they are and were.

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
from message m left join payload p on :with_content::boolean and p.message_id = m.id
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
-- One attempt with its message, its endpoint and where its delivery stands now. What a deleted
-- endpoint has pending counts as cancelled, though retention has yet to say so.
select m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
  m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers, p.body,
  a.public_id, a.message_id, a.endpoint_id, a.claim_number, a.number, a.trigger, a.outcome,
  a.status_code, a.reason, case when :with_content::boolean then a.response else null end, a.url, a.address, a.started_at,
  a.duration, e.public_id,
  case when l.endpoint_id is null and d.state = 'pending' then 'cancelled' else coalesce(d.state, f.state) end,
  case when d.state = 'pending' then greatest(d.due_at, l.held_until) else null end
from attempt a
join message m on m.id = a.message_id
join endpoint e on e.id = a.endpoint_id
left join payload p on :with_content::boolean and p.message_id = m.id
left join delivery d on d.message_id = a.message_id and d.endpoint_id = a.endpoint_id
left join finished_delivery f on f.message_id = a.message_id and f.endpoint_id = a.endpoint_id
left join lane l on l.endpoint_id = a.endpoint_id
where a.id = :id;

-- name: delivery_states
-- Where the deliveries of a message stand; one that was finished and made due again is unfinished.
select e.public_id, f.state
from finished_delivery f join endpoint e on e.id = f.endpoint_id
where f.message_id = :message_id
union all
select e.public_id, case when e.deleted_at is not null and d.state = 'pending' then 'cancelled' else d.state end
from delivery d join endpoint e on e.id = d.endpoint_id
where d.message_id = :message_id;

-- name: destinations
-- The endpoints that a message is for, with where its deliveries stand.
select e.id, e.public_id, f.state, null
from finished_delivery f join endpoint e on e.id = f.endpoint_id
where f.message_id = :message_id and not exists (
  select 1 from delivery d where d.message_id = :message_id and d.endpoint_id = f.endpoint_id)
union all
select e.id, e.public_id, case when l.endpoint_id is null and d.state = 'pending' then 'cancelled' else d.state end,
  case when d.state = 'pending' then greatest(d.due_at, l.held_until) else null end
from delivery d join endpoint e on e.id = d.endpoint_id
left join lane l on l.endpoint_id = d.endpoint_id
where d.message_id = :message_id;

-- name: resend_facts
-- What decides whether and how a delivery is made due again.
select e.disabled, d.state, d.order_key,
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
