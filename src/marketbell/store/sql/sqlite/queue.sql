-- The queue on SQLite: publish, claim, record, release. One writer runs all of it.

-- name: last_message_id
-- The highest message id in use; ids are given out above it.
select coalesce(max(id), 0) from message;

-- name: application_revision
-- The revision that a fan-out must have been matched at; see Subscribers.revision.
select a.revision + coalesce(
  (select t.revision from event_type_revision t where t.organization = a.organization), 0)
from application a where a.id = :application_id and a.deleted_at is null;

-- name: application_revisions
-- The same of several applications, given as a JSON list of their keys; null for one that is gone.
select j.value, (
  select a.revision + coalesce(
    (select t.revision from event_type_revision t where t.organization = a.organization), 0)
  from application a where a.id = j.value and a.deleted_at is null)
from json_each(:application_ids) as j;

-- name: mark_table
-- The index over the keys of marks; it lives as long as the writing connection. See Marks.
create temp table mark (
  place integer primary key,
  bucket integer not null,
  sequence integer not null
);

-- name: mark_load
-- Index the marks of one bucket; of two in one place the newer stays. Sorted takes half the time.
insert or replace into temp.mark (place, bucket, sequence)
select
  (('0x' || hex(substr(key, 9, 4))) ->> '$' & 2147483647 | (bucket % 2 << 31)) << 32
    | ('0x' || hex(substr(key, 13, 4))) ->> '$',
  bucket, sequence
from idempotency where bucket = :bucket order by 1, sequence;

-- name: mark_bucket_after
-- The next bucket that holds anything.
select min(bucket) from idempotency where bucket > :bucket;

-- name: mark_last
-- The highest sequence of a bucket.
select coalesce(max(sequence), 0) from idempotency where bucket = :bucket;

-- name: mark_find
-- What stands in these places of the index, given as a JSON list, and is not over.
select i.key, i.body, i.message_id, i.answer
from json_each(:places) as j
cross join temp.mark as m on m.place = j.value and m.bucket >= :oldest
cross join idempotency as i on i.bucket = m.bucket and i.sequence = m.sequence;

-- name: mark_insert
-- Index marks of one bucket that have come one after another, given as a JSON list of places.
insert or replace into temp.mark (place, bucket, sequence)
select j.value, :bucket, :first + j.key from json_each(:places) as j;

-- name: mark_part
-- How many marks stand in the next part of the index, and in which place the last of them.
with part as materialized (
  select place from temp.mark where place between :first and :last order by place limit :limit)
select count(*), max(place) from part;

-- name: mark_drop
-- Take what is over out of a part of the index.
delete from temp.mark where place between :first and :last and bucket < :oldest;

-- name: idempotency_insert
-- Mark a request as made.
insert into idempotency (bucket, sequence, key, body, message_id, answer)
values (?, ?, ?, ?, ?, ?);

-- name: event_id_taken
-- Whether the application has a message with this eventId.
select 1 from message where application_id = :application_id and event_id = :event_id;

-- name: message_by_id
-- One message with its payload.
select m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
  m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers, p.body
from message m left join payload p on p.message_id = m.id where m.id = :id;

-- name: message_insert
-- Keep a message.
insert into message (id, public_id, application_id, event_type, event_id, channels, tags,
  occurred_at, created_at, payload_expires_at, deliver_at, headers)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: aimed_insert
-- A message was made for one endpoint alone.
insert into aimed_message (message_id) values (?);

-- name: payload_insert
-- Keep a message's payload.
insert into payload (message_id, body) values (?, ?);

-- name: payload_expiry_insert
-- Keep when a payload with a time of its own goes.
insert into payload_expiry (expires_at, message_id) values (?, ?);

-- name: delivery_insert
-- A delivery is born, pending or claimed.
insert into delivery (message_id, endpoint_id, state, due_at, claim_number, attempt_count,
  lost_count, born_at, trigger, order_key, place)
values (?, ?, ?, ?, ?, 0, 0, ?, ?, ?, ?);

-- name: order_key_busy
-- Whether a key has an unfinished delivery, or waits for a failed one.
select 1 where exists (
  select 1 from delivery where endpoint_id = :endpoint_id and order_key = :order_key)
or exists (
  select 1 from held_key where endpoint_id = :endpoint_id and order_key = :order_key);

-- name: lane_lower
-- A lane has something to send at that time, if it had nothing earlier; never before its hold ends.
update lane set next_at = max(held_until, :due_at)
where endpoint_id = :endpoint_id and (next_at is null or next_at > max(held_until, :due_at));

-- name: leases_ended
-- Claims whose lease has run out, oldest first.
select message_id, endpoint_id, claim_number, lost_count, trigger from delivery
where state = 'sending' and due_at <= :now order by due_at limit :limit;

-- name: leases_all
-- Every claim there is; none can be alive when a store is opened.
select message_id, endpoint_id, claim_number, lost_count, trigger from delivery
where state = 'sending' limit :limit;

-- name: lease_lost
-- A claim was lost: due again, or parked.
update delivery set state = 'pending', due_at = :due_at, lost_count = :lost_count
where message_id = :message_id and endpoint_id = :endpoint_id;

-- name: lanes_due
-- The lanes whose time has come, longest waiting first.
select endpoint_id from lane where next_at <= :now order by next_at limit :limit;

-- name: lane_next_at
-- When the next lane falls due.
select min(next_at) from lane where next_at is not null;

-- name: lane_live
-- What a claim must know of a lane's endpoint, if it may send at all.
select e.revision, e.application_id, l.held_until
from lane l join endpoint e on e.id = l.endpoint_id
where l.endpoint_id = :endpoint_id and e.deleted_at is null;

-- name: deliveries_due
-- Due deliveries of one lane with their messages, in order of due time.
select m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
  m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers, p.body,
  d.claim_number, d.attempt_count, d.born_at, d.due_at, d.trigger, d.order_key
from delivery d
join message m on m.id = d.message_id
left join payload p on p.message_id = d.message_id
where d.endpoint_id = :endpoint_id and d.state = 'pending' and d.due_at <= :now
order by d.due_at limit :limit;

-- name: delivery_claim
-- Take one delivery.
update delivery set state = 'sending', due_at = ?, claim_number = ?
where message_id = ? and endpoint_id = ?;

-- name: delivery_cancel
-- A delivery that cannot be made any more leaves the queue.
delete from delivery where message_id = :message_id and endpoint_id = :endpoint_id
returning attempt_count, claim_number, order_key;

-- name: delivery_next_due
-- When a lane's next pending delivery falls due; those that wait for something else do not count.
select min(due_at) from delivery
where endpoint_id = :endpoint_id and state = 'pending' and due_at < 4611686018427387904;

-- name: lane_set
-- When a lane next has something to send, or that it has nothing.
update lane set next_at = max(held_until, :next_at) where endpoint_id = :endpoint_id;

-- name: lane_empty
-- A lane has nothing to send.
update lane set next_at = null where endpoint_id = :endpoint_id;

-- name: attempt_last
-- The number of the newest attempt.
select coalesce(max(id), 0) from attempt;

-- name: attempt_kept
-- The number of an attempt that is kept.
select id from attempt where public_id = :public_id;

-- name: attempt_insert
-- Keep an attempt; one that was kept before stays as it is.
insert into attempt (public_id, message_id, endpoint_id, claim_number, number, trigger, outcome,
  status_code, reason, response, url, address, started_at, duration)
values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
on conflict (public_id) do nothing;

-- name: delivery_unfinished
-- What has become of a delivery so far; RETURNING would make a temporary table for each row.
select message_id, endpoint_id, attempt_count, claim_number from delivery
where message_id = ? and endpoint_id = ?;

-- name: delivery_delivered
-- Success is absorbing: whichever claim brought it, the delivery leaves the queue.
delete from delivery where message_id = ? and endpoint_id = ?;

-- name: delivery_failed
-- The last failure, if it is the latest claim's.
delete from delivery where message_id = ? and endpoint_id = ? and claim_number = ?
  and state = 'sending' returning message_id, endpoint_id, attempt_count, claim_number;

-- name: delivery_again
-- Due again after a failure, if it was the latest claim's.
update delivery set state = 'pending', due_at = ?, attempt_count = attempt_count + 1, lost_count = 0
where message_id = ? and endpoint_id = ? and claim_number = ? and state = 'sending'
returning endpoint_id, due_at;

-- name: finished_delivered
-- A delivery has ended in success.
insert into finished_delivery (message_id, endpoint_id, state, attempt_count, claim_number,
  finished_at)
values (?, ?, 'delivered', ?, ?, ?)
on conflict (message_id, endpoint_id) do update set
  state = excluded.state,
  attempt_count = attempt_count + excluded.attempt_count,
  claim_number = max(claim_number, excluded.claim_number),
  finished_at = excluded.finished_at;

-- name: finished_failed
-- A delivery that had not ended before has ended in failure.
insert into finished_delivery (message_id, endpoint_id, state, attempt_count, claim_number,
  finished_at)
values (?, ?, 'failed', ?, ?, ?)
on conflict (message_id, endpoint_id) do update set
  state = iif(state = 'delivered', state, excluded.state),
  attempt_count = attempt_count + excluded.attempt_count,
  claim_number = max(claim_number, excluded.claim_number),
  finished_at = excluded.finished_at;

-- name: finished_insert
-- A delivery has ended; one that was delivered once stays delivered. What it counts as.
insert into finished_delivery (message_id, endpoint_id, state, attempt_count, claim_number,
  finished_at)
values (?, ?, ?, ?, ?, ?)
on conflict (message_id, endpoint_id) do update set
  state = iif(state = 'delivered', state, excluded.state),
  attempt_count = attempt_count + excluded.attempt_count,
  claim_number = max(claim_number, excluded.claim_number),
  finished_at = excluded.finished_at
returning state;

-- name: delivery_revive
-- A delivery that has ended, or never was, is due now; its claims go on above all that were given.
insert into delivery (message_id, endpoint_id, state, due_at, claim_number, attempt_count,
  lost_count, born_at, trigger, order_key, place)
values (:message_id, :endpoint_id, 'pending', :due_at,
  coalesce((select f.claim_number from finished_delivery f
    where f.message_id = :message_id and f.endpoint_id = :endpoint_id), 0),
  0, 0, :now, 'manual', null, :message_id);

-- name: delivery_was
-- When a message was accepted, and how its delivery to an endpoint ended before, if it did.
select m.created_at, f.state
from message m
left join finished_delivery f on f.message_id = m.id and f.endpoint_id = :endpoint_id
where m.id = :message_id;

-- name: tally_insert
-- Keep what this transaction changed in the figures; a later one adds it up.
insert into tally (counts) values (?);

-- name: order_next
-- The first unfinished delivery of a key that does not wait for a failed one.
select message_id, due_at, lost_count from delivery
where endpoint_id = :endpoint_id and order_key = :order_key
  and not exists (
    select 1 from held_key where endpoint_id = :endpoint_id and order_key = :order_key)
order by place limit 1;

-- name: delivery_unblock
-- The turn of a blocked delivery has come: due at its own time again.
update delivery set due_at = due_at - 4611686018427387904
where message_id = :message_id and endpoint_id = :endpoint_id
  and state = 'pending' and due_at >= 4611686018427387904;

-- name: key_hold
-- A key waits for its failed delivery.
insert into held_key (endpoint_id, order_key, message_id) values (?, ?, ?)
on conflict do nothing;

-- name: key_held_by
-- The key that waits for this delivery.
select order_key from held_key where endpoint_id = :endpoint_id and message_id = :message_id;

-- name: key_release
-- A key goes on.
delete from held_key where endpoint_id = :endpoint_id and order_key = :order_key;

-- name: keys_held
-- All keys of an endpoint that wait.
select order_key from held_key where endpoint_id = :endpoint_id;

-- name: delivery_release
-- A claim was not used: due as before, no step used.
update delivery set state = 'pending', due_at = :due_at
where message_id = :message_id and endpoint_id = :endpoint_id and claim_number = :claim_number
  and state = 'sending';

-- name: lane_hold
-- A lane rests until then; one that rests for longer, as a paused one does, rests on.
update lane set held_until = max(held_until, :until),
  next_at = iif(next_at is null, null, max(next_at, :until))
where endpoint_id = :endpoint_id;

-- name: lane_unhold
-- A lane may go on at once.
update lane set held_until = 0, next_at = :next_at where endpoint_id = :endpoint_id;

-- name: lane_failing
-- Since when an endpoint has only failed.
update lane set failing_since = :since where endpoint_id = :endpoint_id;
