-- migrate: before
-- The outbox has its tables here too, so that both databases have the same; nothing comes into them.

create table outbox (
  id integer primary key,
  "transaction" integer not null default 0,
  organization text,
  application text not null,
  body blob not null,
  created_at integer not null
) strict;

create table outbox_rejected (
  id integer primary key,
  public_id text not null unique,
  organization text,
  application text not null,
  body blob not null,
  created_at integer not null,
  rejected_at integer not null,
  code text not null,
  reason text not null
) strict;
create index outbox_rejected_organization on outbox_rejected (organization, id);
create index outbox_rejected_age on outbox_rejected (rejected_at);
