"""What a node could lose when it was killed or frozen: by its own gauges just before, by the database just after."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

import apsw
import httpx
import msgspec
from psycopg import sql

from support.ledger import Ledger, Pair, Request
from support.postgres import PostgresServer
from support.server import Server

Held: TypeAlias = tuple[Pair, int]
"""A claim: the delivery, and the claim's number."""

_UNREAD_S: Final = 5.0
"""How long after a kill the receiver may come to read what was sent before it."""
_CLOCKS_S: Final = 0.05
"""How far the database's clock and ours may be apart, which are the same machine's."""

_HELD: Final = """
select m.public_id, e.url, d.claim_number
from delivery d join message m on m.id = d.message_id join endpoint e on e.id = d.endpoint_id
where d.state = 'sending'
"""
_HELD_BY_NODES: Final = """
select m.public_id, e.url, d.claim_number, n.name
from delivery d join message m on m.id = d.message_id join endpoint e on e.id = d.endpoint_id
join lane l on l.endpoint_id = d.endpoint_id join slot s on s.slot = l.slot
join node n on n.id = s.node_id
where d.state = 'sending'
"""
# A slot is taken by what the taker saw of the node that has it. A sign of life that comes while it
# is being taken, too late, is not seen by the taker, and is by the trigger: so those are kept.
_WATCH: Final = """
create schema judge;
create table judge.late (node bigint primary key, at timestamptz not null);
create function judge.beaten() returns trigger language plpgsql security definer as $$
begin
  insert into judge.late values (new.id, clock_timestamp())
  on conflict (node) do update set at = excluded.at;
  return null;
end
$$;
create trigger watched after update on marketbell.node for each row
when (new.lease_until - old.lease_until > {lease}) execute function judge.beaten();

create table judge.taken (
  at double precision, lease_left bigint, late boolean, message text, url text, claim_number bigint);
create function judge.note() returns trigger language plpgsql security definer
set search_path to marketbell as $$
begin
  insert into judge.taken
  select extract(epoch from clock_timestamp()),
    n.lease_until - (extract(epoch from clock_timestamp()) * 1000)::bigint,
    exists (select 1 from judge.late b
      where b.node = n.id and b.at > statement_timestamp() - interval '1 second'),
    m.public_id, e.url, d.claim_number
  from lane l join delivery d on d.endpoint_id = l.endpoint_id and d.state = 'sending'
  join message m on m.id = d.message_id join endpoint e on e.id = d.endpoint_id
  join node n on n.id = old.node_id
  where l.slot = old.slot;
  return null;
end
$$;
create trigger watched after update on marketbell.slot for each row
when (old.node_id <> new.node_id) execute function judge.note();
"""
_TAKEN: Final = (
    "select at, lease_left, late, message, url, claim_number from judge.taken order by at"
)


class Told(msgspec.Struct, frozen=True):
    """What a node said of itself."""

    asked: float
    """When it was asked; real seconds."""
    in_flight: int = 0
    unrecorded: int = 0

    @property
    def at_risk(self) -> int:
        """How many attempts it would have left unknown."""
        return self.in_flight + self.unrecorded


class Kill(msgspec.Struct, frozen=True):
    """The end of one node, or its freezing."""

    told: Told
    at: float
    """From when on nothing came from it; real seconds."""
    held: frozenset[Held]
    """The claims that were its own then: what it had not begun, what was under way, what was not on disk."""

    def explains(self, pair: Pair, before: Request, after: Request) -> bool:
        """Whether it is why a request was followed by another one."""
        return (
            before.came <= self.at + _UNREAD_S
            and self.at <= after.came
            and any(pair == held for held, _number in self.held)
        )

    def begun(self, made: Iterable[tuple[Pair, Request]]) -> list[Pair]:
        """
        Those that were under way, or not on disk, when the node read its gauges.

        What began after that came after it was asked for them.
        """
        return [pair for pair, request in made if request.came < self.told.asked]


class Taken(msgspec.Struct, frozen=True):
    """A claim that was lost because another node took its slot."""

    at: float
    lease_left: int
    """Of the node that had the slot, by the database's clock; milliseconds."""
    late: bool
    """Whether that node gave a sign of life while the slot was taken, and after its lease was over."""
    held: Held

    @property
    def in_order(self) -> bool:
        """Whether the node's lease was over when the slot was taken."""
        return self.lease_left < 0 or self.late

    def explains(self, pair: Pair, before: Request, after: Request) -> bool:
        """Whether it is why a request was followed by another one."""
        return (
            pair == self.held[0]
            and before.came <= self.at + _UNREAD_S
            and self.at <= after.came + _CLOCKS_S
        )


class Losses(msgspec.Struct, frozen=True):
    """What was sent again although it had been answered with 200, and why."""

    by_kill: list[list[tuple[Pair, Request]]]
    """What each kill made unknown, in the order of kills: the deliveries, and the request before it."""
    by_take: list[Pair]
    """What no kill explains: its node lived, and its lease was over, so that another one took the slot."""
    by_no_answer: list[Pair]
    """What neither explains, and is on record as not answered in time."""
    unexplained: list[tuple[Pair, Request, Request]]


async def told(server: Server, http: httpx.AsyncClient) -> Told:
    """What a node that serves says of itself now."""
    asked = time.monotonic()
    found = await server.metrics(http)
    return Told(
        asked,
        int(found["marketbell_in_flight"]),
        int(found["marketbell_unrecorded_attempts"]),
    )


def held_in_file(path: Path) -> frozenset[Held]:
    """
    The claims in the SQLite file of a server that is dead.

    The file and its log are left as they are, for the server to recover.
    """
    if not path.exists():
        return frozenset()
    file = apsw.Connection(str(path))
    try:
        file.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        if not list(file.execute("select 1 from sqlite_master where name = 'delivery'")):
            return frozenset()
        return frozenset(
            (_pair(str(url), str(message)), int(str(number)))
            for message, url, number in file.execute(_HELD)
        )
    finally:
        file.close()


def held_by_nodes(database: PostgresServer, name: str) -> dict[str, frozenset[Held]]:
    """The claims of each node of a database, by the node's name."""
    found: dict[str, set[Held]] = {}
    with database.connect(name) as connection:
        connection.execute("set search_path to marketbell")
        for message, url, number, node in connection.execute(_HELD_BY_NODES):
            found.setdefault(node, set()).add((_pair(url, message), number))
    return {node: frozenset(held) for node, held in found.items()}


def watch(database: PostgresServer, name: str, *, lease: int) -> None:
    """
    Let a database that has the schema keep what is lost whenever a slot is taken from a node.

    `lease` is that of the nodes, in milliseconds.
    """
    with database.connect(name) as connection:
        connection.execute(sql.SQL(_WATCH).format(lease=sql.Literal(lease)))


def taken(database: PostgresServer, name: str) -> list[Taken]:
    """What was lost so since it is watched."""
    ahead_s = time.time() - time.monotonic()
    with database.connect(name) as connection:
        return [
            Taken(at - ahead_s, left, late, (_pair(url, message), number))
            for at, left, late, message, url, number in connection.execute(_TAKEN)
        ]


def losses(
    ledger: Ledger,
    kills: Sequence[Kill],
    takes: Sequence[Taken],
    on_record: Mapping[Pair, list[str]],
) -> Losses:
    """
    Everything that was sent again after a 200, with the first event that explains it.

    A kill explains only deliveries that its node held by the database's own word; the database
    forgets a claim in the transaction that records its attempt.
    """
    found = Losses([[] for _ in kills], [], [], [])
    for pair, before, after in ledger.doubles():
        number = next(
            (n for n, kill in enumerate(kills) if kill.explains(pair, before, after)), None
        )
        took = next((take for take in takes if take.explains(pair, before, after)), None)
        if number is not None and (took is None or kills[number].at <= took.at + _CLOCKS_S):
            found.by_kill[number].append((pair, before))
        elif took is not None:
            found.by_take.append(pair)
        elif "no_answer" in on_record[pair]:
            found.by_no_answer.append(pair)
        else:
            found.unexplained.append((pair, before, after))
    return found


def _pair(url: str, message: str) -> Pair:
    return url.rpartition("/")[2], message
