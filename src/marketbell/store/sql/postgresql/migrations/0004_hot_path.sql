-- migrate: before
-- Publish, claim and record as functions: one round trip for each batch, however much is in it.
--
-- They are functions and not one long statement each for two reasons. Each statement within sees
-- what others have committed by then, so that what is read under a lock is true; one statement sees
-- what was true when it began, before it waited for the lock. And their plans are kept with the
-- server's own connection, also behind a pooler. They may not scan, hash or sort a table, whatever
-- the planner thinks that it holds. Locks are taken in this order: order keys, marks, eventIds,
-- deliveries, lanes; and within each in the order of their keys.

-- The turn of a delivery among those of its order key, taken while the key is locked.
create sequence delivery_place as bigint;

-- The lock of an order key: one of sixteen of its endpoint, and of 4,096 in all. The server has room
-- for some thousands of locks, which everything on it shares; a lock for each key would be too many
-- as soon as a few nodes publish or record batches of ordered deliveries.
create function order_key_lock(endpoint_id bigint, order_key bytea) returns bigint
language sql immutable parallel safe as $$
  select (hashtextextended('marketbell key', 0) & ~4095::bigint)
    | ((16 * endpoint_id + (hashtextextended(encode(order_key, 'hex'), 0) & 15)) & 4095)
$$;

-- The bucket of marks before which those of its kind are over: 15 minutes and 24 hours back.
create function first_bucket(bucket bigint) returns bigint
language sql immutable parallel safe as $$
  select case when bucket % 2 = 0 then bucket - 6 else bucket - 8 end
$$;

-- Let lanes fall due at these times, where they would have been later. Each is locked, also one
-- that stays as it is: whoever empties a lane does so before or after this, and never without
-- having seen what the caller has written. Gives back how many of them there are.
create function lower_lanes(lanes_ bigint[], dues_ bigint[]) returns bigint
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  found bigint;
begin
  perform 1 from lane as l where l.endpoint_id = any (lanes_)
    order by l.endpoint_id for no key update;
  get diagnostics found = row_count;
  update lane as l set next_at = greatest(l.held_until, t.due_at)
  from unnest(lanes_, dues_) as t (endpoint_id, due_at)
  where l.endpoint_id = t.endpoint_id
    and (l.next_at is null or l.next_at > greatest(l.held_until, t.due_at));
  return found;
end
$$;

-- Keep messages with their deliveries, each with its own verdict. Gives back what was refused, as
-- pairs of a message's key and the reason: 1 there is no such application, 2 it has changed, 3 the
-- eventId is taken, 4 the mark is, 5 the row of the outbox is, 6 another mark of its batch came with
-- another body. None of them may have a mark or an eventId twice. Marks of a batch have the same
-- body of more than 16 bytes. Of two reasons for a message the last one counts.
create function publish_messages(
  ids_ bigint[], public_ids_ text[], application_ids_ bigint[], revisions_ bigint[],
  event_types_ text[], event_ids_ text[], channels_ text[], tags_ text[], occurred_ bigint[],
  created_ bigint[], expires_ bigint[], deliver_ bigint[], headers_ text[], bodies_ bytea[],
  mark_ids_ bigint[], mark_keys_ bytea[], mark_bodies_ bytea[], mark_buckets_ bigint[],
  born_ids_ bigint[], born_endpoints_ bigint[], born_dues_ bigint[], born_leases_ bigint[],
  born_ats_ bigint[], born_keys_ bytea[],
  aimed_ bigint[], noted_ bigint[], noted_expiries_ bigint[],
  outbox_ids_ bigint[], outbox_transactions_ bigint[], outbox_rows_ bigint[]
) returns bigint[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  refused bigint[] := '{}';
  reasons bigint[] := '{}';
  more bigint[];
  why bigint[];
  reused bytea[];
  changed bigint;
  lanes bigint[];
  dues bigint[];
begin
  if born_keys_ is not null then
    perform pg_advisory_xact_lock(t.lock) from (
      select distinct order_key_lock(b.endpoint_id, b.order_key) as lock
      from unnest(born_endpoints_, born_keys_) as b (endpoint_id, order_key)
      where b.order_key is not null order by 1) as t;
  end if;

  if cardinality(outbox_ids_) > 0 then
    with mine as materialized (
      select o.transaction, o.id from outbox as o
      where (o.transaction, o.id) in (
        select t.transaction, t.id from unnest(outbox_transactions_, outbox_rows_) as t (transaction, id))
      for update skip locked)
    select array_agg(t.message_id), array_agg(5) into refused, reasons
    from unnest(outbox_ids_, outbox_transactions_, outbox_rows_) as t (message_id, transaction, id)
    where (t.transaction, t.id) not in (select m.transaction, m.id from mine as m);
    refused := coalesce(refused, '{}');
    reasons := coalesce(reasons, '{}');
  end if;

  select array_agg(t.id), array_agg(case when a.id is null then 1 else 2 end) into more, why
  from unnest(ids_, application_ids_, revisions_) as t (id, application_id, revision)
  left join application as a on a.id = t.application_id and a.deleted_at is null
  left join event_type_revision as e on e.organization = a.organization
  where a.revision + coalesce(e.revision, 0) is distinct from t.revision and t.id <> all (refused);
  if more is not null then
    -- A repetition is one whatever has changed since.
    select array_agg(t.id), array_agg(case when i.key is null then t.reason else 4 end) into more, why
    from unnest(more, why) as t (id, reason)
    left join unnest(mark_ids_, mark_keys_, mark_buckets_) as m (id, key, bucket) on m.id = t.id
    left join idempotency as i on i.key = m.key and i.bucket >= first_bucket(m.bucket);
    refused := refused || more;
    reasons := reasons || why;
  end if;

  if cardinality(mark_ids_) > 0 then
    insert into idempotency as i (key, bucket, body, message_id)
    select m.key, m.bucket, m.body, m.id
    from unnest(mark_ids_, mark_keys_, mark_bodies_, mark_buckets_) as m (id, key, body, bucket)
    where m.id <> all (refused)
    order by m.key
    on conflict (key) do update set
      bucket = excluded.bucket, body = excluded.body, message_id = excluded.message_id, answer = null
      where i.bucket < first_bucket(excluded.bucket);
    get diagnostics changed = row_count;
    if changed < cardinality(mark_ids_) then
      select array_agg(m.id) into more
      from unnest(mark_ids_, mark_keys_) as m (id, key)
      join idempotency as i on i.key = m.key
      where i.message_id is distinct from m.id and m.id <> all (refused);
      if more is not null then
        refused := refused || more;
        reasons := reasons || array_fill(4::bigint, array[cardinality(more)]);
      end if;
      select array_agg(m.body) into reused
      from unnest(mark_keys_, mark_bodies_, mark_buckets_) as m (key, body, bucket)
      join idempotency as i on i.key = m.key and i.bucket >= first_bucket(m.bucket)
      where octet_length(m.body) > 16 and i.body <> m.body;
      if reused is not null then
        select array_agg(m.id) into more
        from unnest(mark_ids_, mark_bodies_) as m (id, body) where m.body = any (reused);
        refused := refused || more;
        reasons := reasons || array_fill(6::bigint, array[cardinality(more)]);
        delete from idempotency as i using unnest(mark_ids_, mark_keys_) as m (id, key)
        where m.id = any (more) and i.key = m.key and i.message_id = m.id;
      end if;
    end if;
  end if;

  insert into message_event_id (application_id, event_id, message_id)
  select t.application_id, t.event_id, t.id
  from unnest(ids_, application_ids_, event_ids_) as t (id, application_id, event_id)
  where t.event_id is not null and t.id <> all (refused)
  order by t.application_id, t.event_id
  on conflict do nothing;
  get diagnostics changed = row_count;
  if changed < cardinality(array_remove(event_ids_, null)) then
    select array_agg(t.id) into more
    from unnest(ids_, application_ids_, event_ids_) as t (id, application_id, event_id)
    join message_event_id as e on e.application_id = t.application_id and e.event_id = t.event_id
    where e.message_id <> t.id and t.id <> all (refused);
    if more is not null then
      refused := refused || more;
      reasons := reasons || array_fill(3::bigint, array[cardinality(more)]);
      delete from idempotency as i using unnest(mark_ids_, mark_keys_) as m (id, key)
      where m.id = any (more) and i.key = m.key;
    end if;
  end if;

  insert into message (id, public_id, application_id, event_type, event_id, channels, tags,
    occurred_at, created_at, payload_expires_at, deliver_at, headers)
  select t.id, t.public_id, t.application_id, t.event_type, t.event_id, t.channels, t.tags,
    t.occurred_at, t.created_at, t.payload_expires_at, t.deliver_at, t.headers
  from unnest(ids_, public_ids_, application_ids_, event_types_, event_ids_, channels_, tags_,
    occurred_, created_, expires_, deliver_, headers_) as t (id, public_id, application_id,
    event_type, event_id, channels, tags, occurred_at, created_at, payload_expires_at, deliver_at,
    headers)
  where t.id <> all (refused);

  insert into payload (message_id, body)
  select t.id, t.body from unnest(ids_, bodies_) as t (id, body) where t.id <> all (refused);

  if cardinality(aimed_) > 0 then
    insert into aimed_message (message_id)
    select t.id from unnest(aimed_) as t (id) where t.id <> all (refused);
  end if;
  if cardinality(noted_) > 0 then
    insert into payload_expiry (expires_at, message_id)
    select t.expires_at, t.id from unnest(noted_, noted_expiries_) as t (id, expires_at)
    where t.id <> all (refused);
  end if;
  if cardinality(outbox_ids_) > 0 then
    delete from outbox as o
    using unnest(outbox_ids_, outbox_transactions_, outbox_rows_) as t (message_id, transaction, id)
    where o.transaction = t.transaction and o.id = t.id and t.message_id <> all (refused);
  end if;

  if cardinality(born_ids_) > 0 then
    if born_keys_ is null then
      with born as (
        insert into delivery (message_id, endpoint_id, state, due_at, claim_number, attempt_count,
          lost_count, born_at, trigger, order_key, place)
        select b.message_id, b.endpoint_id,
          case when b.lease_until = 0 then 'pending' else 'sending' end,
          case when b.lease_until = 0 then b.due_at else b.lease_until end,
          case when b.lease_until = 0 then 0 else 1 end, 0, 0, b.born_at, 'scheduled', null, 0
        from unnest(born_ids_, born_endpoints_, born_dues_, born_leases_, born_ats_)
          as b (message_id, endpoint_id, due_at, lease_until, born_at)
        where b.message_id <> all (refused)
        returning endpoint_id, state, due_at, born_at
      ), counted as (
        insert into tally (counts)
        select json_agg(json_build_array(c.hour, c.endpoint_id, c.born, 0, 0, 0, 0, 0))::text
        from (
          select b.born_at / 3600000 as hour, b.endpoint_id, count(*) as born
          from born as b group by 1, 2) as c
        having count(*) > 0)
      select array_agg(p.endpoint_id), array_agg(p.due_at) into lanes, dues
      from (
        select b.endpoint_id, min(b.due_at) as due_at from born as b
        where b.state = 'pending' group by 1) as p;
    else
      with given as (
        select b.*, row_number() over (partition by b.endpoint_id, b.order_key order by b.number) as turn
        from unnest(born_ids_, born_endpoints_, born_dues_, born_leases_, born_ats_, born_keys_)
          with ordinality as b (message_id, endpoint_id, due_at, lease_until, born_at, order_key, number)
        where b.message_id <> all (refused)
      ), judged as (
        select g.*, g.order_key is not null and (g.turn > 1
          or exists (select 1 from delivery as d
            where d.endpoint_id = g.endpoint_id and d.order_key = g.order_key)
          or exists (select 1 from held_key as h
            where h.endpoint_id = g.endpoint_id and h.order_key = g.order_key)) as blocked
        from given as g order by g.number offset 0
      ), born as (
        insert into delivery (message_id, endpoint_id, state, due_at, claim_number, attempt_count,
          lost_count, born_at, trigger, order_key, place)
        select j.message_id, j.endpoint_id,
          case when j.lease_until = 0 then 'pending' else 'sending' end,
          case when j.lease_until <> 0 then j.lease_until
            when j.blocked then j.due_at + 4611686018427387904 else j.due_at end,
          case when j.lease_until = 0 then 0 else 1 end, 0, 0, j.born_at, 'scheduled', j.order_key,
          case when j.order_key is null then 0 else nextval('delivery_place') end
        from judged as j
        returning endpoint_id, state, due_at, born_at
      ), counted as (
        insert into tally (counts)
        select json_agg(json_build_array(c.hour, c.endpoint_id, c.born, 0, 0, 0, 0, 0))::text
        from (
          select b.born_at / 3600000 as hour, b.endpoint_id, count(*) as born
          from born as b group by 1, 2) as c
        having count(*) > 0)
      select array_agg(p.endpoint_id), array_agg(p.due_at) into lanes, dues
      from (
        select b.endpoint_id, min(b.due_at) as due_at from born as b
        where b.state = 'pending' and b.due_at < 4611686018427387904 group by 1) as p;
    end if;
    if lanes is not null then
      if lower_lanes(lanes, dues) < cardinality(lanes) then
        raise foreign_key_violation using message = 'an endpoint was deleted at this moment';
      end if;
    end if;
  end if;

  if refused = '{}' then
    return null;
  end if;
  return (select array_agg(v order by t.number, place) from
    unnest(refused, reasons) with ordinality as t (id, reason, number),
    lateral (values (1, t.id), (2, t.reason)) as pair (place, v));
end
$$;

-- Keep attempts and move their deliveries. `judged_` says how: 1 delivered, 2 due again, anything
-- else is left to the caller. `counted_` is 1 for what was accepted, 2 for what was refused. Lanes
-- that are to be held until 0 are only locked, for what the caller does next. Gives back the keys of
-- those that were kept before, which move nothing. `is not true` keeps the look for those from becoming a
-- join, which would compare each with all of that time: they are looked up one by one, or, where few are
-- expected, all hashed once; `work_mem` says how few.
create function record_attempts(
  ids_ bigint[], public_ids_ text[], message_ids_ bigint[], endpoint_ids_ bigint[],
  claim_numbers_ bigint[], numbers_ bigint[], triggers_ text[], outcomes_ text[],
  status_codes_ bigint[], reasons_ text[], responses_ bytea[], urls_ text[], addresses_ text[],
  started_ bigint[], durations_ bigint[], counted_ bigint[], judged_ bigint[], dues_ bigint[],
  accepted_ats_ bigint[], first_ bigint, last_ bigint,
  hold_lanes_ bigint[], hold_untils_ bigint[]
) returns bigint[]
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan set work_mem = '256kB'
as $$
declare
  fresh bigint[];
  old bigint[] := '{}';
  lanes bigint[];
  dues bigint[];
begin
  with kept as (
    insert into attempt (id, public_id, message_id, endpoint_id, claim_number, number, trigger,
      outcome, status_code, reason, response, url, address, started_at, duration)
    select t.* from unnest(ids_, public_ids_, message_ids_, endpoint_ids_, claim_numbers_, numbers_,
      triggers_, outcomes_, status_codes_, reasons_, responses_, urls_, addresses_, started_,
      durations_) as t (id, public_id, message_id, endpoint_id, claim_number, number, trigger,
      outcome, status_code, reason, response, url, address, started_at, duration)
    where exists (
      select 1 from attempt as a
      where a.public_id = t.public_id and a.id >= first_ and a.id <= last_) is not true
    on conflict (id) do nothing
    returning id)
  select coalesce(array_agg(k.id), '{}') into fresh from kept as k;
  if cardinality(fresh) < cardinality(ids_) then
    select array_agg(t.id) into old from unnest(ids_) as t (id) where t.id <> all (fresh);
    if exists (
      select 1 from unnest(ids_, public_ids_) as t (id, public_id)
      where t.id = any (old) and not exists (
        select 1 from attempt as a
        where a.public_id = t.public_id and a.id >= first_ and a.id <= last_)) then
      raise unique_violation using message = 'the key of an attempt is taken by another one';
    end if;
  end if;

  with given as materialized (
    select * from unnest(ids_, message_ids_, endpoint_ids_, started_, durations_, counted_, judged_,
      accepted_ats_) as t (id, message_id, endpoint_id, started_at, duration, counted, judged,
      accepted_at)
    where t.id <> all (old)
  ), ended as (
    delete from delivery as d
    using (select * from given as g where g.judged = 1 order by g.message_id, g.endpoint_id) as t
    where d.message_id = t.message_id and d.endpoint_id = t.endpoint_id
    returning d.message_id, d.endpoint_id, d.attempt_count + 1 as attempt_count, d.claim_number,
      t.started_at + t.duration as finished_at, t.accepted_at
  ), finished as (
    insert into finished_delivery (message_id, endpoint_id, state, attempt_count, claim_number,
      finished_at)
    select e.message_id, e.endpoint_id, 'delivered', e.attempt_count, e.claim_number, e.finished_at
    from ended as e
    on conflict (message_id, endpoint_id) do update set
      state = excluded.state,
      attempt_count = finished_delivery.attempt_count + excluded.attempt_count,
      claim_number = greatest(finished_delivery.claim_number, excluded.claim_number),
      finished_at = excluded.finished_at
  )
  insert into tally (counts)
  select json_agg(json_build_array(c.hour, c.endpoint_id, 0, c.delivered, 0, 0, c.accepted, c.refused))::text
  from (
    select f.at / 3600000 as hour, f.endpoint_id, sum(f.delivered) as delivered,
      sum(f.accepted) as accepted, sum(f.refused) as refused
    from (
      select e.accepted_at as at, e.endpoint_id, 1 as delivered, 0 as accepted, 0 as refused
      from ended as e
      union all
      select g.started_at, g.endpoint_id, 0, (g.counted = 1)::int, (g.counted = 2)::int
      from given as g where g.counted <> 0) as f
    group by 1, 2) as c
  having count(*) > 0;

  with moved as (
    update delivery as d
    set state = 'pending', due_at = t.due_at, attempt_count = d.attempt_count + 1, lost_count = 0
    from (
      select * from unnest(ids_, message_ids_, endpoint_ids_, claim_numbers_, judged_, dues_)
        as g (id, message_id, endpoint_id, claim_number, judged, due_at)
      where g.judged = 2 and g.id <> all (old) order by g.message_id, g.endpoint_id) as t
    where d.message_id = t.message_id and d.endpoint_id = t.endpoint_id
      and d.claim_number = t.claim_number and d.state || '' = 'sending'
    returning d.endpoint_id, d.due_at)
  select array_agg(l.endpoint_id), array_agg(l.due_at) into lanes, dues
  from (select m.endpoint_id, min(m.due_at) as due_at from moved as m group by 1) as l;
  if cardinality(hold_lanes_) > 0 then
    perform 1 from lane as l where l.endpoint_id = any (hold_lanes_ || lanes)
      order by l.endpoint_id for no key update;
  end if;
  if lanes is not null then
    perform lower_lanes(lanes, dues);
  end if;
  if cardinality(hold_lanes_) > 0 then
    update lane as l set held_until = t.until,
      next_at = case when l.next_at is null then null else greatest(l.next_at, t.until) end
    from unnest(hold_lanes_, hold_untils_) as t (endpoint_id, until)
    where l.endpoint_id = t.endpoint_id and l.held_until < t.until;
  end if;
  return old;
end
$$;

-- When the next lane of these slots falls due; `owned_` has one bit for each slot, null is all.
create function next_lane(owned_ bytea) returns bigint
language plpgsql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  found bigint;
  looked bigint;
begin
  if owned_ is null then
    return (select l.next_at from lane as l where l.next_at is not null order by l.next_at limit 1);
  end if;
  select min(n.next_at) filter (where get_bit(owned_, n.slot) = 1), count(*) into found, looked
  from (
    select l.next_at, l.slot from lane as l where l.next_at is not null
    order by l.next_at limit 1000) as n;
  if found is null and looked = 1000 then
    select min(n.next_at) into found
    from generate_series(0, 1023) as s (slot)
    cross join lateral (
      select l.next_at from lane as l where l.slot = s.slot and l.next_at is not null
      order by l.next_at limit 1) as n
    where get_bit(owned_, s.slot) = 1;
  end if;
  return found;
end
$$;

-- Where to claim: lanes of these slots that are due, longest waiting first, and how many claims
-- have run out, up to a limit. One look at the nearest thousand lanes is enough
-- unless all of those belong to others who are behind; then each slot is looked at. A claim has run
-- out on the clock of whoever has its slot: those of two nodes need not agree.
create function due_lanes(at_ bigint, leases_at_ bigint, owned_ bytea, limit_ bigint, lost_limit_ bigint,
  out lanes bigint[], out lost bigint)
language plpgsql stable
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  looked bigint;
begin
  select count(*) into lost from (
    select 1 from delivery as d where d.state = 'sending' and d.due_at <= leases_at_
      and (owned_ is null or coalesce((
        select get_bit(owned_, l.slot) from lane as l where l.endpoint_id = d.endpoint_id), 1) = 1)
    limit lost_limit_) as e;
  if owned_ is null then
    lanes := array(
      select l.endpoint_id from lane as l where l.next_at <= at_ order by l.next_at limit limit_);
  else
    select array_agg(n.endpoint_id order by n.next_at) filter (where get_bit(owned_, n.slot) = 1),
      count(*) into lanes, looked
    from (
      select l.endpoint_id, l.next_at, l.slot from lane as l where l.next_at <= at_
      order by l.next_at limit 1000) as n;
    if lanes is null and looked = 1000 then
      lanes := array(
        select n.endpoint_id
        from generate_series(0, 1023) as s (slot)
        cross join lateral (
          select l.endpoint_id, l.next_at from lane as l
          where l.slot = s.slot and l.next_at <= at_ order by l.next_at limit 4) as n
        where get_bit(owned_, s.slot) = 1
        order by n.next_at);
    end if;
    lanes := lanes[1:limit_];
  end if;
  lanes := coalesce(lanes, '{}');
end
$$;

-- Turn claims in these slots whose lease has run out into lost ones, or all claims there where
-- `leases_at_` is null; oldest first, as many as there are keys for their attempts. Those that
-- somebody else is at are left to him. A deleted endpoint has no lane: its claims run out for
-- everybody. Gives back how many.
create function lose_claims(at_ bigint, leases_at_ bigint, owned_ bytea, lost_max_ bigint,
  reason_ text, ids_ bigint[], public_ids_ text[]) returns bigint
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  horizon bigint := coalesce(leases_at_, 9223372036854775807);
  without_lane int := (leases_at_ is not null)::int;
  count bigint;
  lanes bigint[];
begin
  with ended as materialized (
    select d.message_id, d.endpoint_id, d.claim_number, d.lost_count, d.trigger,
      row_number() over () as number
    from (
      select c.* from delivery as c
      where c.state = 'sending' and c.due_at <= horizon and (owned_ is null or coalesce((
        select get_bit(owned_, l.slot) from lane as l where l.endpoint_id = c.endpoint_id),
        without_lane) = 1)
      order by c.due_at limit cardinality(ids_) for update skip locked) as d
  ), kept as (
    insert into attempt (id, public_id, message_id, endpoint_id, claim_number, number, trigger,
      outcome, status_code, reason, response, url, address, started_at, duration)
    select ids_[e.number], public_ids_[e.number], e.message_id, e.endpoint_id, e.claim_number, 0,
      e.trigger, 'unknown', 0, reason_, null, '', '', at_, 0
    from ended as e
  ), moved as (
    update delivery as d set state = 'pending', lost_count = e.lost_count + 1,
      due_at = case when e.lost_count + 1 >= lost_max_ then at_ + 4611686018427387904 else at_ end
    from ended as e where d.message_id = e.message_id and d.endpoint_id = e.endpoint_id
    returning d.endpoint_id, d.due_at
  )
  select count(*), array_agg(distinct m.endpoint_id) filter (where m.due_at = at_) into count, lanes
  from moved as m;
  if lanes is not null then
    perform lower_lanes(lanes, array_fill(at_, array[cardinality(lanes)]));
  end if;
  return count;
end
$$;

-- Claim from these lanes, in this order, then from those that are due; of each as much as it has room
-- for. `rooms_` belong to the lanes of `known_`, which rise; any other lane has room for `new_room_`.
-- Lanes are locked before their deliveries are read, so that what is published meanwhile waits for
-- this or is seen by it. With `node_` only lanes of slots that are this node's now. Gives back the
-- deliveries, each with its message and its endpoint's revision; those whose payload is gone, not
-- claimed and with nothing but their keys; at last the lanes that have more, which any of `lanes_`
-- has that nothing was left for, when the next one falls due, and how many claims have run out. While
-- there are such, up to a limit, it claims nothing: they are to be ended first, and are due before
-- others.
-- `d.state || ''` here and above keeps the planner to the primary key: when it was last told of few that
-- wait, it would read all of them by the index that they alone have, and compare each with each.
create function claim_deliveries(
  at_ bigint, leases_at_ bigint, lease_until_ bigint, limit_ bigint, bytes_ bigint,
  second_look_ bigint, lanes_ bigint[], known_ bigint[], rooms_ bigint[], new_room_ bigint,
  node_ bigint, owned_ bytea, lanes_limit_ bigint, lost_limit_ bigint
) returns table (
  id bigint, public_id text, application_id bigint, event_type text, event_id text, channels text,
  tags text, occurred_at bigint, created_at bigint, payload_expires_at bigint, deliver_at bigint,
  headers text, body bytea, claim_number bigint, attempt_count bigint, born_at bigint, due_at bigint,
  trigger text, order_key bytea, endpoint_id bigint, revision bigint, backlog bigint[], next_at bigint,
  lost bigint)
language plpgsql
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  look record;
  lane_ record;
  row_ record;
  place int;
  named int := cardinality(lanes_);
  full_ boolean;
  size bigint := 0;
  count bigint;
  full_of bigint;
  messages bigint[] := '{}';
  endpoints bigint[] := '{}';
  revisions bigint[] := '{}';
  dues bigint[] := '{}';
  gone_messages bigint[] := '{}';
  gone_endpoints bigint[] := '{}';
  with_more bigint[] := '{}';
  done bigint[] := '{}';
begin
  look := due_lanes(at_, leases_at_, owned_, lanes_limit_, lost_limit_);
  if look.lost > 0 then
    lanes_ := '{}';
  else
    lanes_ := lanes_ || array(
      select d.endpoint_id from unnest(look.lanes) with ordinality as d (endpoint_id, number)
      where d.endpoint_id <> all (lanes_) order by d.number);
  end if;
  perform 1 from lane as l where l.endpoint_id = any (lanes_) order by l.endpoint_id for no key update;

  for lane_ in
    select v.endpoint_id, v.number, e.revision, l.held_until
    from unnest(lanes_) with ordinality as v (endpoint_id, number)
    join lane as l on l.endpoint_id = v.endpoint_id
    join endpoint as e on e.id = v.endpoint_id and e.deleted_at is null
    where (owned_ is null or get_bit(owned_, l.slot) = 1) and (node_ is null
      or exists (select 1 from slot as s where s.slot = l.slot and s.node_id = node_))
    order by v.number
  loop
    full_ := cardinality(messages) >= limit_ or (size >= bytes_ and messages <> '{}');
    exit when full_ and lane_.number > named;
    if lane_.held_until > at_ then
      done := done || lane_.endpoint_id;
      continue;
    end if;
    if full_ then
      with_more := with_more || lane_.endpoint_id;
      continue;
    end if;
    count := 0;
    place := width_bucket(lane_.endpoint_id, known_);
    full_of := case when place > 0 and known_[place] = lane_.endpoint_id then rooms_[place]
      else new_room_ end;
    full_of := least(full_of, limit_ - cardinality(messages));
    if full_of > 0 then
      for row_ in
        select d.message_id, d.due_at, octet_length(p.body) as size
        from delivery as d left join payload as p on p.message_id = d.message_id
        where d.endpoint_id = lane_.endpoint_id and d.state = 'pending' and d.due_at <= at_
        order by d.due_at limit full_of + 1
      loop
        if count = full_of or (size >= bytes_ and messages <> '{}') then
          full_of := 0;
          exit;
        end if;
        count := count + 1;
        if coalesce(row_.size, 0) = 0 then
          gone_messages := gone_messages || row_.message_id;
          gone_endpoints := gone_endpoints || lane_.endpoint_id;
        else
          size := size + row_.size;
          messages := messages || row_.message_id;
          endpoints := endpoints || lane_.endpoint_id;
          revisions := revisions || lane_.revision;
          dues := dues || row_.due_at;
        end if;
      end loop;
    end if;
    if full_of <= 0 then
      with_more := with_more || lane_.endpoint_id;
    else
      done := done || lane_.endpoint_id;
    end if;
  end loop;

  if messages <> '{}' then
    return query
      with claimed as (
        update delivery as d
        set state = 'sending', due_at = lease_until_, claim_number = d.claim_number + 1
        from unnest(messages, endpoints, revisions, dues) with ordinality
          as t (message_id, endpoint_id, revision, due_at, number)
        where d.message_id = t.message_id and d.endpoint_id = t.endpoint_id
          and d.state || '' = 'pending' and d.due_at = t.due_at
        returning d.message_id, d.endpoint_id, d.claim_number, d.attempt_count, d.born_at, t.due_at,
          d.trigger, d.order_key, t.revision, t.number)
      select m.id, m.public_id, m.application_id, m.event_type, m.event_id, m.channels, m.tags,
        m.occurred_at, m.created_at, m.payload_expires_at, m.deliver_at, m.headers, p.body,
        c.claim_number, c.attempt_count, c.born_at, c.due_at, c.trigger, c.order_key,
        c.endpoint_id, c.revision, null::bigint[], null::bigint, null::bigint
      from claimed as c
      join message as m on m.id = c.message_id
      join payload as p on p.message_id = c.message_id
      order by c.number;
  end if;
  if gone_messages <> '{}' then
    return query
      select t.message_id, null, null::bigint, null, null, null, null, null::bigint, null::bigint,
        null::bigint, null::bigint, null, null::bytea, null::bigint, null::bigint, null::bigint,
        null::bigint, null, null::bytea, t.endpoint_id, null::bigint, null::bigint[], null::bigint,
        null::bigint
      from unnest(gone_messages, gone_endpoints) as t (message_id, endpoint_id);
  end if;

  if with_more <> '{}' then
    update lane as l set next_at = greatest(l.held_until, second_look_)
    from unnest(with_more) as t (endpoint_id)
    where l.endpoint_id = t.endpoint_id
      and l.next_at is distinct from greatest(l.held_until, second_look_);
  end if;
  if done <> '{}' then
    update lane as l set next_at = t.next_at
    from (
      select u.endpoint_id, case when h.held_until > at_ then h.held_until else (
          select greatest(h.held_until, d.due_at) from delivery as d
          where d.endpoint_id = u.endpoint_id and d.state = 'pending'
            and d.due_at < 4611686018427387904
          order by d.due_at limit 1) end as next_at
      from unnest(done) as u (endpoint_id)
      join lane as h on h.endpoint_id = u.endpoint_id) as t
    where l.endpoint_id = t.endpoint_id and l.next_at is distinct from t.next_at;
  end if;

  return query select null::bigint, null, null::bigint, null, null, null, null, null::bigint,
    null::bigint, null::bigint, null::bigint, null, null::bytea, null::bigint, null::bigint,
    null::bigint, null::bigint, null, null::bytea, null::bigint, null::bigint, with_more,
    next_lane(owned_), look.lost;
end
$$;
