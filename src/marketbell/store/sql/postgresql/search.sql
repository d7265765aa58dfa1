-- Walks over messages, attempts and deliveries on PostgreSQL. Each gives the rows that pass in order,
-- and of the others about one in 128, so that the reader learns how far the walk has come.

-- part: beat
-- One row in 128, whatever the distance between the rows.
(((walked.id % 65521) * 40503) & 65535) < 512

-- part: message_passes
-- Whether a message passes a filter.
(:since::bigint is null or m.created_at >= :since)
    and (:until::bigint is null or m.created_at < :until)
    and (:event_types::text is null or m.event_type in (
      select jsonb_array_elements_text(:event_types::text::jsonb)))
    and (:channel::text is null or jsonb_exists(m.channels::jsonb, :channel))
    and (:tag::text is null or jsonb_exists(m.tags::jsonb, :tag))

-- part: attempt_passes
-- Whether an attempt and its message pass a filter.
(:since::bigint is null or a.started_at >= :since)
    and (:until::bigint is null or a.started_at < :until)
    and (:succeeded::boolean is null or (a.outcome = 'accepted') = :succeeded)
    and (:status_code_class::bigint is null or a.status_code / 100 * 100 = :status_code_class)
    and (:event_types::text is null or m.event_type in (
      select jsonb_array_elements_text(:event_types::text::jsonb)))
    and (:channel::text is null or jsonb_exists(m.channels::jsonb, :channel))
    and (:tag::text is null or jsonb_exists(m.tags::jsonb, :tag))

-- part: its_message
-- The message of an attempt, looked up by its key in the one partition that it is in: `offset 0`
-- leaves no other way.
cross join lateral (select m.* from message m where m.id = a.message_id offset 0) as m

-- part: refused
-- What the index over attempts that were not accepted holds.
(a.outcome <> 'accepted' or a.status_code not between 200 and 299)

-- part: of_organization
-- Whether an application belongs to the organization.
exists (select 1 from application o
      where o.id = m.application_id and o.organization = :organization)

-- name: messages_down
-- The messages of an application that pass, newest first.
select walked.id, walked.passes from (
  select m.id, {message_passes} as passes
  from message m
  where m.application_id = :application_id and m.id > :low and m.id < :high) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: messages_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select m.id, {message_passes} as passes
  from message m
  where m.application_id = :application_id and m.id > :low and m.id < :high) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: messages_typed_down
-- The messages of some event types, newest first, and whether they pass; they are found first and
-- then looked at, so that no source is read for longer than for one piece.
with found as materialized (
  select nearest.*
  from jsonb_array_elements_text(:sources::text::jsonb) as source (name)
  cross join lateral (
    select m.id from message m
    where m.application_id = :application_id and m.event_type = source.name
      and m.id > :low and m.id < :high
    order by 1 desc limit :limit::bigint) as nearest
  order by 1 desc limit :limit::bigint)
select m.id, {message_passes}
from found
cross join lateral (select m.* from message m where m.id = found.id offset 0) as m
order by 1 desc;

-- name: messages_typed_up
-- The same, the other way round.
with found as materialized (
  select nearest.*
  from jsonb_array_elements_text(:sources::text::jsonb) as source (name)
  cross join lateral (
    select m.id from message m
    where m.application_id = :application_id and m.event_type = source.name
      and m.id > :low and m.id < :high
    order by 1 limit :limit::bigint) as nearest
  order by 1 limit :limit::bigint)
select m.id, {message_passes}
from found
cross join lateral (select m.* from message m where m.id = found.id offset 0) as m
order by 1;

-- name: messages_labelled_down
-- The messages of one channel or tag that pass, newest first.
select walked.id, walked.passes from (
  select l.message_id as id, {message_passes} as passes
  from message_label l
  cross join lateral (select m.* from message m where m.id = l.message_id offset 0) as m
  where l.application_id = :application_id and l.label = :label
    and l.message_id > :low and l.message_id < :high) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: messages_labelled_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select l.message_id as id, {message_passes} as passes
  from message_label l
  cross join lateral (select m.* from message m where m.id = l.message_id offset 0) as m
  where l.application_id = :application_id and l.label = :label
    and l.message_id > :low and l.message_id < :high) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: messages_anywhere_down
-- The messages of an organization that pass, newest first.
select walked.id, walked.passes from (
  select m.id, {of_organization} and {message_passes} as passes
  from message m where m.id > :low and m.id < :high) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: messages_anywhere_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select m.id, {of_organization} and {message_passes} as passes
  from message m where m.id > :low and m.id < :high) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: messages_worded_down
-- The messages of a span whose payload has some words and that pass, newest first.
with found as materialized (
  select t.message_id from payload_text t
  where t.words @> string_to_array(:words::text, ' ')
    and t.message_id > :low and t.message_id < :high)
select m.id
from found
cross join lateral (select m.* from message m where m.id = found.message_id offset 0) as m
where m.application_id = :application_id
  and exists (select 1 from payload p where p.message_id = found.message_id) and {message_passes}
order by m.id desc limit :limit::bigint;

-- name: messages_worded_up
-- The same, the other way round.
with found as materialized (
  select t.message_id from payload_text t
  where t.words @> string_to_array(:words::text, ' ')
    and t.message_id > :low and t.message_id < :high)
select m.id
from found
cross join lateral (select m.* from message m where m.id = found.message_id offset 0) as m
where m.application_id = :application_id
  and exists (select 1 from payload p where p.message_id = found.message_id) and {message_passes}
order by m.id limit :limit::bigint;

-- name: attempts_of_endpoint_down
-- The attempts at an endpoint that pass, newest first.
select walked.id, walked.passes from (
  select a.id, {attempt_passes} as passes
  from attempt a {its_message}
  where a.endpoint_id = :endpoint_id and a.id > :low and a.id < :high
    and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: attempts_of_endpoint_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select a.id, {attempt_passes} as passes
  from attempt a {its_message}
  where a.endpoint_id = :endpoint_id and a.id > :low and a.id < :high
    and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: attempts_refused_of_endpoint_down
-- The attempts at an endpoint that were not accepted and that pass, newest first.
select walked.id, walked.passes from (
  select a.id, {attempt_passes} as passes
  from attempt a {its_message}
  where a.endpoint_id = :endpoint_id and a.id > :low and a.id < :high and {refused}
    and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: attempts_refused_of_endpoint_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select a.id, {attempt_passes} as passes
  from attempt a {its_message}
  where a.endpoint_id = :endpoint_id and a.id > :low and a.id < :high and {refused}
    and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: attempts_of_endpoints_down
-- The attempts at some endpoints, newest first, and whether they pass; see messages_typed.
with found as materialized (
  select nearest.*
  from jsonb_array_elements_text(:sources::text::jsonb) as source (name)
  cross join lateral (
    select a.id from attempt a
    where a.endpoint_id = source.name::bigint and a.id > :low and a.id < :high
    order by 1 desc limit :limit::bigint) as nearest
  order by 1 desc limit :limit::bigint)
select a.id, m.application_id = :application_id and {attempt_passes}
from found
cross join lateral (select a.* from attempt a where a.id = found.id offset 0) as a
{its_message}
order by 1 desc;

-- name: attempts_of_endpoints_up
-- The same, the other way round.
with found as materialized (
  select nearest.*
  from jsonb_array_elements_text(:sources::text::jsonb) as source (name)
  cross join lateral (
    select a.id from attempt a
    where a.endpoint_id = source.name::bigint and a.id > :low and a.id < :high
    order by 1 limit :limit::bigint) as nearest
  order by 1 limit :limit::bigint)
select a.id, m.application_id = :application_id and {attempt_passes}
from found
cross join lateral (select a.* from attempt a where a.id = found.id offset 0) as a
{its_message}
order by 1;

-- name: attempts_refused_of_endpoints_down
-- The same of those that were not accepted.
with found as materialized (
  select nearest.*
  from jsonb_array_elements_text(:sources::text::jsonb) as source (name)
  cross join lateral (
    select a.id from attempt a
    where a.endpoint_id = source.name::bigint and a.id > :low and a.id < :high and {refused}
    order by 1 desc limit :limit::bigint) as nearest
  order by 1 desc limit :limit::bigint)
select a.id, m.application_id = :application_id and {attempt_passes}
from found
cross join lateral (select a.* from attempt a where a.id = found.id offset 0) as a
{its_message}
order by 1 desc;

-- name: attempts_refused_of_endpoints_up
-- The same, the other way round.
with found as materialized (
  select nearest.*
  from jsonb_array_elements_text(:sources::text::jsonb) as source (name)
  cross join lateral (
    select a.id from attempt a
    where a.endpoint_id = source.name::bigint and a.id > :low and a.id < :high and {refused}
    order by 1 limit :limit::bigint) as nearest
  order by 1 limit :limit::bigint)
select a.id, m.application_id = :application_id and {attempt_passes}
from found
cross join lateral (select a.* from attempt a where a.id = found.id offset 0) as a
{its_message}
order by 1;

-- name: attempts_of_message_down
-- The attempts of a message that pass, newest first.
select walked.id, walked.passes from (
  select a.id,
    (:endpoint_id::bigint is null or a.endpoint_id = :endpoint_id) and {attempt_passes} as passes
  from attempt a {its_message}
  where a.message_id = :message_id and a.id > :low and a.id < :high
    and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: attempts_of_message_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select a.id,
    (:endpoint_id::bigint is null or a.endpoint_id = :endpoint_id) and {attempt_passes} as passes
  from attempt a {its_message}
  where a.message_id = :message_id and a.id > :low and a.id < :high
    and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: attempts_anywhere_down
-- The attempts of an organization that pass, newest first.
select walked.id, walked.passes from (
  select a.id, {of_organization} and {attempt_passes} as passes
  from attempt a {its_message}
  where a.id > :low and a.id < :high) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: attempts_anywhere_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select a.id, {of_organization} and {attempt_passes} as passes
  from attempt a {its_message}
  where a.id > :low and a.id < :high) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: attempts_refused_anywhere_down
-- The attempts of an organization that were not accepted and that pass, newest first.
select walked.id, walked.passes from (
  select a.id, {of_organization} and {attempt_passes} as passes
  from attempt a {its_message}
  where a.id > :low and a.id < :high and {refused}) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: attempts_refused_anywhere_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select a.id, {of_organization} and {attempt_passes} as passes
  from attempt a {its_message}
  where a.id > :low and a.id < :high and {refused}) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: endpoints_ever
-- The endpoints that an application has and had, as far as they are kept.
select id from endpoint where application_id = :application_id;

-- name: deliveries_of_endpoint_down
-- The messages of an application that have a delivery to an endpoint and that pass, newest first.
select walked.id, walked.passes from (
  select m.id, coalesce(d.state, f.state) is not null
    and (:states::text is null or coalesce(d.state, f.state) in (
      select jsonb_array_elements_text(:states::text::jsonb)))
    and {message_passes} as passes
  from message m
  left join lateral (select d.state from delivery d
    where d.message_id = m.id and d.endpoint_id = :endpoint_id offset 0) as d on true
  left join lateral (select f.state from finished_delivery f
    where f.message_id = m.id and f.endpoint_id = :endpoint_id offset 0) as f on true
  where m.application_id = :application_id and m.id > :low and m.id < :high) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: deliveries_of_endpoint_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select m.id, coalesce(d.state, f.state) is not null
    and (:states::text is null or coalesce(d.state, f.state) in (
      select jsonb_array_elements_text(:states::text::jsonb)))
    and {message_passes} as passes
  from message m
  left join lateral (select d.state from delivery d
    where d.message_id = m.id and d.endpoint_id = :endpoint_id offset 0) as d on true
  left join lateral (select f.state from finished_delivery f
    where f.message_id = m.id and f.endpoint_id = :endpoint_id offset 0) as f on true
  where m.application_id = :application_id and m.id > :low and m.id < :high) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: deliveries_undelivered_down
-- The messages whose delivery to an endpoint ended without having been made and that pass, newest
-- first.
select walked.id, walked.passes from (
  select f.message_id as id, d.state is null
    and f.state in (select jsonb_array_elements_text(:states::text::jsonb)) and {message_passes} as passes
  from finished_delivery f
  cross join lateral (select m.* from message m where m.id = f.message_id offset 0) as m
  left join lateral (select d.state from delivery d
    where d.message_id = f.message_id and d.endpoint_id = :endpoint_id offset 0) as d on true
  where f.endpoint_id = :endpoint_id and f.state <> 'delivered'
    and f.message_id > :low and f.message_id < :high and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: deliveries_undelivered_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select f.message_id as id, d.state is null
    and f.state in (select jsonb_array_elements_text(:states::text::jsonb)) and {message_passes} as passes
  from finished_delivery f
  cross join lateral (select m.* from message m where m.id = f.message_id offset 0) as m
  left join lateral (select d.state from delivery d
    where d.message_id = f.message_id and d.endpoint_id = :endpoint_id offset 0) as d on true
  where f.endpoint_id = :endpoint_id and f.state <> 'delivered'
    and f.message_id > :low and f.message_id < :high and m.application_id = :application_id) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: deliveries_unfinished_down
-- The messages that an endpoint has yet to get and that pass, newest first.
select walked.id, walked.passes from (
  select d.message_id as id, d.endpoint_id = :endpoint_id and m.application_id = :application_id
    and d.state in (select jsonb_array_elements_text(:states::text::jsonb)) and {message_passes} as passes
  from delivery d
  cross join lateral (select m.* from message m where m.id = d.message_id offset 0) as m
  where d.message_id > :low and d.message_id < :high) as walked
where walked.passes or {beat} order by walked.id desc limit nullif(:limit::bigint, -1);

-- name: deliveries_unfinished_up
-- The same, the other way round.
select walked.id, walked.passes from (
  select d.message_id as id, d.endpoint_id = :endpoint_id and m.application_id = :application_id
    and d.state in (select jsonb_array_elements_text(:states::text::jsonb)) and {message_passes} as passes
  from delivery d
  cross join lateral (select m.* from message m where m.id = d.message_id offset 0) as m
  where d.message_id > :low and d.message_id < :high) as walked
where walked.passes or {beat} order by walked.id limit nullif(:limit::bigint, -1);

-- name: message_at
-- When the message at a place, or the last one before it, was accepted.
select created_at from message where id <= :id order by id desc limit 1;

-- name: attempt_at
-- When the attempt at a place, or the last one before it, was begun.
select started_at from attempt where id <= :id order by id desc limit 1;

-- name: message_last
-- The highest key of a message.
select coalesce(max(id), 0) from message;

-- name: attempt_last
-- The highest key of an attempt.
select coalesce(max(id), 0) from attempt;

-- name: message_first
-- The lowest key of a message.
select coalesce(min(id), 0) from message;

-- name: attempt_first
-- The lowest key of an attempt.
select coalesce(min(id), 0) from attempt;

-- name: plan_for_words
-- The plan for a search by words depends on the words.
select set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: delivery_now
-- Where a delivery stands, and when it is tried next.
select coalesce(d.state, f.state),
  case when d.state = 'pending' then greatest(d.due_at, l.held_until) else null end
from (select 1) as one
left join delivery d on d.message_id = :message_id and d.endpoint_id = :endpoint_id
left join finished_delivery f on f.message_id = :message_id and f.endpoint_id = :endpoint_id
left join lane l on l.endpoint_id = :endpoint_id;

-- name: deliveries_now
-- The same of many deliveries to one endpoint, each after its message.
select asked.key::bigint, coalesce(d.state, f.state),
  case when d.state = 'pending' then greatest(d.due_at, l.held_until) else null end
from jsonb_array_elements_text(:keys::text::jsonb) as asked (key)
left join lateral (
  select d.state, d.due_at from delivery d
  where d.message_id = asked.key::bigint and d.endpoint_id = :endpoint_id offset 0) as d on true
left join lateral (
  select f.state from finished_delivery f
  where f.message_id = asked.key::bigint and f.endpoint_id = :endpoint_id offset 0) as f on true
left join lane l on l.endpoint_id = :endpoint_id;

-- name: position
-- How far a follower has come, or how often it has gone.
select position from follower where name = :name;

-- name: position_held
-- The same; no other transaction changes it until this one has ended.
insert into follower (name, position) values (:name, 0)
on conflict (name) do update set position = follower.position returning position;

-- name: position_set
-- A follower has come so far.
insert into follower (name, position) values (:name, :position)
on conflict (name) do update set position = excluded.position;

-- name: newest
-- When the last message or attempt was made.
select greatest(
  coalesce((select created_at from message order by id desc limit 1), 0),
  coalesce((select started_at from attempt order by id desc limit 1), 0));

-- name: setback_over
-- Whether a time lies within one that was shown twice.
select 1 from setback where high >= :high and low <= :low limit 1;

-- name: setback_insert
-- A time was shown twice.
insert into setback (high, low) values (:high, :low) on conflict do nothing;

-- name: setbacks_delete
-- Those that are too many go, the oldest first; there are never many.
delete from setback where (high, low) <= (
  select high, low from setback order by high desc, low desc limit 1 offset :kept);

-- name: messages_from
-- The next messages of all, with their payloads where they are kept.
select m.id, m.application_id, m.created_at, p.body
from message m
left join lateral (select p.body from payload p where p.message_id = m.id offset 0) as p on true
where m.id > :position order by m.id limit :limit::bigint;

-- name: messages_late
-- Messages of a run whose words were not noted, with their payloads where they are kept, and the
-- last one of the run if more follow it.
with looked as materialized (
  select m.id from message m where m.id > :position and m.id < :until
  order by m.id limit :limit::bigint)
select m.id, m.application_id, m.created_at, p.body
from looked
cross join lateral (select m.* from message m where m.id = looked.id offset 0) as m
left join lateral (
  select t.message_id from payload_text t where t.message_id = looked.id offset 0) as t on true
left join lateral (
  select p.* from payload p where p.message_id = looked.id and t.message_id is null offset 0
) as p on true
where p.message_id is not null
  or looked.id = (select max(id) from looked having count(*) = :limit)
order by m.id;

-- name: oldest_writer
-- What time it is, and since when the oldest transaction has been open that may have written
-- something; those of other roles cannot be seen.
select (extract(epoch from clock_timestamp()) * 1000)::bigint,
  (extract(epoch from least(clock_timestamp(), (
    select min(a.xact_start) from pg_stat_activity a
    where a.datname = current_database() and a.backend_xid is not null))) * 1000)::bigint;

-- name: text_insert
-- Note the words of a payload, if it is still kept.
insert into payload_text (message_id, words)
select $1::bigint, string_to_array('#' || $2::text || ' ' || $3::text, ' ')
where exists (select 1 from payload where message_id = $4::bigint)
on conflict do nothing;

-- name: message_next
-- When the first message behind a position was accepted.
select created_at from message where id > :position order by id limit 1;

-- name: application_ref
-- What names an application outside.
select public_id from application where id = :id;
