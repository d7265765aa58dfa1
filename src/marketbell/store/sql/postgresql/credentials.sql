-- name: credential_insert
-- A new user name; one of a deleted application makes way.
insert into credential (public_id, application_id, marketplace, "user", sealed, created_at)
values (:public_id, :application_id, :marketplace, :user, :sealed, :now)
on conflict (marketplace, "user") do update set public_id = excluded.public_id,
  application_id = excluded.application_id, sealed = excluded.sealed,
  created_at = excluded.created_at;

-- name: credential_taken
-- Whether a user name is taken by an application that is still there.
select 1
from credential join application on application.id = credential.application_id
where marketplace = :marketplace and "user" = :user and deleted_at is null;

-- name: credential_count
-- How many user names an application has.
select count(*) from credential where application_id = :application_id;

-- name: credential_by_user
-- Who logs in with a user name.
select credential.public_id, credential.application_id, marketplace, "user", sealed,
  credential.created_at
from credential join application on application.id = credential.application_id
where marketplace = :marketplace and "user" = :user and deleted_at is null;

-- name: credential
-- One of an application's.
select public_id, application_id, marketplace, "user", sealed, created_at
from credential
where public_id = :public_id and application_id = :application_id;

-- name: credentials_of_application
-- The user names of an application.
select public_id, application_id, marketplace, "user", sealed, created_at
from credential
where application_id = :application_id
order by marketplace, "user"
limit :limit::bigint;

-- name: credential_delete
-- Take a user name away.
delete from credential where public_id = :public_id;

-- name: credentials_after
-- The next sealed secrets, in order of their making, each with whom it is for.
select id, marketplace || ' ' || "user", sealed
from credential
where id > :after
order by id
limit :limit::bigint;

-- name: credential_reseal
-- The same secret, sealed with another key.
update credential set sealed = :sealed where id = :id;
