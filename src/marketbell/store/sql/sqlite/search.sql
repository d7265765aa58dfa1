-- Walks over messages, attempts and deliveries on SQLite. Each gives the rows that pass in order,
-- and of the others about one in 128, so that the reader learns how far the walk has come.

-- part: beat
-- One row in 128, whatever the distance between the rows.
((id * 40503) & 65535) < 512

-- part: message_passes
-- Whether a message passes a filter.
(:since is null or m.created_at >= :since)
    and (:until is null or m.created_at < :until)
    and (:event_types is null or m.event_type in (select value from json_each(:event_types)))
    and (:channel is null or exists (select 1 from json_each(m.channels) where value = :channel))
    and (:tag is null or exists (select 1 from json_each(m.tags) where value = :tag))

-- part: attempt_passes
-- Whether an attempt and its message pass a filter.
(:since is null or a.started_at >= :since)
    and (:until is null or a.started_at < :until)
    and (:succeeded is null or (a.outcome = 'accepted') = :succeeded)
    and (:status_code_class is null or a.status_code / 100 * 100 = :status_code_class)
    and (:event_types is null or m.event_type in (select value from json_each(:event_types)))
    and (:channel is null or exists (select 1 from json_each(m.channels) where value = :channel))
    and (:tag is null or exists (select 1 from json_each(m.tags) where value = :tag))

-- part: delivery_stands
-- Whether there is a delivery, and in one of the states if any are asked for.
coalesce(d.state, f.state) is not null
    and (:states is null or coalesce(d.state, f.state) in (select value from json_each(:states)))

-- part: with_delivery
-- Where a message's delivery to the endpoint is kept.
left join delivery d on d.message_id = m.id and d.endpoint_id = :endpoint_id
  left join finished_delivery f on f.message_id = m.id and f.endpoint_id = :endpoint_id

-- part: late
-- Whether an attempt is at the endpoint, or at any of the application's if none is named.
iif(:endpoint_id is not null, endpoint_id = :endpoint_id, exists (select 1 from endpoint e
      where e.id = endpoint_id and e.application_id = :application_id))

-- part: refused
-- What the index over attempts that were not accepted holds.
(a.outcome <> 'accepted' or a.status_code not between 200 and 299)

-- part: of_organization
-- Whether an application belongs to the organization.
exists (select 1 from application o
      where o.id = m.application_id and o.organization = :organization)

-- name: messages_down
-- The messages of an application that pass, newest first; those of all are gone through.
select id, passes from (
  select m.id as id, m.application_id = :application_id and {message_passes} as passes
  from message m where m.id > :low and m.id < :high)
where passes or {beat} order by id desc limit :limit;

-- name: messages_up
-- The same, the other way round.
select id, passes from (
  select m.id as id, m.application_id = :application_id and {message_passes} as passes
  from message m where m.id > :low and m.id < :high)
where passes or {beat} order by id limit :limit;

-- name: messages_labelled_down
-- The messages of one event type, channel or tag that pass, newest first, or all with the label ''.
select id, passes from (
  select m.id as id, {message_passes} as passes
  from message_label l cross join message m on m.id = l.message_id
  where l.application_id = :application_id and l.label = :label
    and l.message_id > :low and l.message_id < :high
  order by l.message_id desc)
where passes or {beat} limit :limit;

-- name: messages_labelled_up
-- The same, the other way round.
select id, passes from (
  select m.id as id, {message_passes} as passes
  from message_label l cross join message m on m.id = l.message_id
  where l.application_id = :application_id and l.label = :label
    and l.message_id > :low and l.message_id < :high
  order by l.message_id)
where passes or {beat} limit :limit;

-- name: messages_anywhere_down
-- The messages of an organization that pass, newest first.
select id, passes from (
  select m.id as id, {of_organization} and {message_passes} as passes
  from message m where m.id > :low and m.id < :high)
where passes or {beat} order by id desc limit :limit;

-- name: messages_anywhere_up
-- The same, the other way round.
select id, passes from (
  select m.id as id, {of_organization} and {message_passes} as passes
  from message m where m.id > :low and m.id < :high)
where passes or {beat} order by id limit :limit;

-- name: messages_worded_down
-- The messages of a span whose payload has some words and that pass, newest first.
select m.id
from payload_text t cross join message m on m.id = t.rowid
where t.payload_text match :words and t.rowid > :low and t.rowid < :high
  and m.application_id = :application_id and {message_passes}
order by t.rowid desc limit :limit;

-- name: messages_worded_up
-- The same, the other way round.
select m.id
from payload_text t cross join message m on m.id = t.rowid
where t.payload_text match :words and t.rowid > :low and t.rowid < :high
  and m.application_id = :application_id and {message_passes}
order by t.rowid limit :limit;

-- name: attempts_of_endpoint_down
-- The attempts at an endpoint that pass, newest first.
select id, passes from (
  select a.id as id, {attempt_passes} as passes
  from endpoint_attempt e cross join attempt a on a.id = e.attempt_id
  cross join message m on m.id = a.message_id
  where e.endpoint_id = :endpoint_id and e.attempt_id > :low and e.attempt_id < :high
    and m.application_id = :application_id
  order by e.attempt_id desc)
where passes or {beat} limit :limit;

-- name: attempts_of_endpoint_up
-- The same, the other way round.
select id, passes from (
  select a.id as id, {attempt_passes} as passes
  from endpoint_attempt e cross join attempt a on a.id = e.attempt_id
  cross join message m on m.id = a.message_id
  where e.endpoint_id = :endpoint_id and e.attempt_id > :low and e.attempt_id < :high
    and m.application_id = :application_id
  order by e.attempt_id)
where passes or {beat} limit :limit;

-- name: attempts_late_down
-- The same of attempts that have yet to be noted, at one endpoint or all of an application's, newest
-- first; the attempts of all are gone through.
select id, passes from (
  select a.id as id, m.application_id = :application_id
    and (:endpoint_id is null or a.endpoint_id = :endpoint_id) and {attempt_passes} as passes
  from (select * from attempt where id > :low and id < :high and ({late} or {beat})) a
  cross join message m on m.id = a.message_id)
where passes or {beat} order by id desc limit :limit;

-- name: attempts_late_up
-- The same, the other way round.
select id, passes from (
  select a.id as id, m.application_id = :application_id
    and (:endpoint_id is null or a.endpoint_id = :endpoint_id) and {attempt_passes} as passes
  from (select * from attempt where id > :low and id < :high and ({late} or {beat})) a
  cross join message m on m.id = a.message_id)
where passes or {beat} order by id limit :limit;

-- name: attempts_refused_of_endpoint_down
-- The attempts at an endpoint that were not accepted and that pass, newest first.
select id, passes from (
  select a.id as id, {attempt_passes} as passes
  from attempt a indexed by attempt_refused cross join message m on m.id = a.message_id
  where a.endpoint_id = :endpoint_id and a.id > :low and a.id < :high and {refused}
    and m.application_id = :application_id)
where passes or {beat} order by id desc limit :limit;

-- name: attempts_refused_of_endpoint_up
-- The same, the other way round.
select id, passes from (
  select a.id as id, {attempt_passes} as passes
  from attempt a indexed by attempt_refused cross join message m on m.id = a.message_id
  where a.endpoint_id = :endpoint_id and a.id > :low and a.id < :high and {refused}
    and m.application_id = :application_id)
where passes or {beat} order by id limit :limit;

-- name: attempts_of_message_down
-- The attempts of a message that pass, newest first.
select id, passes from (
  select a.id as id,
    (:endpoint_id is null or a.endpoint_id = :endpoint_id) and {attempt_passes} as passes
  from attempt a indexed by attempt_message cross join message m on m.id = a.message_id
  where a.message_id = :message_id and a.id > :low and a.id < :high
    and m.application_id = :application_id)
where passes or {beat} order by id desc limit :limit;

-- name: attempts_of_message_up
-- The same, the other way round.
select id, passes from (
  select a.id as id,
    (:endpoint_id is null or a.endpoint_id = :endpoint_id) and {attempt_passes} as passes
  from attempt a indexed by attempt_message cross join message m on m.id = a.message_id
  where a.message_id = :message_id and a.id > :low and a.id < :high
    and m.application_id = :application_id)
where passes or {beat} order by id limit :limit;

-- name: attempts_anywhere_down
-- The attempts of an organization that pass, newest first.
select id, passes from (
  select a.id as id, {of_organization} and {attempt_passes} as passes
  from attempt a cross join message m on m.id = a.message_id
  where a.id > :low and a.id < :high)
where passes or {beat} order by id desc limit :limit;

-- name: attempts_anywhere_up
-- The same, the other way round.
select id, passes from (
  select a.id as id, {of_organization} and {attempt_passes} as passes
  from attempt a cross join message m on m.id = a.message_id
  where a.id > :low and a.id < :high)
where passes or {beat} order by id limit :limit;

-- name: attempts_refused_anywhere_down
-- The attempts of an organization that were not accepted and that pass, newest first.
select id, passes from (
  select a.id as id, {of_organization} and {attempt_passes} as passes
  from attempt a indexed by attempt_refused_anywhere cross join message m on m.id = a.message_id
  where a.id > :low and a.id < :high and {refused})
where passes or {beat} order by id desc limit :limit;

-- name: attempts_refused_anywhere_up
-- The same, the other way round.
select id, passes from (
  select a.id as id, {of_organization} and {attempt_passes} as passes
  from attempt a indexed by attempt_refused_anywhere cross join message m on m.id = a.message_id
  where a.id > :low and a.id < :high and {refused})
where passes or {beat} order by id limit :limit;

-- name: endpoints_ever
-- The endpoints that an application has and had, as far as they are kept.
select id from endpoint indexed by endpoint_application where application_id = :application_id;

-- name: deliveries_of_endpoint_down
-- The messages of an application that have a delivery to an endpoint and that pass, newest first.
select id, passes from (
  select m.id as id, {delivery_stands} and {message_passes} as passes
  from message_label l cross join message m on m.id = l.message_id
  {with_delivery}
  where l.application_id = :application_id and l.label = ''
    and l.message_id > :low and l.message_id < :high
  order by l.message_id desc)
where passes or {beat} limit :limit;

-- name: deliveries_of_endpoint_up
-- The same, the other way round.
select id, passes from (
  select m.id as id, {delivery_stands} and {message_passes} as passes
  from message_label l cross join message m on m.id = l.message_id
  {with_delivery}
  where l.application_id = :application_id and l.label = ''
    and l.message_id > :low and l.message_id < :high
  order by l.message_id)
where passes or {beat} limit :limit;

-- name: deliveries_late_down
-- The same of messages that have no labels yet: all of them are gone through, newest first.
select id, passes from (
  select m.id as id, m.application_id = :application_id and {delivery_stands}
    and {message_passes} as passes
  from message m
  {with_delivery}
  where m.id > :low and m.id < :high and (m.application_id = :application_id or {beat}))
where passes or {beat} order by id desc limit :limit;

-- name: deliveries_late_up
-- The same, the other way round.
select id, passes from (
  select m.id as id, m.application_id = :application_id and {delivery_stands}
    and {message_passes} as passes
  from message m
  {with_delivery}
  where m.id > :low and m.id < :high and (m.application_id = :application_id or {beat}))
where passes or {beat} order by id limit :limit;

-- name: deliveries_undelivered_down
-- The messages whose delivery to an endpoint ended without having been made and that pass, newest
-- first.
select id, passes from (
  select m.id as id, d.state is null
    and f.state in (select value from json_each(:states)) and {message_passes} as passes
  from finished_delivery f indexed by finished_undelivered
  cross join message m on m.id = f.message_id
  left join delivery d on d.message_id = f.message_id and d.endpoint_id = f.endpoint_id
  where f.endpoint_id = :endpoint_id and f.state <> 'delivered'
    and f.message_id > :low and f.message_id < :high and m.application_id = :application_id
  order by f.message_id desc)
where passes or {beat} limit :limit;

-- name: deliveries_undelivered_up
-- The same, the other way round.
select id, passes from (
  select m.id as id, d.state is null
    and f.state in (select value from json_each(:states)) and {message_passes} as passes
  from finished_delivery f indexed by finished_undelivered
  cross join message m on m.id = f.message_id
  left join delivery d on d.message_id = f.message_id and d.endpoint_id = f.endpoint_id
  where f.endpoint_id = :endpoint_id and f.state <> 'delivered'
    and f.message_id > :low and f.message_id < :high and m.application_id = :application_id
  order by f.message_id)
where passes or {beat} limit :limit;

-- name: deliveries_unfinished_down
-- The messages that an endpoint has yet to get and that pass, newest first.
select id, passes from (
  select d.message_id as id, d.endpoint_id = :endpoint_id and m.application_id = :application_id
    and d.state in (select value from json_each(:states)) and {message_passes} as passes
  from delivery d cross join message m on m.id = d.message_id
  where d.message_id > :low and d.message_id < :high
  order by d.message_id desc)
where passes or {beat} limit :limit;

-- name: deliveries_unfinished_up
-- The same, the other way round.
select id, passes from (
  select d.message_id as id, d.endpoint_id = :endpoint_id and m.application_id = :application_id
    and d.state in (select value from json_each(:states)) and {message_passes} as passes
  from delivery d cross join message m on m.id = d.message_id
  where d.message_id > :low and d.message_id < :high
  order by d.message_id)
where passes or {beat} limit :limit;

-- name: message_at
-- When the message at a place, or the last one before it, was accepted.
select created_at from message where id <= :id order by id desc limit 1;

-- name: attempt_at
-- When the attempt at a place, or the last one before it, was begun.
select started_at from attempt where id <= :id order by id desc limit 1;

-- name: delivery_now
-- Where a delivery stands, and when it is tried next.
select coalesce(d.state, f.state), iif(d.state = 'pending', max(d.due_at, l.held_until), null)
from (select 1)
left join delivery d on d.message_id = :message_id and d.endpoint_id = :endpoint_id
left join finished_delivery f on f.message_id = :message_id and f.endpoint_id = :endpoint_id
left join lane l on l.endpoint_id = :endpoint_id;

-- name: position
-- How far a follower has come, or how often it has gone.
select position from follower where name = :name;

-- name: position_held
-- The same; no other transaction changes it until this one has ended.
select position from follower where name = :name;

-- name: position_set
-- A follower has come so far.
insert into follower (name, position) values (:name, :position)
on conflict (name) do update set position = excluded.position;

-- name: newest
-- When the last message or attempt was made.
select max(
  coalesce((select created_at from message where id = (select max(id) from message)), 0),
  coalesce((select started_at from attempt where id = (select max(id) from attempt)), 0));

-- name: setback_over
-- Whether a time lies within one that was shown twice.
select 1 from setback where high >= :high and low <= :low limit 1;

-- name: setback_insert
-- A time was shown twice.
insert or ignore into setback (high, low) values (:high, :low);

-- name: setbacks_delete
-- Those that are too many go, the oldest first; there are never many.
delete from setback where (high, low) <= (
  select high, low from setback order by high desc, low desc limit 1 offset :kept);

-- name: messages_from
-- The next messages of all, with their payloads where they are kept.
select m.id, m.application_id, m.created_at, p.body
from message m left join payload p on p.message_id = m.id
where m.id > :position order by m.id limit :limit;

-- name: text_insert
-- Note the words of a payload, if it is still kept.
insert into payload_text (rowid, scope, words)
select ?, ?, ? where exists (select 1 from payload where message_id = ?);

-- name: message_next
-- When the first message behind a position was accepted.
select created_at from message where id > :position order by id limit 1;

-- name: attempt_next
-- When the first attempt behind a position was begun.
select started_at from attempt where id > :position order by id limit 1;

-- name: message_first
-- The lowest key of a message.
select coalesce(min(id), 0) from message;

-- name: application_ref
-- What names an application outside.
select public_id from application where id = :id;
