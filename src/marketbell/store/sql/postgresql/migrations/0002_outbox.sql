-- migrate: before
-- The transactional outbox: messages that callers put here in transactions of their own.
--
-- A caller's role needs nothing but USAGE on the schema and INSERT on three columns of outbox. There
-- is no trigger that notifies: NOTIFY takes one lock of the whole server from the commit's beginning
-- to its end, so that callers would commit one after the other (measured: 3,600 instead of 15,100 a
-- second with 32 callers). Nodes look here every few milliseconds instead.

create table outbox (
  -- The caller's transaction; none that commits later has one that was over when a node last looked.
  transaction bigint not null default pg_current_xact_id()::text::bigint,
  id bigint generated always as identity,
  organization text,
  application text not null,
  -- As POST /api/v1/app/{app_id}/msg takes it; `json` keeps the text as it was given.
  body json not null check (octet_length(body::text) <= 16777216),
  created_at bigint not null default (extract(epoch from clock_timestamp()) * 1000)::bigint
    check (created_at between 0 and 253402214399999),
  primary key (transaction, id),
  -- What is longer names nothing, and would not fit into the index of what is rejected.
  check (octet_length(application) <= 1024 and octet_length(organization) <= 1024)
) with (
  -- Rows live for milliseconds: what is dead is swept often, by its number and not by its share.
  autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_insert_threshold = -1,
  autovacuum_vacuum_cost_delay = 0,
  autovacuum_analyze_threshold = 10000,
  autovacuum_analyze_scale_factor = 0,
  toast.autovacuum_vacuum_threshold = 500,
  toast.autovacuum_vacuum_scale_factor = 0,
  toast.autovacuum_vacuum_cost_delay = 0
);

-- Those that were refused when they were taken: an application that is not there, a schema.
create table outbox_rejected (
  id bigint generated always as identity primary key,
  public_id text not null unique,
  organization text,
  application text not null,
  body json not null,
  created_at bigint not null,
  rejected_at bigint not null,
  code text not null,
  reason text not null
);
create index outbox_rejected_organization on outbox_rejected (organization, id);
create index outbox_rejected_age on outbox_rejected (rejected_at);

-- Whose an application is that a message names by its uid alone.
create index application_uid_alone on application (uid)
  where uid is not null and deleted_at is null;
