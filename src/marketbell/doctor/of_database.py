"""Verdicts on the database and on the work in it. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from marketbell.doctor.findings import (
    Finding,
    failure,
    ok,
    size_told,
    time_told,
    unknown,
    warning,
)
from marketbell.model import SLOTS, Instant, Millis
from marketbell.store.inspecting import MANY, Count, Here, Outbox, Transactions
from marketbell.store.migrations import Standing
from marketbell.store.nodes_plane import NodeRow
from marketbell.store.postgresql_versions import NEWEST, too_old, untested

SECOND: Final = 1_000
MINUTE: Final = 60_000
DAY: Final = 86_400_000

SLOW_ANSWER: Final = 100
SKEW_WARNING: Final = 2 * SECOND
SKEW_FAILURE: Final = MINUTE
LATE_WARNING: Final = MINUTE
LATE_FAILURE: Final = 10 * MINUTE
LEASE_GRACE: Final = 30 * SECOND
"""How long after its end a lease counts as stuck."""
LEASE_FAILURE: Final = 10 * MINUTE
OUTBOX_WARNING: Final = 10 * SECOND
OUTBOX_FAILURE: Final = 5 * MINUTE
CONNECTIONS_WARNING: Final = 0.8
CONNECTIONS_FAILURE: Final = 0.95
TRANSACTION_WARNING: Final = 5 * MINUTE
TRANSACTION_FAILURE: Final = 60 * MINUTE
PARTITIONS_AHEAD: Final = 1
"""Days for which partitions must be there beyond today."""


def of_postgresql(seen: Here, took: Millis) -> Finding:
    """Whether it is of a version that will do, answers, in what time, and takes writes."""
    fact = f"PostgreSQL {seen.version}, {size_told(seen.size)}, answers in {took} ms"
    if old := too_old(seen.number):
        return failure("database", fact, old)
    if seen.replica:
        return failure(
            "database",
            f"{fact}; it is a replica",
            "Name the primary in db: a replica takes nothing.",
        )
    if took > SLOW_ANSWER:
        return warning(
            "database", fact, "Bring the nodes nearer to the database, or see what it is busy with."
        )
    if untested(seen.number):
        return warning(
            "database",
            f"{fact}; later than {NEWEST}, the last that this Marketbell was tested on",
            "See whether a newer Marketbell was.",
        )
    return ok("database", fact)


def of_schema(found: Standing) -> Finding:
    """Whether the schema is what this program needs."""
    fact = f"schema {found.current}"
    if found.newer:
        return warning(
            "schema",
            f"{fact}, {found.newer} ahead of this program, whose nodes can serve on",
            "Bring this program up to date, and all nodes; then run `marketbell migrate` once more.",
        )
    if any(not one.after for one in found.runnable):
        missing = len(found.runnable) + len(found.waiting)
        return failure(
            "schema", f"{fact}, {missing} behind this program", "Run `marketbell migrate`."
        )
    if found.runnable:
        return warning(
            "schema",
            f"{fact}, {len(found.runnable)} still to run",
            "Run `marketbell migrate`: no node of the version before is left.",
        )
    if found.waiting:
        names = ", ".join(node.name for node in found.held_up_by)
        return warning(
            "schema",
            f"{fact}, {len(found.waiting)} wait for {names}",
            "Bring these nodes up to date, then run `marketbell migrate`.",
        )
    return ok("schema", f"{fact}, up to date")


def of_clocks(skew: Millis, nodes: Sequence[NodeRow]) -> Finding:
    """How far the clocks of this machine and of the nodes' are ahead of the database's."""
    skews = [("this machine", skew), *((one.name, one.skew) for one in nodes if one.left > 0)]
    name, worst = max(skews, key=lambda one: abs(one[1]))
    fact = f"{name} is {abs(worst)} ms {'ahead of' if worst >= 0 else 'behind'} the database"
    mend = "Let chrony or ntpd set the clock there, and on the database's machine."
    if abs(worst) >= SKEW_FAILURE:
        return failure("clock", fact, mend)
    return warning("clock", fact, mend) if abs(worst) >= SKEW_WARNING else ok("clock", fact)


def of_file_clock(newest: Instant | None, now: Instant) -> Finding:
    """Whether the clock has been set back since the newest message was accepted."""
    if newest is None:
        return ok("clock", "no message yet that the clock could be held against")
    ahead = newest - now
    if ahead < SKEW_WARNING:
        return ok("clock", "not behind the newest message")
    fact = f"{time_told(ahead)} behind the newest message: it was set back"
    mend = "Let chrony or ntpd set the clock; waits are as much longer until it has caught up."
    return (failure if ahead >= SKEW_FAILURE else warning)("clock", fact, mend)


def of_durability(settings: Mapping[str, str]) -> Finding:
    """Whether what PostgreSQL has committed is on disk."""
    fact = ", ".join(f"{name} {value}" for name, value in settings.items())
    wrong = [name for name in ("fsync", "synchronous_commit", "full_page_writes")
             if settings[name] == "off"]  # fmt: skip
    if wrong:
        return failure(
            "durability",
            fact,
            f"Set {' and '.join(wrong)} to on: a crash would lose what was accepted.",
        )
    return ok("durability", fact)


def of_due(since: Instant | None, now: Instant) -> Finding:
    """How late the latest delivery is."""
    late = 0 if since is None else max(0, now - since)
    if late < SECOND:
        return ok("due", "nothing is late")
    fact = f"the oldest due delivery has waited for {time_told(late)}"
    mend = "See that nodes deliver (nodes), and look at marketbell_in_flight against sockets_max."
    if late >= LATE_FAILURE:
        return failure("due", fact, mend)
    return warning("due", fact, mend) if late >= LATE_WARNING else ok("due", fact)


def of_leases(over: Count, now: Instant) -> Finding:
    """Whether claims are left that nobody answers for any more."""
    if over.since is None:
        return ok("leases", "no claim is past its lease")
    age = now - over.since
    fact = f"{_counted(over)} claims are past their lease, the first by {time_told(age)}"
    mend = "A node that serves takes them back: start one, or restart those that do not deliver."
    return (failure if age >= LEASE_FAILURE else warning)("leases", fact, mend)


def of_parked(parked: int) -> Finding:
    """Whether deliveries wait for a person."""
    if not parked:
        return ok("parked", "no delivery is parked")
    return warning(
        "parked",
        f"{parked} deliveries are parked: their claims were lost again and again",
        "Find in the logs what kills the node, then `POST /api/v1/admin/redrive-dlq`.",
    )


def of_payloads(held: Count, now: Instant, retention: Millis) -> Finding:
    """Whether payloads past their age are kept for deliveries that do not end."""
    if held.since is None:
        return ok("payloads", f"none is kept beyond {time_told(retention)}")
    return warning(
        "payloads",
        f"{_counted(held)} messages past their age wait for a delivery,"
        f" the first {time_told(now - held.since)} old",
        "Resume or delete the endpoints that they wait for; then retention takes them.",
    )


def of_partitions(
    there: Mapping[str, Collection[str]], now: Instant, kept: Mapping[str, Millis]
) -> Finding:
    """
    Whether history has room for what comes, and has let go of what is past its age.

    `there` are the partitions of each table, `kept` the age that its rows are kept for.
    """
    today = datetime.fromtimestamp(now / 1000, UTC)
    wanted = [_day(today + timedelta(days=ahead)) for ahead in range(PARTITIONS_AHEAD + 1)]
    missing: list[str] = []
    left: list[str] = []
    for table, names in sorted(there.items()):
        days = {name.rpartition("_")[2] for name in names}
        last = _day(today - timedelta(milliseconds=kept[table] + 2 * DAY))
        missing += [f"{table}_{one}" for one in wanted if one not in days]
        left += [f"{table}_{one}" for one in sorted(days) if one < last]
    count = sum(map(len, there.values()))
    if missing:
        said = ", ".join(missing[:4]) + (" and more" if len(missing) > 4 else "")
        return warning(
            "partitions",
            f"{count} partitions, but not {said}",
            "Start a node: it makes them ahead; without them each is made when its first row comes.",
        )
    if left:
        return warning(
            "partitions",
            f"{len(left)} of {count} partitions are past their age, the first {left[0]}",
            "See what waits (payloads), and in the nodes' logs why the janitor does not drop them.",
        )
    return ok("partitions", f"{count} partitions, none missing, none left over")


def of_nodes(nodes: Sequence[NodeRow]) -> Finding:
    """Whether nodes live, and somebody delivers."""
    live = [one for one in nodes if one.left > 0]
    lost = [one.name for one in nodes if one.left <= 0]
    workers = [one for one in live if one.role != "api"]
    versions = ", ".join(sorted({one.version for one in live}))
    fact = f"{len(live)} nodes live ({versions})" if live else "no node lives"
    if lost:
        fact += f", lost in the last hour: {', '.join(lost)}"
    if not nodes:
        return warning("nodes", "no node has served in the last hour", "Start `marketbell serve`.")
    if not live:
        return failure("nodes", fact, "Start `marketbell serve`; its logs say why it ended.")
    if not workers:
        return failure(
            "nodes", f"{fact}, none of them a worker", "Start one with --role worker or all."
        )
    if unfit := [one.name for one in workers if not one.fit]:
        fact += f"; what {', '.join(unfit)} asks for its slots gets no answer"
        mend = "See in their logs what the database says; if to all, what keeps it from working."
        return (failure if len(unfit) == len(workers) else warning)("nodes", fact, mend)
    if lost:
        return warning("nodes", fact, "Find in their logs why they ended; others have their work.")
    return ok("nodes", fact)


def of_slots(nodes: Sequence[NodeRow]) -> Finding:
    """Whether every endpoint has a node that serves it."""
    workers = [one for one in nodes if one.left > 0 and one.role != "api"]
    if not workers:
        return unknown("slots", "no worker lives that could have any")
    free = SLOTS - sum(one.slots for one in workers)
    if free > 0:
        return warning(
            "slots",
            f"{free} of {SLOTS} slots are nobody's",
            "They are taken within seconds; if they are not, restart a worker and read its log.",
        )
    most = max(one.slots for one in workers)
    return ok(
        "slots",
        f"all {SLOTS} among {len(workers)} {'worker' if len(workers) == 1 else 'workers'}, {most} at most",
    )


def of_connections(used: int, most: int) -> Finding:
    """Whether the server has connections left."""
    share = used / max(most, 1)
    fact = f"{used} of {most} in use"
    mend = "Raise max_connections, lower readers, or put PgBouncer between."
    if share >= CONNECTIONS_FAILURE:
        return failure("connections", fact, mend)
    return (
        warning("connections", fact, mend)
        if share >= CONNECTIONS_WARNING
        else ok("connections", fact)
    )


def of_transactions(seen: Transactions) -> Finding:
    """Whether something keeps dead rows from being removed."""
    oldest = max(seen.oldest, seen.prepared)
    what = "prepared transaction" if seen.prepared > seen.oldest else "transaction"
    fact = f"the oldest {what} is {time_told(oldest)} old"
    if seen.unread_slots:
        return warning(
            "transactions",
            f"{fact}; nobody reads the replication slots {seen.unread_slots}",
            "Drop the slots of replicas that are gone: the log is kept for them until the disk is full.",
        )
    mend = "End it (pg_terminate_backend, rollback prepared): dead rows stay until it has ended."
    if oldest >= TRANSACTION_FAILURE:
        return failure("transactions", fact, mend)
    if oldest >= TRANSACTION_WARNING:
        return warning("transactions", fact, mend)
    return ok("transactions", fact)


def of_outbox(seen: Outbox) -> Finding:
    """Whether the outbox is emptied, and nothing was refused."""
    fact = f"{seen.waiting} wait, the oldest for {time_told(seen.lag)}; {seen.rejected} rejected"
    late = "See that nodes serve (nodes), and that their log has no errors of the outbox."
    if seen.lag >= OUTBOX_FAILURE:
        return failure("outbox", fact, late)
    if seen.lag >= OUTBOX_WARNING:
        return warning("outbox", fact, late)
    if seen.rejected:
        return warning(
            "outbox", fact, "Look at what was rejected and why, mend that, and put it back."
        )
    return ok("outbox", fact)


def of_keys(sealed: Mapping[bytes, int], ours: Collection[bytes]) -> Finding:
    """Whether the keys open what endpoints' secrets were sealed with."""
    foreign = {key: count for key, count in sealed.items() if key not in ours}
    if not foreign:
        return ok("keys", f"open all of the newest {sum(sealed.values())} secrets")
    names = ", ".join(sorted(key.hex() for key in foreign))
    return failure(
        "keys",
        f"{sum(foreign.values())} secrets are sealed with {names}, which is no key of ours",
        "Give that key as secrets_keys_old, or put the secrets file back that belongs to this database.",
    )


def _counted(one: Count) -> str:
    return f"{one.number} or more" if one.number >= MANY else str(one.number)


def _day(at: datetime) -> str:
    return at.strftime("%Y%m%d")
