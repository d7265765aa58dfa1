-- Background tasks on SQLite. Every walk reads a bounded number of rows.

-- name: task_insert
-- Keep a new task, due now.
insert into task (public_id, kind, organization, application_id, application_public_id,
  endpoint_id, endpoint_public_id, selection, status, first, last, position, looked, made, skipped,
  failures, claim_number, due_at, error, created_at, updated_at)
select :public_id, :kind, :organization, a.id, a.public_id, e.id, e.public_id, :selection,
  'running', :first, :last, :first, 0, 0, 0, 0, 0, :now, null, :now, :now
from application a left join endpoint e on e.id = :endpoint_id
where a.id = :application_id;

-- name: task_id
-- Which task of the organization has this id.
select id from task where public_id = :ref and organization = :organization;

-- name: task
-- One task.
select id, public_id, kind, organization, application_id, application_public_id, endpoint_id,
  endpoint_public_id, selection, status, first, last, position, looked, made, skipped, failures,
  claim_number, error, created_at, updated_at
from task where id = :id;

-- name: task_position
-- Where in the order of creation an id stands, or would stand.
select id, public_id = :public_id from task
where public_id >= :public_id order by public_id limit 1;

-- name: tasks_up
-- The next tasks of an organization that pass a filter, in order of creation.
select id, public_id, kind, organization, application_id, application_public_id, endpoint_id,
  endpoint_public_id, selection, status, first, last, position, looked, made, skipped, failures,
  claim_number, error, created_at, updated_at
from task indexed by task_organization
where organization = :organization and id > :low and id < :high
  and (:statuses is null or status in (select value from json_each(:statuses)))
  and (:kind is null or kind = :kind)
order by id limit :limit;

-- name: tasks_down
-- The same, the other way round.
select id, public_id, kind, organization, application_id, application_public_id, endpoint_id,
  endpoint_public_id, selection, status, first, last, position, looked, made, skipped, failures,
  claim_number, error, created_at, updated_at
from task indexed by task_organization
where organization = :organization and id > :low and id < :high
  and (:statuses is null or status in (select value from json_each(:statuses)))
  and (:kind is null or kind = :kind)
order by id desc limit :limit;

-- name: tasks_running_of
-- How many tasks of an organization run.
select count(*) from task indexed by task_running
where status = 'running' and organization = :organization;

-- name: tasks_running
-- How many tasks run.
select count(*) from task indexed by task_due where status = 'running';

-- name: message_last
-- The highest key of a message.
select coalesce(max(id), 0) from message;

-- name: task_claim
-- Take the task that has been due for longest.
update task set claim_number = claim_number + 1, due_at = :lease_until
where id = (
  select id from task indexed by task_due
  where status = 'running' and due_at <= :now order by due_at, id limit 1)
returning id, public_id, kind, organization, application_id, application_public_id, endpoint_id,
  endpoint_public_id, selection, status, first, last, position, looked, made, skipped, failures,
  claim_number, error, created_at, updated_at;

-- name: task_next_at
-- When the next task falls due.
select min(due_at) from task indexed by task_due where status = 'running';

-- name: tasks_release
-- Every task that runs is due, whoever has claimed it.
update task indexed by task_due set due_at = :now where status = 'running' and due_at > :now;

-- name: task_claimed
-- Whether a claim of a task is its latest and stands where it stood.
select 1 from task where id = :id and claim_number = :claim_number and position = :position
  and status = 'running';

-- name: task_step
-- A step was made.
update task set position = :position, looked = looked + :looked, made = made + :made,
  skipped = skipped + :skipped, status = :status, failures = 0, due_at = :due_at, updated_at = :now
where id = :id;

-- name: task_put_off
-- A claim is given back without a step.
update task set due_at = :until, failures = :failures
where id = :id and claim_number = :claim_number and status = 'running';

-- name: task_end
-- A task ends before its walk does.
update task set status = :status, error = :error, claim_number = claim_number + 1, updated_at = :now
where id = :id and status = 'running' and (:claim_number is null or claim_number = :claim_number);

-- name: tasks_ended_delete
-- Tasks that ended before an instant go, up to a limit.
delete from task where id in (
  select id from task indexed by task_ended
  where status <> 'running' and updated_at < :before limit :limit);

-- part: candidate
-- A message with where its delivery to an endpoint stands, and how the last attempt ended if asked.
select m.id, m.event_type, m.channels, m.tags, m.created_at,
  exists (select 1 from aimed_message o where o.message_id = m.id), coalesce(d.state, f.state),
  iif(:with_codes, (
    select a.status_code from attempt a indexed by attempt_message
    where a.message_id = m.id and a.endpoint_id = :endpoint_id order by a.id desc limit 1), null)

-- part: with_delivery
-- Where a message's delivery to the endpoint is kept.
left join delivery d on d.message_id = m.id and d.endpoint_id = :endpoint_id
left join finished_delivery f on f.message_id = m.id and f.endpoint_id = :endpoint_id

-- name: candidates
-- The next messages of an application that have labels, each with its delivery to an endpoint.
{candidate}
from message_label l cross join message m on m.id = l.message_id
{with_delivery}
where l.application_id = :application_id and l.label = ''
  and l.message_id > :low and l.message_id <= :high
order by l.message_id limit :limit;

-- name: candidates_late
-- The same of those that have none yet: the messages of all are gone through.
{candidate}
from message m
{with_delivery}
where m.application_id = :application_id and m.id > :low and m.id <= :high
order by m.id limit :limit;

-- name: due_count
-- How many deliveries of an endpoint are due and wait, up to a limit.
select count(*) from (
  select 1 from delivery indexed by delivery_due
  where endpoint_id = :endpoint_id and state = 'pending' and due_at <= :now limit :limit);

-- name: endpoint_may_send
-- Whether an endpoint is live and enabled.
select 1 from endpoint where id = :endpoint_id and disabled = 0 and deleted_at is null;

-- name: pair
-- What decides about one delivery: its state, its key, whether the payload is kept, and the time
-- before which the message is not to be delivered.
select d.state, d.order_key, exists (select 1 from payload p where p.message_id = :message_id),
  (select m.deliver_at from message m where m.id = :message_id)
from (select 1) left join delivery d
  on d.message_id = :message_id and d.endpoint_id = :endpoint_id;

-- name: parked_after
-- Parked deliveries in the order of their index, with whose they are.
select d.lost_count, d.message_id, d.endpoint_id, d.order_key, a.organization = :organization
from delivery d indexed by delivery_parked
left join endpoint e on e.id = d.endpoint_id
left join application a on a.id = e.application_id
where d.lost_count > 0 and d.due_at >= 4611686018427387904
  and (d.lost_count, d.message_id, d.endpoint_id) > (:lost_count, :message_id, :endpoint_id)
order by d.lost_count, d.message_id, d.endpoint_id limit :limit;

-- name: parked_redrive
-- A parked delivery is due now, as if no claim of it had been lost.
update delivery set due_at = :now, lost_count = 0
where message_id = :message_id and endpoint_id = :endpoint_id and state = 'pending';

-- name: aimed_prune
-- What is known of messages that are no longer kept goes, up to a limit.
delete from aimed_message where message_id in (
  select message_id from aimed_message
  where message_id < (select coalesce(min(id), 0) from message) limit :limit);
