-- migrate: before
-- What searches and figures stand on, beside the lists' own indexes.

-- Messages by event type (`e` and the name), channel (`c`) and tag (`t`), within their application,
-- and all of it by the empty label. Written behind, many at once and sorted: each index of the table
-- would cost a publish a tenth.
create table message_label (
  application_id integer not null,
  label text not null,
  message_id integer not null,
  primary key (application_id, label, message_id)
) strict, without rowid;

create trigger message_unlabelled after delete on message
begin
  delete from message_label
  where application_id = old.application_id and label = '' and message_id = old.id;
  delete from message_label
  where application_id = old.application_id and label = 'e' || old.event_type and message_id = old.id;
  delete from message_label
  where old.channels is not null and application_id = old.application_id and message_id = old.id
    and label in (select 'c' || value from json_each(old.channels));
  delete from message_label
  where old.tags is not null and application_id = old.application_id and message_id = old.id
    and label in (select 't' || value from json_each(old.tags));
end;

-- Attempts by endpoint, written behind as well.
create table endpoint_attempt (
  endpoint_id integer not null,
  attempt_id integer not null,
  primary key (endpoint_id, attempt_id)
) strict, without rowid;

create trigger attempt_forgotten after delete on attempt
begin
  delete from endpoint_attempt where endpoint_id = old.endpoint_id and attempt_id = old.id;
end;

-- Attempts that were not accepted, and the few that were with another status than 2xx: of one
-- endpoint, and of all.
create index attempt_refused on attempt (endpoint_id, id)
  where outcome <> 'accepted' or status_code not between 200 and 299;
create index attempt_refused_anywhere on attempt (id)
  where outcome <> 'accepted' or status_code not between 200 and 299;

-- Deliveries that ended without having been made.
create index finished_undelivered on finished_delivery (endpoint_id, message_id, state)
  where state <> 'delivered';

-- figures ---------------------------------------------------------------------------------

-- What transactions changed in the figures and has not been added up yet: JSON lists of hour,
-- endpoint and six numbers.
create table tally (
  id integer primary key,
  counts text not null
) strict;

-- Deliveries by the hour in which their message was accepted; attempts by the hour in which they
-- were begun.
create table endpoint_hour (
  hour integer not null,
  endpoint_id integer not null,
  born integer not null,
  delivered integer not null,
  failed integer not null,
  cancelled integer not null,
  accepted integer not null,
  refused integer not null,
  primary key (hour, endpoint_id)
) strict, without rowid;

-- text ------------------------------------------------------------------------------------

-- How far those have come that follow what is written.
create table follower (
  name text primary key,
  position integer not null
) strict, without rowid;

-- Times that a clock which was set back has shown twice.
create table setback (
  high integer not null,
  low integer not null,
  primary key (high, low)
) strict, without rowid;

-- The words of payloads by message; `scope` is the application. Holds nothing unless it is asked for.
create virtual table payload_text using fts5 (
  scope, words, content = '', contentless_delete = 1, detail = column, tokenize = 'unicode61'
);

create trigger payload_forgotten after delete on payload
begin
  delete from payload_text where rowid = old.message_id;
end;
