"""What a node could lose when it was killed or frozen: by its own gauges just before, by the database just after."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final, TypeAlias

import apsw
import httpx
import msgspec

from support.ledger import Ledger, Pair, Request
from support.postgres import PostgresServer
from support.server import Server

Held: TypeAlias = tuple[Pair, int]
"""A claim: the delivery, and the claim's number."""

_UNREAD_S: Final = 0.3
"""How long after a kill the receiver may come to read what was sent before it."""

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


class Losses(msgspec.Struct, frozen=True):
    """What was sent again although it had been answered with 200, and why."""

    by_kill: list[list[tuple[Pair, Request]]]
    """What each kill made unknown, in the order of kills: the deliveries, and the request before it."""
    by_no_answer: list[Pair]
    """What no kill explains, and is on record as not answered in time."""
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


def losses(ledger: Ledger, kills: list[Kill], on_record: dict[Pair, list[str]]) -> Losses:
    """
    Everything that was sent again after a 200, with the first kill that explains it.

    A kill explains only deliveries that its node held by the database's own word; the database
    forgets a claim in the transaction that records its attempt.
    """
    found = Losses([[] for _ in kills], [], [])
    for pair, before, after in ledger.doubles():
        explains = (n for n, kill in enumerate(kills) if kill.explains(pair, before, after))
        number = next(explains, None)
        if number is not None:
            found.by_kill[number].append((pair, before))
        elif "no_answer" in on_record[pair]:
            found.by_no_answer.append(pair)
        else:
            found.unexplained.append((pair, before, after))
    return found


def _pair(url: str, message: str) -> Pair:
    return url.rpartition("/")[2], message
