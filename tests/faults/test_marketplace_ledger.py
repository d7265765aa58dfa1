"""What happened and what is told of it are kept together, or neither is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest

from marketbell.errors import (
    InvalidError,
    MoveRefusedError,
    NotFoundError,
    OverloadedError,
    UnavailableError,
)
from marketbell.marketplace.ledger import TRIES, Decision, Event
from marketbell.model import Application, Instant
from marketbell.store import publishing
from marketbell.store.base import Entity
from marketbell.testing import FakeClock, TestReceiver
from support.bazaar import Bazaar
from support.disk import Disk


@pytest.fixture
async def bazaar(tmp_path: Path) -> AsyncIterator[Bazaar]:
    async with Bazaar(tmp_path, FakeClock()) as it:
        yield it


SOLD = Event(
    event_type="part.status.changed",
    payload={"part_id": "7", "status": "sold", "id_bridge": None, "external_id": None},
)


def part(seller: Application, number: int = 7, **fields: Any) -> Entity:
    return Entity(
        **{
            "application_id": seller.id,
            "kind": "part",
            "number": number,
            "state": "sold",
            "body": b"{}",
            "created_at": 0,
            "updated_at": 0,
            **fields,
        }
    )


async def nothing() -> None:
    """There is nothing to read."""


def always(decision: Decision[str]) -> Callable[[None, Instant], Decision[str]]:
    return lambda _loaded, _now: decision


async def test_both_are_kept_and_delivered_at_once(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()
    async with TestReceiver() as receiver:
        endpoint = await bazaar.plane.endpoint(seller, receiver.url, secret=None)
        decision = Decision(changes=(part(seller),), events=(SOLD,), answer="done")
        assert await bazaar.ledger.act(seller, nothing, always(decision)) == "done"
        await bazaar.plane.settled()
        assert len(receiver.requests) == 1
        (attempt,) = await bazaar.plane.attempts(endpoint)
    assert attempt.claim_number == 1
    assert [entity.number for entity in await bazaar.entities(seller)] == [7]


async def test_the_event_happened_at_the_instant_of_the_decision(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()
    seen: list[Instant] = []

    def decide(_loaded: None, now: Instant) -> Decision[None]:
        seen.append(now)
        return Decision(changes=(part(seller),), events=(SOLD,), answer=None)

    await bazaar.ledger.act(seller, nothing, decide)
    (entity,) = await bazaar.entities(seller)
    assert [entity.updated_at] == seen


async def test_a_refusal_changes_nothing_and_tells_nothing(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()

    def decide(_loaded: None, _now: Instant) -> Decision[None]:
        raise MoveRefusedError("no")

    with pytest.raises(MoveRefusedError):
        await bazaar.ledger.act(seller, nothing, decide)
    assert await bazaar.told(seller) == []


async def test_a_payload_that_is_not_the_event_types_takes_the_change_with_it(
    bazaar: Bazaar,
) -> None:
    seller = await bazaar.seller()
    wrong = msgspec.structs.replace(SOLD, payload={"part_id": 7})
    decision = Decision(changes=(part(seller),), events=(SOLD, wrong), answer="")
    with pytest.raises(InvalidError):
        await bazaar.ledger.act(seller, nothing, always(decision))
    assert (await bazaar.entities(seller), await bazaar.told(seller)) == ((), [])


async def test_what_has_changed_meanwhile_is_read_and_decided_anew(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()
    store = bazaar.plane.store
    await store.change_entities(seller.id, (part(seller, state="reserved"),), (), now=1)
    seen: list[str] = []

    async def load() -> Entity:
        read = await store.entity(seller.id, "part", 7)
        if not seen:  # another process is faster
            other = msgspec.structs.replace(read, state="in_warehouse")
            await store.change_entities(seller.id, (other,), (), now=2)
        return read

    def decide(entity: Entity, _now: Instant) -> Decision[None]:
        seen.append(entity.state)
        changed = msgspec.structs.replace(entity, state="sold")
        return Decision(changes=(changed,), events=(SOLD,), answer=None)

    await bazaar.ledger.act(seller, load, decide)
    assert seen == ["reserved", "in_warehouse"]
    assert len(await bazaar.told(seller)) == 1
    assert (await store.entity(seller.id, "part", 7)).revision == 3


async def test_a_fan_out_that_is_out_of_date_is_matched_anew(
    bazaar: Bazaar, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller = await bazaar.seller()
    async with TestReceiver() as receiver:
        kept = bazaar.plane.store.change_entities
        calls = 0

        async def change_entities(*given: Any, **named: Any) -> Any:
            nonlocal calls
            calls += 1
            if calls == 1:
                await bazaar.plane.endpoint(seller, receiver.url, secret=None)
            return await kept(*given, **named)

        monkeypatch.setattr(bazaar.plane.store, "change_entities", change_entities)
        decision = Decision(changes=(part(seller),), events=(SOLD,), answer="")
        await bazaar.ledger.act(seller, nothing, always(decision))
        await bazaar.plane.settled()
        assert (calls, len(receiver.requests)) == (2, 1)
    assert len(await bazaar.told(seller)) == 1


async def test_what_stays_out_of_date_is_given_up(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()
    decided = 0

    def decide(_loaded: None, _now: Instant) -> Decision[None]:
        nonlocal decided
        decided += 1
        return Decision(changes=(part(seller, revision=5),), events=(SOLD,), answer=None)

    with pytest.raises(OverloadedError):
        await bazaar.ledger.act(seller, nothing, decide)
    assert decided == TRIES
    assert await bazaar.told(seller) == []


async def test_a_seller_that_is_gone_gets_nothing(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()
    await bazaar.plane.store.delete_application(seller.organization, seller.public_id, now=1)
    decision = Decision(changes=(part(seller),), events=(SOLD,), answer="")
    with pytest.raises(NotFoundError):
        await bazaar.ledger.act(seller, nothing, always(decision))


@pytest.mark.parametrize("result", [apsw.SQLITE_IOERR_WRITE, apsw.SQLITE_FULL])
async def test_a_disk_that_does_not_write_keeps_neither(tmp_path: Path, result: int) -> None:
    disk = Disk()
    try:
        async with Bazaar(tmp_path, FakeClock()) as bazaar, TestReceiver() as receiver:
            seller = await bazaar.seller()
            await bazaar.plane.endpoint(seller, receiver.url, secret=None)
            decision = Decision(changes=(part(seller),), events=(SOLD,), answer="")
            disk.writes = result
            with pytest.raises(UnavailableError):
                await bazaar.ledger.act(seller, nothing, always(decision))
            disk.writes = apsw.SQLITE_OK
            assert (await bazaar.entities(seller), await bazaar.told(seller)) == ((), [])
            await bazaar.ledger.act(seller, nothing, always(decision))
            await bazaar.plane.settled()
            assert len(receiver.requests) == 1
    finally:
        disk.unregister()


async def test_a_failure_between_the_two_keeps_neither(
    bazaar: Bazaar, monkeypatch: pytest.MonkeyPatch
) -> None:
    seller = await bazaar.seller()
    write = publishing._Keeping.write

    def fail(_keeping: object) -> None:
        raise apsw.IOError("between")

    decision = Decision(changes=(part(seller),), events=(SOLD,), answer="")
    monkeypatch.setattr(publishing._Keeping, "write", fail)
    with pytest.raises(UnavailableError):
        await bazaar.ledger.act(seller, nothing, always(decision))
    monkeypatch.setattr(publishing._Keeping, "write", write)
    assert (await bazaar.entities(seller), await bazaar.told(seller)) == ((), [])
    await bazaar.ledger.act(seller, nothing, always(decision))
    assert (len(await bazaar.entities(seller)), len(await bazaar.told(seller))) == (1, 1)


async def test_what_one_seller_decides_is_decided_one_after_the_other(bazaar: Bazaar) -> None:
    seller = await bazaar.seller()
    store = bazaar.plane.store
    await store.change_entities(seller.id, (part(seller, body=b"0"),), (), now=1)
    decided = 0

    def decide(entity: Entity, _now: Instant) -> Decision[None]:
        nonlocal decided
        decided += 1
        changed = msgspec.structs.replace(entity, body=b"%d" % (int(entity.body) + 1))
        return Decision(changes=(changed,), events=(SOLD,), answer=None)

    async def once() -> None:
        await bazaar.ledger.act(seller, lambda: store.entity(seller.id, "part", 7), decide)

    await _together([once] * 20)
    assert (await store.entity(seller.id, "part", 7)).body == b"20"
    assert decided == 20
    assert len(await bazaar.told(seller)) == 20


async def _together(works: Sequence[Callable[[], Coroutine[Any, Any, None]]]) -> None:

    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work())
