-- Messages, deliveries and attempts on PostgreSQL, as they are and were.

-- name: message_id_by_public_id
-- Which message of the application has this id: looked for in the time that the id tells of, then
-- anywhere.
select id from message where application_id = :application_id and id = coalesce(
  (select id from message where public_id = :ref and id >= :near_low and id < :near_high),
  (select id from message where public_id = :ref));

-- name: message_id_by_event_id
-- Which message of the application has this eventId.
select message_id from message_event_id
where event_id = :ref and application_id = :application_id;

-- name: message_position
-- Where among the messages an id stands, or would stand.
select place.id, exists (
  select 1 from message m where m.id = place.id and m.public_id = :public_id)
from (select coalesce(
  (select id from message where public_id = :public_id and id >= :near_low and id < :near_high),
  (select id from message where public_id = :public_id),
  (select id from message
    where public_id > :public_id and id >= :near_low and id < :near_high
    order by public_id limit 1),
  :near_high) as id) as place;

-- part: message_columns
-- A message but for its payload.
m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
  m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers

-- part: its_payload
-- The payload of a message if it is asked for and still kept. `offset 0` here and below has each
-- row looked up in the one partition that it is in.
left join lateral (
  select p.body from payload p where :with_content::boolean and p.message_id = m.id offset 0
) as p on true

-- name: message
-- One message, with its payload if it is asked for and still kept.
select {message_columns}, p.body
from message m
{its_payload}
where m.id = :id;

-- name: messages_of
-- The same of many.
select {message_columns}, p.body
from jsonb_array_elements_text(:keys::text::jsonb) as asked (key)
cross join lateral (select m.* from message m where m.id = asked.key::bigint offset 0) as m
{its_payload};

-- name: attempt_position
-- Where among the attempts an id stands, or would stand.
select place.id, exists (
  select 1 from attempt a where a.id = place.id and a.public_id = :public_id)
from (select coalesce(
  (select id from attempt where public_id = :public_id and id >= :near_low and id < :near_high),
  (select id from attempt where public_id = :public_id),
  (select id from attempt
    where public_id > :public_id and id >= :near_low and id < :near_high
    order by public_id limit 1),
  :near_high) as id) as place;

-- name: attempt_of_message
-- The key of an attempt of a message.
select id from attempt where message_id = :message_id and id = coalesce(
  (select id from attempt where public_id = :public_id and id >= :near_low and id < :near_high),
  (select id from attempt where public_id = :public_id));

-- part: attempt_columns
-- An attempt with its endpoint, when its delivery is tried next and how it is retried. A list of
-- them shows no more: each further row would lie in a page of its own.
a.public_id, a.message_id, a.endpoint_id, a.claim_number, a.number, a.trigger, a.outcome,
  a.status_code, a.reason, case when :with_content::boolean then a.response else null end, a.url,
  a.address, a.started_at, a.duration, e.public_id,
  case when d.state = 'pending' and l.endpoint_id is not null
    then greatest(d.due_at, l.held_until) else null end,
  coalesce(e.dialect, o.dialect), coalesce(e.retry_schedule, o.retry_schedule)

-- part: around_it
-- What stands around an attempt.
cross join lateral (select m.* from message m where m.id = a.message_id offset 0) as m
join endpoint e on e.id = a.endpoint_id
join application o on o.id = e.application_id
left join lateral (
  select d.state, d.due_at from delivery d
  where d.message_id = a.message_id and d.endpoint_id = a.endpoint_id offset 0) as d on true
left join lane l on l.endpoint_id = a.endpoint_id

-- name: attempt
-- One attempt with all that is told of it.
select {message_columns}, null, {attempt_columns}
from attempt a
{around_it}
where a.id = :id;

-- name: attempts_of
-- The same of many, each after its key.
select a.id, {message_columns}, null, {attempt_columns}
from jsonb_array_elements_text(:keys::text::jsonb) as asked (key)
cross join lateral (select a.* from attempt a where a.id = asked.key::bigint offset 0) as a
{around_it};

-- name: delivery_states
-- Where the deliveries of a message stand; one that was finished and made due again is unfinished.
select e.public_id, f.state
from finished_delivery f join endpoint e on e.id = f.endpoint_id
where f.message_id = :message_id
union all
select e.public_id,
  case when e.deleted_at is not null and d.state = 'pending' then 'cancelled' else d.state end
from delivery d join endpoint e on e.id = d.endpoint_id
where d.message_id = :message_id;

-- name: destinations
-- The endpoints that a message is for, with where its deliveries stand.
select e.id, e.public_id, f.state, null
from finished_delivery f join endpoint e on e.id = f.endpoint_id
where f.message_id = :message_id and not exists (
  select 1 from delivery d where d.message_id = :message_id and d.endpoint_id = f.endpoint_id)
union all
select e.id, e.public_id,
  case when l.endpoint_id is null and d.state = 'pending' then 'cancelled' else d.state end,
  case when d.state = 'pending' then greatest(d.due_at, l.held_until) else null end
from delivery d join endpoint e on e.id = d.endpoint_id
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
update attempt set response = :response where message_id = :message_id and id = coalesce(
  (select id from attempt where public_id = :public_id and id >= :near_low and id < :near_high),
  (select id from attempt where public_id = :public_id));

-- name: owner_of_endpoint
-- Whose an endpoint is, and when it was deleted, or its application.
select o.organization, o.public_id, null, coalesce(e.deleted_at, o.deleted_at)
from endpoint e join application o on o.id = e.application_id
where e.public_id = :public_id;

-- name: owner_of_message
-- Whose a message is.
select o.organization, o.public_id, null, o.deleted_at
from message m join application o on o.id = m.application_id
where m.id = coalesce(
  (select id from message where public_id = :public_id and id >= :near_low and id < :near_high),
  (select id from message where public_id = :public_id));

-- name: owner_of_attempt
-- Whose an attempt is, and of which message.
select o.organization, o.public_id, m.public_id, o.deleted_at
from attempt a join message m on m.id = a.message_id
join application o on o.id = m.application_id
where a.id = coalesce(
  (select id from attempt where public_id = :public_id and id >= :near_low and id < :near_high),
  (select id from attempt where public_id = :public_id));
