-- migrate: before
-- Background tasks, and what is to be told to operators.

-- Long work, one small step after the other. While a task runs, `due_at` says when its next step
-- may be made; a claim moves it to the end of its lease.
create table task (
  id integer primary key,
  public_id text not null unique,
  kind text not null,
  organization text not null,
  application_id integer not null,
  application_public_id text not null,
  endpoint_id integer,
  endpoint_public_id text,
  selection text not null,
  status text not null check (status in ('running', 'finished', 'failed', 'cancelled')),
  first integer not null,
  last integer not null,
  position integer not null,
  looked integer not null,
  made integer not null,
  skipped integer not null,
  failures integer not null,
  claim_number integer not null,
  due_at integer not null,
  error text,
  created_at integer not null,
  updated_at integer not null
) strict;
create index task_organization on task (organization, id);
create index task_due on task (due_at) where status = 'running';
create index task_running on task (organization) where status = 'running';
create index task_ended on task (updated_at) where status <> 'running';

-- What has happened and is yet to be published to an operator's own endpoints; written in the
-- transaction that it tells of, and only where there is such an endpoint.
create table notice (
  id integer primary key autoincrement,
  public_id text not null unique,
  organization text not null,
  body blob not null
) strict;

-- Messages that were made for one endpoint alone: no other one has missed them.
create table aimed_message (
  message_id integer primary key
) strict;

-- Deliveries that an operator was told of as failing, until they succeed.
create table announced_delivery (
  message_id integer not null,
  endpoint_id integer not null,
  primary key (message_id, endpoint_id)
) strict, without rowid;
