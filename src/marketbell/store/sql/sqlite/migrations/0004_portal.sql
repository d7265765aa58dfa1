-- migrate: before
-- The portal: one-time codes and sessions, each found by the digest of its secret.

create table portal_code (
  digest blob primary key,
  organization text not null,
  application text not null,
  granted text not null,
  created_at integer not null,
  expires_at integer not null
) strict, without rowid;
create index portal_code_application on portal_code (organization, application, expires_at);
create index portal_code_expiry on portal_code (expires_at);

create table portal_session (
  digest blob primary key,
  organization text not null,
  application text not null,
  granted text not null,
  granted_at integer not null,
  created_at integer not null,
  expires_at integer not null
) strict, without rowid;
create index portal_session_application on portal_session (organization, application, created_at);
create index portal_session_expiry on portal_session (expires_at);
