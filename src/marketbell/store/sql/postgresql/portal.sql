-- One-time codes and sessions of the portal on PostgreSQL.

-- name: portal_codes_live
-- How many codes of an application may still be used, counted up to a limit.
select count(*) from (
  select 1 from portal_code
  where organization = :organization and application = :application and expires_at > :now
  limit :limit::bigint) as live;

-- name: portal_code_insert
-- Keep a code.
insert into portal_code (digest, organization, application, granted, created_at, expires_at)
values (:digest, :organization, :application, :granted, :now, :expires_at);

-- name: portal_code_there
-- Whether a code is kept.
select 1 from portal_code where digest = :digest;

-- name: portal_code_take
-- Use a code up.
delete from portal_code where digest = :digest
returning granted, created_at, expires_at;

-- name: portal_session_insert
-- Keep a session.
insert into portal_session (digest, organization, application, granted, granted_at, created_at,
  expires_at)
values (:digest, :organization, :application, :granted, :granted_at, :now, :expires_at);

-- name: portal_sessions_over
-- The oldest sessions of an application beyond a number end.
delete from portal_session where digest = any(array(
  select digest from portal_session
  where organization = :organization and application = :application
  order by created_at desc limit 100 offset :kept));

-- name: portal_session
-- One live session.
select granted, granted_at from portal_session
where digest = :digest and expires_at > :now;

-- name: portal_session_delete
-- A session ends.
delete from portal_session where digest = :digest;

-- name: portal_codes_expired
-- Codes that can be used no more go.
delete from portal_code where digest = any(array(
  select digest from portal_code
  where expires_at <= :now order by expires_at limit :limit::bigint));

-- name: portal_sessions_expired
-- Sessions that are over go.
delete from portal_session where digest = any(array(
  select digest from portal_session
  where expires_at <= :now order by expires_at limit :limit::bigint));
