"""
A database filled as a release fills it, with work under way, and what must come of that work.

At a release `python -m support.filled` in `tests/` writes the files of that schema to
`tests/golden/schemas/`; from then on every later program migrates them in its tests.
"""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw
import msgspec

from marketbell.model import Application, DeliveryState, Endpoint, SigningKey
from marketbell.store.base import MessageFilter, Page, Store
from marketbell.store.migrations import known
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore
from marketbell.store.written_store import WriterLimits
from marketbell.testing import FakeClock
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION, Scene
from support.postgres import PostgresServer
from support.postgres_programs import programs
from support.postgres_stores import migrated, postgres_store

SCHEMAS: Final = Path(__file__).parents[1] / "golden" / "schemas"
KEY: Final = bytes(range(32))
LEASE: Final = 60_000
LATER: Final = 3_600_000

_UID: Final = "filled"
_SECRET: Final = b"the secret of an endpoint, kept!"


class Fixture(msgspec.Struct, frozen=True):
    """A file that holds a database of one schema."""

    database: str
    number: int
    path: Path


def fixtures() -> list[Fixture]:
    """Those that releases left."""
    found = []
    for path in sorted(SCHEMAS.glob("*-*.*")):
        database, _, number = path.stem.partition("-")
        found.append(Fixture(database, int(number), path))
    return found


async def fill(store: Store) -> None:
    """
    One seller whose deliveries are in every state that a release may leave behind.

    Endpoint `plain` has one that waits, one that is claimed, one that waits for its second try and
    one that is done; `ordered` has two of one order key, of which the first has failed once.
    """
    scene = Scene(store)
    application = await scene.application(uid=_UID)
    plain, ordered = [
        await scene.endpoint(application, uid=uid, secret=SigningKey(kind="v1", secret=_SECRET))
        for uid in ("plain", "ordered")
    ]
    await scene.deliver(application, plain, event_id="done")
    tried = await scene.publish(application, plain, lease=LEASE, event_id="tried")
    await scene.record(tried.claims[0], 500, again_at=scene.now + LATER)
    await scene.publish(application, plain, lease=LEASE, event_id="claimed")
    await scene.publish(application, ordered, order_key=b"order", event_id="first")
    (first,) = await scene.claim(lanes=[ordered.id])
    await scene.record(first, 500, again_at=scene.now + LATER)
    await scene.publish(application, ordered, order_key=b"order", event_id="second")
    await scene.publish(application, plain, event_id="waiting")


async def fill_and_close(opened: Callable[[], Store]) -> None:
    """The same to a store that is opened for it."""
    store = opened()
    await fill(store)
    await store.aclose()


async def finish(store: Store) -> list[tuple[str, int]]:
    """
    Go on with what `fill` left until nothing is due: the order in which it was sent, by eventId and
    number of the attempt. AssertionError if a secret or an order was lost.
    """
    scene = Scene(store, now=START + LATER + LEASE)
    application, endpoints = await seller(store)
    for endpoint in endpoints:
        assert [one.secret for one in endpoint.secrets] == [_SECRET]
    sent: list[tuple[str, int]] = []
    while claims := await scene.claim(lease=LEASE):
        for claim in claims:
            attempt = await scene.record(claim)
            sent.append((str(claim.message.event_id), attempt.number))
    messages = (await store.messages(application.id, MessageFilter(), Page())).data
    assert len(messages) == 6
    for message in messages:
        states = await store.delivery_states(message.id)
        assert set(states.values()) == {DeliveryState.DELIVERED}, message.event_id
    return sent


SENT: Final = [("claimed", 1), ("first", 2), ("second", 1), ("tried", 2), ("waiting", 1)]
"""What `finish` must have sent, sorted; `first` before `second`."""


async def seller(store: Store) -> tuple[Application, list[Endpoint]]:
    """The application and the endpoints that `fill` made."""
    application = await store.application(ORGANIZATION, _UID)
    found = [await store.endpoint(application.id, uid) for uid in ("plain", "ordered")]
    return application, found


def sqlite_store(path: Path) -> SqliteStore:
    """A store on a file."""
    return SqliteStore(
        SqliteOptions(path=path), Box([KEY]), FakeClock(START), WriterLimits(wait_s=20.0)
    )


def dump(server: PostgresServer, database: str) -> str:
    """A database as statements, of which psql makes it again."""
    return program(server, "pg_dump", "--no-owner", "--dbname", database)


def load(server: PostgresServer, database: str, script: str) -> None:
    """Make in a database what `dump` has written."""
    program(server, "psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", database, given=script)


def program(server: PostgresServer, name: str, *arguments: str, given: str | None = None) -> str:
    """What one of PostgreSQL's programs prints; AssertionError if it fails."""
    found = programs()
    address = ("--host", "127.0.0.1", "--port", str(server.port), "--username", "marketbell")
    done = subprocess.run(
        [found.folder / name, *address, *arguments],
        input=given,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        **found.account,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return done.stdout


def _write() -> None:
    SCHEMAS.mkdir(exist_ok=True)
    number = known("sqlite")[-1].number
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "filled.db"
        asyncio.run(fill_and_close(lambda: sqlite_store(path)))
        copy = SCHEMAS / f"sqlite-{number}.db"
        copy.unlink(missing_ok=True)
        connection = apsw.Connection(str(path))
        connection.execute("vacuum into ?", (str(copy),))
        connection.close()
    with PostgresServer() as server:
        name = server.create_database()
        migrated(server.url(name))
        asyncio.run(fill_and_close(lambda: postgres_store(server.url(name), KEY)))
        script = dump(server, name)
    (SCHEMAS / f"postgresql-{known('postgresql')[-1].number}.sql").write_text(script)


if __name__ == "__main__":
    _write()
