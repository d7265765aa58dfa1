-- migrate: before
-- The things of the marketplaces' sandbox, and who may use the marketplaces' own APIs.

create table entity (
  kind text not null,
  number integer not null,
  application_id integer not null references application,
  key text not null,
  -- 1 if no other of its application and kind may have its key.
  sole integer not null,
  parent integer not null,
  state text not null,
  -- 1 once it has ended, so that it may go when it is old.
  over integer not null,
  revision integer not null,
  body blob not null,
  created_at integer not null,
  updated_at integer not null,
  primary key (kind, number)
) strict, without rowid;
create index entity_created on entity (application_id, kind, created_at, number);
create index entity_updated on entity (application_id, kind, updated_at, number);
create index entity_state on entity (application_id, kind, state, created_at, number);
create index entity_key on entity (application_id, kind, key) where key <> '';
create unique index entity_sole on entity (application_id, kind, key) where sole = 1;
create index entity_over on entity (kind, updated_at, number) where over = 1;
create index entity_parent on entity (application_id, kind, parent) where parent <> 0;

-- The last number that was given out for each kind.
create table entity_number (
  kind text primary key,
  last integer not null
) strict, without rowid;

create table credential (
  id integer primary key,
  public_id text not null unique,
  application_id integer not null references application,
  marketplace text not null,
  user text not null,
  sealed blob not null,
  created_at integer not null,
  unique (marketplace, user)
) strict;
create index credential_application on credential (application_id);
