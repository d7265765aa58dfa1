-- The schema itself: where it is, whose it is, and its migrations.

-- name: schema_exists
-- Whether the schema is there, and whether it has tables, views or functions.
select exists (select 1 from pg_namespace where nspname = :schema),
  exists (select 1 from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = :schema);

-- name: schema_mark
-- What the table of migrations says that it is; null where there is none.
select obj_description(c.oid, 'pg_class') from pg_class c
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = :schema and c.relname = 'migration';

-- name: encoding
-- How the database writes text, and the server's version as a number.
select current_setting('server_encoding'), current_setting('server_version_num')::bigint;

-- name: migration_create
-- The migrations that have run. What runs after is kept as 1: an older program cannot serve on it.
create table migration (
  number bigint primary key,
  name text not null,
  after bigint not null,
  applied_at bigint not null default (extract(epoch from clock_timestamp()) * 1000)::bigint
);

-- name: migration_mark
-- The mark by which a schema is known as ours.
comment on table migration is 'Marketbell';

-- name: migrations_all
-- Those that have run.
select number, after from migration order by number;

-- name: migration_insert
-- One has run.
insert into migration (number, name, after) values (:number, :name, :after);

-- name: migrate_lock
-- One program at a time; until the transaction ends.
select pg_try_advisory_xact_lock(hashtextextended('marketbell.migrate ' || :schema, 0));

-- name: migrate_limits
-- A statement runs as long as it needs, and waits for a lock no longer than others may wait behind it.
select set_config('statement_timeout', '0', true),
  set_config('idle_in_transaction_session_timeout', '0', true),
  set_config('lock_timeout', :lock_ms, true);

-- name: nodes_there
-- Whether the schema has come to nodes yet.
select to_regclass('node') is not null;

-- name: nodes_live
-- Nodes that serve, and the last migration that each knows.
select name, schema from node
where lease_until > (extract(epoch from clock_timestamp()) * 1000)::bigint order by name;
