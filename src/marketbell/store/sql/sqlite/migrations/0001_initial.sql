-- migrate: before
-- The first schema: configuration, the queue, and history.

-- configuration ---------------------------------------------------------------------------

create table application (
  id integer primary key,
  public_id text not null unique,
  organization text not null,
  uid text,
  name text not null,
  metadata text not null,
  dialect text,
  retry_schedule text,
  timeout integer,
  max_in_flight integer,
  order_by text,
  order_on_failure text,
  throttle_rate integer,
  revision integer not null,
  created_at integer not null,
  updated_at integer not null,
  deleted_at integer
) strict;
create unique index application_uid on application (organization, uid)
  where uid is not null and deleted_at is null;
create index application_organization on application (organization, id);
create index application_deleted on application (deleted_at, id)
  where deleted_at is not null;

create table endpoint (
  id integer primary key,
  public_id text not null unique,
  application_id integer not null references application,
  uid text,
  url text not null,
  description text not null,
  event_types text,
  channels text,
  sealed_headers blob,
  metadata text not null,
  dialect text,
  retry_schedule text,
  timeout integer,
  max_in_flight integer,
  order_by text,
  order_on_failure text,
  throttle_rate integer,
  disabled integer not null,
  paused integer not null,
  slot integer not null,
  revision integer not null,
  version integer not null,
  created_at integer not null,
  updated_at integer not null,
  deleted_at integer
) strict;
create unique index endpoint_uid on endpoint (application_id, uid)
  where uid is not null and deleted_at is null;
create index endpoint_application on endpoint (application_id, id);
create index endpoint_deleted on endpoint (deleted_at, id)
  where deleted_at is not null;

-- Secrets are ciphertext; the sealed bytes begin with the id of the key that sealed them.
create table secret (
  id integer primary key,
  endpoint_id integer not null references endpoint,
  kind text not null,
  sealed blob not null,
  expires_at integer,
  created_at integer not null
) strict;
create index secret_endpoint on secret (endpoint_id, id);
create index secret_expiry on secret (expires_at) where expires_at is not null;

create table event_type (
  organization text not null,
  name text not null,
  description text not null,
  schemas blob,
  archived integer not null,
  deprecated integer not null,
  group_name text,
  feature_flags text,
  created_at integer not null,
  updated_at integer not null,
  primary key (organization, name)
) strict, without rowid;

-- How often an organization's event types have changed.
create table event_type_revision (
  organization text primary key,
  revision integer not null
) strict, without rowid;

-- the queue -------------------------------------------------------------------------------

-- One row per endpoint: when it next has something to send, never earlier than held_until.
create table lane (
  endpoint_id integer primary key references endpoint,
  slot integer not null,
  next_at integer,
  held_until integer not null default 0,
  failing_since integer
) strict;
create index lane_next on lane (next_at) where next_at is not null;
create index lane_failing on lane (failing_since) where failing_since is not null;

-- Unfinished deliveries only; a row leaves when its delivery ends.
create table delivery (
  message_id integer not null,
  endpoint_id integer not null,
  state text not null check (state in ('pending', 'sending')),
  due_at integer not null,
  claim_number integer not null,
  attempt_count integer not null,
  lost_count integer not null,
  born_at integer not null,
  trigger text not null,
  order_key blob,
  place integer not null,
  primary key (message_id, endpoint_id)
) strict, without rowid;
create index delivery_due on delivery (endpoint_id, due_at) where state = 'pending';
create index delivery_leased on delivery (due_at) where state = 'sending';
create index delivery_order on delivery (endpoint_id, order_key, place) where order_key is not null;
create index delivery_parked on delivery (lost_count)
  where lost_count > 0 and due_at >= 4611686018427387904;

-- Keys of an endpoint that wait for a failed delivery to be resolved.
create table held_key (
  endpoint_id integer not null,
  order_key blob not null,
  message_id integer not null,
  primary key (endpoint_id, order_key)
) strict, without rowid;
create index held_key_message on held_key (message_id);

-- Once-only marks of POSTs, in buckets of time that are dropped whole. Rows stand in order of
-- arrival: random keys in an index of this file would cost a page of log each. The index over the
-- keys is a temporary table of the writing connection, made anew when the file is opened.
create table idempotency (
  bucket integer not null,
  sequence integer not null,
  key blob not null,
  body blob not null,
  message_id integer,
  answer blob,
  primary key (bucket, sequence)
) strict, without rowid;

-- history ---------------------------------------------------------------------------------

create table message (
  id integer primary key,
  public_id text not null unique,
  application_id integer not null,
  event_type text not null,
  event_id text,
  channels text,
  tags text,
  occurred_at integer not null,
  created_at integer not null,
  payload_expires_at integer not null,
  deliver_at integer,
  headers text
) strict;
create unique index message_event_id on message (application_id, event_id)
  where event_id is not null;

create table payload (
  message_id integer primary key,
  body blob not null
) strict;

-- Payloads that are kept for another time than the setting says.
create table payload_expiry (
  expires_at integer not null,
  message_id integer not null,
  primary key (expires_at, message_id)
) strict, without rowid;

create table attempt (
  id integer primary key,
  public_id text not null unique,
  message_id integer not null,
  endpoint_id integer not null,
  claim_number integer not null,
  number integer not null,
  trigger text not null,
  outcome text not null,
  status_code integer not null,
  reason text not null,
  response blob,
  url text not null,
  address text not null,
  started_at integer not null,
  duration integer not null
) strict;
create index attempt_message on attempt (message_id, id);

create table finished_delivery (
  message_id integer not null,
  endpoint_id integer not null,
  -- Not as a list: SQLite would make a table of three values for each row that it checks.
  state text not null check (state = 'delivered' or state = 'failed' or state = 'cancelled'),
  attempt_count integer not null,
  claim_number integer not null,
  finished_at integer not null,
  primary key (message_id, endpoint_id)
) strict, without rowid;
