"""The directory and the schemas: what is in memory is what the store has."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from marketbell.control.directory import Directory
from marketbell.control.schemas import Schemas, Unknown
from marketbell.dialects.registry import default_registry
from marketbell.errors import InvalidError, NotFoundError
from marketbell.model import Application, Policy
from marketbell.store.base import (
    ApplicationDraft,
    EndpointDraft,
    EventType,
    Repeated,
    Subscribers,
)
from marketbell.store.sealing import Box
from marketbell.store.sqlite import SqliteOptions
from marketbell.store.sqlite_store import SqliteStore, WriterLimits
from marketbell.testing import FakeClock

NOW = FakeClock(still=True).now()


class CountingStore(SqliteStore):
    """A real store that counts its reads, and can be held up within one."""

    reads = 0
    between: asyncio.Event | None = None
    reading: asyncio.Event

    async def subscribers(self, organization: str, ref: str) -> Subscribers:
        self.reads += 1
        found = await super().subscribers(organization, ref)
        if self.between is not None:
            self.reading.set()
            await self.between.wait()
        return found

    async def event_type_in_force(
        self, organization: str, name: str
    ) -> tuple[EventType | None, int]:
        self.reads += 1
        found = await super().event_type_in_force(organization, name)
        if self.between is not None:
            self.reading.set()
            await self.between.wait()
        return found

    async def made(self, uid: str) -> Application:
        draft = ApplicationDraft(name="A", uid=uid)
        application = await self.create_application("org_a", draft, now=NOW)
        assert not isinstance(application, Repeated)
        return application

    async def renamed(self, uid: str, name: str, policy: Policy = Policy()) -> None:  # noqa: B008
        draft = ApplicationDraft(name=name, uid=uid, policy=policy)
        await self.update_application("org_a", uid, draft, now=NOW)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[CountingStore]:
    options = SqliteOptions(path=tmp_path / "store.db")
    opened = CountingStore(options, Box([os.urandom(32)]), FakeClock(), WriterLimits())
    opened.reading = asyncio.Event()
    yield opened
    await opened.aclose()


@pytest.fixture
def directory(store: CountingStore) -> Directory:
    return Directory(store, default_registry())


async def test_an_application_is_read_once_under_each_of_its_names(
    store: CountingStore, directory: Directory
) -> None:
    application = await store.made("s")
    assert directory.peek("org_a", "s") is None
    entry = await directory.entry("org_a", "s")
    assert directory.peek("org_a", "s") is entry
    await asyncio.gather(*(directory.entry("org_a", application.public_id) for _ in range(9)))
    assert store.reads == 2
    assert directory.peek("org_b", "s") is None
    with pytest.raises(NotFoundError):
        await directory.entry("org_b", "s")


async def test_a_change_is_seen_under_every_name(
    store: CountingStore, directory: Directory
) -> None:
    application = await store.made("s")
    for ref in ("s", application.public_id):
        await directory.entry("org_a", ref)
    await store.create_endpoint(
        application.id, EndpointDraft(url="https://example.com/"), now=NOW, endpoints_max=5
    )
    for ref in ("s", application.public_id):
        assert directory.peek("org_a", ref) is None
        assert len((await directory.entry("org_a", ref)).subscribers.endpoints) == 1
    await store.delete_application("org_a", "s", now=NOW)
    with pytest.raises(NotFoundError):
        await directory.entry("org_a", "s")


async def test_what_changed_while_it_was_read_is_not_kept(
    store: CountingStore, directory: Directory
) -> None:
    await store.made("s")
    store.between = asyncio.Event()
    asked = asyncio.ensure_future(directory.entry("org_a", "s"))
    await store.reading.wait()
    await store.renamed("s", "B")
    store.between.set()
    assert (await asked).subscribers.application.name == "A"
    assert directory.peek("org_a", "s") is None
    assert (await directory.entry("org_a", "s")).subscribers.application.name == "B"


async def test_a_caller_that_goes_away_does_not_take_the_query_from_others(
    store: CountingStore, directory: Directory
) -> None:
    await store.made("s")
    store.between = asyncio.Event()
    first = asyncio.ensure_future(directory.entry("org_a", "s"))
    second = asyncio.ensure_future(directory.entry("org_a", "s"))
    await store.reading.wait()
    first.cancel()
    store.between.set()
    assert (await second).subscribers.application.name == "A"
    assert store.reads == 1


async def test_what_is_kept_is_bounded_in_applications_and_endpoints(
    store: CountingStore,
) -> None:
    names = [f"s{number}" for number in range(6)]
    for name in names:
        application = await store.made(name)
        for _ in range(2):
            draft = EndpointDraft(url="https://example.com/")
            await store.create_endpoint(application.id, draft, now=NOW, endpoints_max=5)
    for few in (
        Directory(store, default_registry(), applications_max=3),
        Directory(store, default_registry(), endpoints_max=6),
    ):
        for name in names[:3]:
            await few.entry("org_a", name)
        few.peek("org_a", names[0])
        for name in names[3:5]:
            await few.entry("org_a", name)
        kept = [name for name in names if few.peek("org_a", name) is not None]
        assert kept == [names[0], *names[3:5]]


async def test_the_catalogues_of_all_dialects_in_use_are_told(
    store: CountingStore, directory: Directory
) -> None:
    application = await store.made("s")
    entry = await directory.entry("org_a", "s")
    assert (entry.catalogues, entry.verbatim) == ((), True)
    await store.renamed("s", "A", Policy(dialect="ovoko"))
    draft = EndpointDraft(url="https://example.com/", policy=Policy(dialect="sellercenter"))
    await store.create_endpoint(application.id, draft, now=NOW, endpoints_max=5)
    entry = await directory.entry("org_a", "s")
    names = {name for catalogue in entry.catalogues for name in catalogue}
    assert {"order.created", "onOrderCreated"} <= names
    assert not entry.verbatim


def event_type(schema: bytes | None, *, archived: bool = False) -> EventType:
    return EventType(
        organization="org_a",
        name="a.b",
        description="",
        schemas=None if schema is None else b'{"1":%b}' % schema,
        archived=archived,
        created_at=NOW,
        updated_at=NOW,
    )


async def test_a_schema_is_compiled_once_and_forgotten_when_told(store: CountingStore) -> None:
    schemas = Schemas(store)
    assert isinstance(schemas.peek("org_a", "a.b"), Unknown)
    assert await schemas.schema("org_a", "a.b") is None
    assert schemas.peek("org_a", "a.b") is None
    await store.create_event_type(event_type(b'{"required":["x"]}'))
    schemas.forget("org_a", "a.b")
    found = await asyncio.gather(*(schemas.schema("org_a", "a.b") for _ in range(5)))
    assert found[0] is not None
    assert all(one is found[0] for one in found)
    assert store.reads == 2
    with pytest.raises(InvalidError):
        found[0].check(b"{}")


async def test_a_schema_that_changed_while_it_was_read_is_not_kept(store: CountingStore) -> None:
    schemas = Schemas(store)
    await store.create_event_type(event_type(b'{"required":["x"]}', archived=True))
    store.between = asyncio.Event()
    asked = asyncio.ensure_future(schemas.schema("org_a", "a.b"))
    await store.reading.wait()
    await store.create_event_type(event_type(b'{"required":["x"]}'))
    schemas.forget("org_a", "a.b")
    store.between.set()
    assert await asked is None
    assert await schemas.schema("org_a", "a.b") is not None


async def test_schemas_in_memory_are_bounded(store: CountingStore) -> None:
    schemas = Schemas(store, remembered=2)
    for name in ("a", "b", "c"):
        await schemas.schema("org_a", name)
    assert isinstance(schemas.peek("org_a", "a"), Unknown)
    assert schemas.peek("org_a", "c") is None


async def test_a_schema_is_no_older_than_what_it_is_asked_for(store: CountingStore) -> None:
    """As when another node has changed it, and nothing was told."""
    schemas = Schemas(store)
    assert await schemas.schema("org_a", "a.b") is None
    await store.create_event_type(event_type(b'{"required":["x"]}'))
    application = await store.made("s")
    revision = (await store.subscribers("org_a", application.public_id)).event_types
    assert schemas.peek("org_a", "a.b") is None
    assert isinstance(schemas.peek("org_a", "a.b", revision), Unknown)
    assert await schemas.schema("org_a", "a.b", revision) is not None
    reads = store.reads
    assert await schemas.schema("org_a", "a.b", revision) is not None
    assert store.reads == reads


async def test_a_read_that_began_before_a_change_is_not_good_enough_after_it(
    store: CountingStore,
) -> None:
    schemas = Schemas(store)
    store.between = asyncio.Event()
    early = asyncio.ensure_future(schemas.schema("org_a", "a.b"))
    await store.reading.wait()
    await store.create_event_type(event_type(b'{"required":["x"]}'))
    late = asyncio.ensure_future(schemas.schema("org_a", "a.b", 1))
    await asyncio.sleep(0)
    store.between.set()
    assert await early is None
    assert await late is not None
