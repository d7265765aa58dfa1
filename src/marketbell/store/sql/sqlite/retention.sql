-- Retention and present figures on SQLite. Every walk reads a bounded number of rows.

-- name: payloads_between
-- Payloads in order of their messages: key, time of acceptance, whether it has a time of its own,
-- whether a delivery or a held key may need it, and its size.
select p.message_id, m.created_at,
  exists (select 1 from payload_expiry x
    where x.expires_at = m.payload_expires_at and x.message_id = p.message_id),
  exists (select 1 from delivery d where d.message_id = p.message_id)
    or exists (select 1 from held_key h where h.message_id = p.message_id),
  length(p.body)
from payload p left join message m on m.id = p.message_id
where p.message_id > :low and p.message_id <= :high order by p.message_id limit :limit;

-- name: expiries_between
-- Payloads with a time of their own, in order of that time; the same facts.
select (x.expires_at, x.message_id) > (0, 0), x.expires_at, x.message_id,
  exists (select 1 from delivery d where d.message_id = x.message_id)
    or exists (select 1 from held_key h where h.message_id = x.message_id),
  (select length(p.body) from payload p where p.message_id = x.message_id)
from payload_expiry x
where (x.expires_at, x.message_id) > (:low_time, :low)
  and (x.expires_at, x.message_id) <= (:high_time, :high)
order by x.expires_at, x.message_id limit :limit;
