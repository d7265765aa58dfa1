-- name: insert
-- Put messages into the outbox, in the order given; a role needs no right but INSERT for it.
insert into {schema}.outbox (organization, application, body)
select m.organization, m.application, cast(convert_from(m.body, 'UTF8') as json)
from unnest(cast(:organizations as text[]), cast(:applications as text[]), cast(:bodies as bytea[]))
  with ordinality as m (organization, application, body, place)
order by m.place;
