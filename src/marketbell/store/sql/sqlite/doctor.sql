-- What the doctor looks at in an SQLite file. Every statement reads a bounded number of rows.

-- name: newest
-- When the newest message was accepted.
select created_at from message order by id desc limit 1;

-- name: leases_over
-- Claims whose lease was over before an instant, and when the first of them was.
select count(*), min(due_at) from (
  select due_at from delivery where state = 'sending' and due_at < :before order by due_at limit :limit);

-- name: payloads_held
-- Of the messages with unfinished deliveries, the first of all: those from before an instant, and
-- when the first of them was accepted.
select count(*), min(created_at) from (
  select m.created_at from (select distinct message_id from delivery order by message_id limit :limit) d
  join message m on m.id = d.message_id where m.created_at < :before);

-- name: sealed_keys
-- The ids of the keys that the newest secrets were sealed with, and how many each.
select substr(sealed, 1, 4), count(*) from (
  select sealed from secret order by id desc limit :limit) group by 1;
