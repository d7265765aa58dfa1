-- Statements of access: API keys, ended tokens, revisions.

-- name: api_key_insert
-- A new API key.
insert into api_key (
  public_id, organization, application, name, scopes, digest, created_at, expires_at
) values (
  :public_id, :organization, :application, :name, :scopes, :digest, :now, :expires_at
)
returning id;

-- name: api_key
-- One key of an organization.
select public_id, organization, application, name, scopes, created_at, expires_at, last_used_at, ends_at
from api_key where public_id = :public_id and organization = :organization;

-- name: api_key_login
-- One key of any organization, with its digest.
select public_id, organization, application, name, scopes, created_at, expires_at, last_used_at, ends_at,
  digest
from api_key where public_id = :public_id;

-- name: api_key_position
-- The place of a key in lists, and whether it is still there; where it would have stood if not.
select id, public_id = :public_id from api_key where public_id >= :public_id order by public_id limit 1;

-- name: api_keys_up
-- Keys of an organization, oldest first.
select public_id, organization, application, name, scopes, created_at, expires_at, last_used_at, ends_at
from api_key
where (organization, id) > (:organization, :low) and (organization, id) < (:organization, :high)
order by organization, id limit :limit::bigint;

-- name: api_keys_down
-- Keys of an organization, newest first.
select public_id, organization, application, name, scopes, created_at, expires_at, last_used_at, ends_at
from api_key
where (organization, id) > (:organization, :low) and (organization, id) < (:organization, :high)
order by organization desc, id desc limit :limit::bigint;

-- name: api_keys_endless
-- How many live keys without an end an organization has.
select count(*) from api_key
where organization = :organization and ends_at is null and expires_at is null;

-- name: api_keys_unexpired
-- How many live keys with an end that is yet to come an organization has.
select count(*) from api_key
where organization = :organization and ends_at is null and expires_at > :now;

-- name: api_key_end
-- Let a key end at an instant.
update api_key set ends_at = :ends_at where public_id = :public_id and organization = :organization;

-- name: api_key_used
-- Note when a key was used, at most once a minute.
update api_key set last_used_at = :now::bigint
where public_id = :public_id and (last_used_at is null or last_used_at <= :now::bigint - 60000);

-- name: api_keys_ended_delete
-- Remove keys that were ended long ago.
delete from api_key where id = any(array(
  select id from api_key
  where organization = :organization and ends_at is not null and ends_at < :before
  order by ends_at limit :limit::bigint
));

-- name: api_keys_expired_delete
-- Remove keys that expired long ago.
delete from api_key where id = any(array(
  select id from api_key
  where organization = :organization and ends_at is null and expires_at < :before
  order by expires_at limit :limit::bigint
));

-- name: tokens_end_dominated_delete
-- Remove ends that a new one makes needless: older tokens, and no earlier end.
delete from tokens_end
where organization = :organization and application = :application
  and issued_before <= :issued_before and ends_at >= :ends_at;

-- name: tokens_end_past_delete
-- Of the ends that have come, keep the one that covers most.
delete from tokens_end
where organization = :organization and application = :application and ends_at <= :now
  and issued_before < (
    select max(issued_before) from tokens_end
    where organization = :organization and application = :application and ends_at <= :now
  );

-- name: tokens_end_count
-- How many ends stay beside a new one, of one application or of the whole organization.
select count(*) from tokens_end
where organization = :organization and application = :application
  and not (issued_before <= :issued_before and ends_at >= :ends_at);

-- name: tokens_end_insert
-- Let tokens of before an instant end at another.
insert into tokens_end (organization, application, issued_before, ends_at)
values (:organization, :application, :issued_before, :ends_at)
on conflict (organization, application, issued_before)
do update set ends_at = least(tokens_end.ends_at, excluded.ends_at);

-- name: tokens_end
-- When tokens of this age end, of one application or of the whole organization.
select min(ends_at) from tokens_end
where organization = :organization and application = :application and issued_before > :issued_at;

-- name: ended_token_insert
-- End one token.
insert into ended_token (organization, digest, expires_at)
values (:organization, :digest, :expires_at)
on conflict (organization, digest) do nothing;

-- name: ended_token
-- Whether one token was ended.
select 1 from ended_token where organization = :organization and digest = :digest;

-- name: ended_tokens_delete
-- Remove tokens that have expired by themselves meanwhile.
delete from ended_token where ctid = any(array(
  select ctid from ended_token where expires_at < :now order by expires_at limit :limit::bigint
));

-- name: access_revised
-- Give an organization the next revision.
insert into access_revision (organization, revision)
values (:organization, 1 + coalesce((select max(revision) from access_revision), 0))
on conflict (organization) do update set revision = excluded.revision;

-- name: access_revision_last
-- The highest revision of all.
select coalesce(max(revision), 0) from access_revision;

-- name: access_changes
-- Organizations whose access changed after a revision.
select organization from access_revision where revision > :after order by revision;
