-- What is written behind for the lists of messages and attempts on SQLite: runs of new rows, sorted.

-- name: message_run
-- The first message behind a position, and the last one.
select (select min(id) from message where id > :position), (select max(id) from message);

-- name: label_messages
-- Note a run of messages, by their application.
insert or ignore into message_label (application_id, label, message_id)
select application_id, '', id from message
where id > :position and id <= :until order by application_id, id;

-- name: label_event_types
-- Note their event types.
insert or ignore into message_label (application_id, label, message_id)
select application_id, 'e' || event_type, id from message
where id > :position and id <= :until order by application_id, event_type, id;

-- name: label_channels
-- Note the channels of those that have some.
insert or ignore into message_label (application_id, label, message_id)
select m.application_id, 'c' || value, m.id
from message m cross join json_each(m.channels)
where m.id > :position and m.id <= :until and m.channels is not null
order by m.application_id, value, m.id;

-- name: label_tags
-- Note the tags of those that have some.
insert or ignore into message_label (application_id, label, message_id)
select m.application_id, 't' || value, m.id
from message m cross join json_each(m.tags)
where m.id > :position and m.id <= :until and m.tags is not null
order by m.application_id, value, m.id;

-- name: attempt_run
-- The first attempt behind a position, and the last one.
select (select min(id) from attempt where id > :position), (select max(id) from attempt);

-- name: note_attempts
-- Note a run of attempts, by their endpoint.
insert or ignore into endpoint_attempt (endpoint_id, attempt_id)
select endpoint_id, id from attempt
where id > :position and id <= :until order by endpoint_id, id;

-- name: positions_lower
-- What was noted ends with the last row that is kept: keys above it may be given again.
update follower
set position = iif(name = 'labels', (select coalesce(max(id), 0) from message),
  (select coalesce(max(id), 0) from attempt))
where name in ('labels', 'attempts') and position > iif(name = 'labels',
  (select coalesce(max(id), 0) from message), (select coalesce(max(id), 0) from attempt));
