-- What the doctor looks at in PostgreSQL. Every statement reads a bounded number of rows.

-- name: here
-- The server's time in milliseconds, its version for people and as a number, whether it is a
-- replica, and the database's size.
select (extract(epoch from clock_timestamp()) * 1000)::bigint, current_setting('server_version'),
  current_setting('server_version_num')::bigint, pg_is_in_recovery()::int::bigint,
  pg_database_size(current_database());

-- name: durability
-- The settings on which it depends whether what was committed is kept.
select current_setting('fsync'), current_setting('synchronous_commit'),
  current_setting('full_page_writes');

-- name: data_directory
-- Where the server's files are; roles that may not read all settings are refused.
select current_setting('data_directory');

-- name: leases_over
-- Claims whose lease was over before an instant, and when the first of them was.
select count(*), min(due_at) from (
  select due_at from delivery where state = 'sending' and due_at < :before
  order by due_at limit :limit::bigint) as over;

-- name: payloads_held
-- Messages with unfinished deliveries from before a key, and the first of them.
select count(*), min(message_id) from (
  select message_id from delivery where message_id < :before
  order by message_id limit :limit::bigint) as held;

-- name: sealed_keys
-- The ids of the keys that the newest secrets were sealed with, and how many each.
select substr(sealed, 1, 4), count(*) from (
  select sealed from secret order by id desc limit :limit::bigint) as newest group by 1;

-- name: partitions
-- The tables of history and their partitions by name; null for a table that has none.
select p.relname, c.relname from pg_class p
join pg_namespace n on n.oid = p.relnamespace
left join pg_inherits i on i.inhparent = p.oid
left join pg_class c on c.oid = i.inhrelid
where n.nspname = current_schema() and p.relkind = 'p' order by 1, 2;

-- name: connections
-- How many connections there are, and how many there may be for ordinary roles.
select (select sum(numbackends) from pg_stat_database)::bigint,
  current_setting('max_connections')::bigint
    - current_setting('superuser_reserved_connections')::bigint
    - coalesce(current_setting('reserved_connections', true), '0')::bigint;

-- name: transactions
-- The age in milliseconds of the oldest transaction that can be seen, and of the oldest prepared
-- one; and the replication slots that nobody reads, by name.
select
  (select (extract(epoch from max(clock_timestamp() - xact_start)) * 1000)::bigint
    from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()),
  (select (extract(epoch from max(clock_timestamp() - prepared)) * 1000)::bigint
    from pg_prepared_xacts where database = current_database()),
  (select string_agg(slot_name, ', ' order by slot_name)
    from pg_replication_slots where not active);

-- name: rights
-- The role, who owns the tables, whether the role has that one's rights, whether it may use the
-- schema, and the first of our tables and sequences that it may not; no row where the schema is
-- not there. What stands in the schema beside ours does not matter, but partitions do.
select current_user::text, pg_get_userbyid(m.relowner)::text, pg_has_role(m.relowner, 'usage'),
  has_schema_privilege(n.oid, 'usage'),
  (select min(c.relname)::text from pg_class c
    where c.relnamespace = n.oid and c.relkind in ('r', 'p') and (c.relispartition
      or c.relname in (select jsonb_array_elements_text(:ours::text::jsonb)))
      and not (has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'insert')
        and has_table_privilege(c.oid, 'update') and has_table_privilege(c.oid, 'delete'))),
  (select min(c.relname)::text from pg_class c
    where c.relnamespace = n.oid
      and c.relname in (select jsonb_array_elements_text(:ours::text::jsonb))
      and case when c.relkind = 'S' then not has_sequence_privilege(c.oid, 'usage') end)
from pg_namespace n join pg_class m on m.relnamespace = n.oid and m.relname = 'migration'
where n.nspname = :schema;
