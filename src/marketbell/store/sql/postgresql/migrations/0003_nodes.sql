-- migrate: before
-- Nodes that share this database, and which of them serves which endpoints.

-- One row for each node, as long as it lives and an hour more. Its lease is on the clock of this
-- server; a node gives it up when it ends, and whoever finds it over takes its slots.
create table node (
  id bigint generated always as identity primary key,
  -- Twice this, and one more, is the middle of the keys that it gives out; see store/keys.py.
  number bigint not null unique,
  name text collate "C" not null,
  role text collate "C" not null,
  version text collate "C" not null,
  -- The last migration that its program knows.
  schema bigint not null,
  -- Whether it gives up its slots and ends.
  leaving bigint not null default 0,
  -- Whether what it asks of this server for its slots gets through; if not, others are to have them.
  fit bigint not null default 1,
  -- By how much its machine's clock is ahead of this server's, in milliseconds.
  skew bigint not null default 0,
  started_at bigint not null,
  lease_until bigint not null
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Numbers are given out in a circle, so that one that was given up is not soon given again.
create sequence node_number as bigint minvalue 0 maxvalue 510 cycle;

-- A share of all endpoints. `fence` rises whenever it changes hands.
create table slot (
  slot bigint primary key,
  node_id bigint,
  fence bigint not null default 0
) with (fillfactor = 50, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0);
insert into slot (slot) select generate_series(0, 1023);

-- What a node looks for: which of its lanes falls due next, slot by slot.
create index lane_slot on lane (slot, next_at) where next_at is not null;
