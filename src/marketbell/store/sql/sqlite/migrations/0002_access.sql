-- migrate: before
-- Access: API keys, ended tokens, and a revision for what has changed.

-- The secret of a key is kept as a digest only.
create table api_key (
  id integer primary key,
  public_id text not null unique,
  organization text not null,
  application text,
  name text not null,
  scopes text,
  digest blob not null,
  created_at integer not null,
  expires_at integer,
  last_used_at integer,
  ends_at integer
) strict;
create index api_key_organization on api_key (organization, id);
create index api_key_live on api_key (organization, expires_at) where ends_at is null;
create index api_key_ended on api_key (organization, ends_at) where ends_at is not null;

-- All tokens made before issued_before end at ends_at; the application '' is all of them.
create table tokens_end (
  organization text not null,
  application text not null,
  issued_before integer not null,
  ends_at integer not null,
  primary key (organization, application, issued_before)
) strict, without rowid;

-- Single tokens that were ended before they expired.
create table ended_token (
  organization text not null,
  digest blob not null,
  expires_at integer not null,
  primary key (organization, digest)
) strict, without rowid;
create index ended_token_expiry on ended_token (expires_at);

create table access_revision (
  organization text primary key,
  revision integer not null
) strict, without rowid;
create unique index access_revision_order on access_revision (revision);
