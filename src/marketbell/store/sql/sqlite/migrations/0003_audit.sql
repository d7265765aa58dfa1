-- migrate: before
-- The audit log: one row for each transaction of a change of configuration.

create table audit (
  id integer primary key,
  public_id text not null unique,
  organization text not null,
  at integer not null,
  actor text not null,
  operation text not null,
  application text,
  endpoint text,
  path text not null,
  address text not null,
  request_id text not null,
  fields text
) strict;
create index audit_organization on audit (organization, id);
create index audit_application on audit (organization, application, id)
  where application is not null;
create index audit_actor on audit (organization, actor, id);
create index audit_operation on audit (organization, operation, id);
