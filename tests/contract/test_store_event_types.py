"""Event types that an organization made itself."""

from __future__ import annotations

import msgspec
import pytest

from marketbell.errors import ConflictError, LimitReachedError, NotFoundError
from marketbell.store.base import EventType, Idempotency, Once, Page, Repeated, Store
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION

PARTS = EventType(
    organization=ORGANIZATION,
    name="part.updated",
    description="A part has changed.",
    schemas=b'{"1":{"type":"object"}}',
    archived=False,
    created_at=START,
    updated_at=START,
)


def named(name: str, **fields: object) -> EventType:
    """An event type of that name."""
    return msgspec.structs.replace(PARTS, name=name, **fields)


async def test_an_event_type_is_read_back_as_it_was_made(store: Store) -> None:
    assert await store.create_event_type(PARTS) == PARTS
    assert await store.event_type(ORGANIZATION, "part.updated") == PARTS
    bare = named("bare", schemas=None, description="")
    assert await store.create_event_type(bare) == bare


async def test_another_organization_sees_nothing(store: Store) -> None:
    await store.create_event_type(PARTS)
    with pytest.raises(NotFoundError, match=r"part\.updated"):
        await store.event_type("org_other", "part.updated")
    assert (await store.event_types("org_other", Page())).data == ()


async def test_a_live_name_is_taken(store: Store) -> None:
    await store.create_event_type(PARTS)
    with pytest.raises(ConflictError, match=r"part\.updated"):
        await store.create_event_type(named("part.updated", description="other"))
    assert await store.event_type(ORGANIZATION, "part.updated") == PARTS


async def test_an_archived_name_is_revived(store: Store) -> None:
    await store.create_event_type(named("part.updated", archived=True))
    anew = named(
        "part.updated",
        description="Anew.",
        schemas=None,
        created_at=START + 9,
        updated_at=START + 9,
    )
    made = await store.create_event_type(anew)
    assert made == msgspec.structs.replace(anew, created_at=START)
    assert await store.event_type(ORGANIZATION, "part.updated") == made


async def test_slices_come_in_order_of_names(store: Store) -> None:
    names = ["Z", "a.b", "a.b.c", "b", "ż"]
    for name in reversed(names):
        await store.create_event_type(named(name))

    async def names_of(**page: object) -> tuple[list[str], bool]:
        found = await store.event_types(ORGANIZATION, Page(**page))  # type: ignore[arg-type]
        return [event_type.name for event_type in found.data], found.done

    assert await names_of() == (names, True)
    assert await names_of(limit=2) == (names[:2], False)
    assert await names_of(limit=2, after="a.b") == (names[2:4], False)
    assert await names_of(limit=2, after="b") == (names[4:], True)
    assert await names_of(limit=2, before="b") == (names[1:3], False)
    assert await names_of(after="a.c") == (names[3:], True)
    assert await names_of(descending=True, limit=2) == (["ż", "b"], False)
    assert await names_of(descending=True, after="a.b.c") == (["a.b", "Z"], True)
    assert await names_of(descending=True, before="a.b", limit=2) == (["b", "a.b.c"], False)


async def test_archived_ones_are_listed_when_asked_for(store: Store) -> None:
    await store.create_event_type(named("live"))
    await store.create_event_type(named("old", archived=True))
    live = await store.event_types(ORGANIZATION, Page())
    assert [event_type.name for event_type in live.data] == ["live"]
    everything = await store.event_types(ORGANIZATION, Page(), include_archived=True)
    assert [event_type.name for event_type in everything.data] == ["live", "old"]
    assert (await store.event_type(ORGANIZATION, "old")).archived


async def test_a_repeated_creation_is_answered_as_the_first(store: Store) -> None:
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=True), lambda _made: b"answer")
    assert await store.create_event_type(PARTS, once=mark) == PARTS
    assert await store.create_event_type(PARTS, once=mark) == Repeated(b"answer")


async def test_several_are_put_at_once_new_or_not(store: Store) -> None:
    await store.create_event_type(PARTS)
    changed = named(
        "part.updated", description="Other.", archived=True, created_at=START + 9, deprecated=True
    )
    fresh = named("a", group_name="g", feature_flags=("f", "e"), schemas=b'{"2":{},"10":{"a":1}}')
    assert await store.put_event_types([changed, fresh], now=START) is None
    kept = await store.event_type(ORGANIZATION, "part.updated")
    assert kept == msgspec.structs.replace(changed, created_at=START)
    assert await store.event_type(ORGANIZATION, "a") == fresh
    assert fresh.schema == b'{"a":1}'


async def test_so_many_may_be_there(store: Store) -> None:
    await store.put_event_types([named("a"), named("b")], now=START, limit=2)
    with pytest.raises(LimitReachedError, match="3 event types"):
        await store.put_event_types([named("a", description="x"), named("c")], now=START, limit=2)
    with pytest.raises(LimitReachedError):
        await store.create_event_type(named("c"), limit=2)
    assert (await store.event_type(ORGANIZATION, "a")).description == PARTS.description
    await store.put_event_types([named("a", description="x")], now=START, limit=2)
    assert (await store.event_type(ORGANIZATION, "a")).description == "x"


async def test_one_is_removed_for_good(store: Store) -> None:
    await store.create_event_type(PARTS)
    with pytest.raises(NotFoundError):
        await store.delete_event_type("org_other", PARTS.name)
    await store.delete_event_type(ORGANIZATION, PARTS.name)
    with pytest.raises(NotFoundError, match=r"part\.updated"):
        await store.delete_event_type(ORGANIZATION, PARTS.name)
    assert (await store.event_types(ORGANIZATION, Page(), include_archived=True)).data == ()


async def test_flags_open_what_has_them(store: Store) -> None:
    for name, flags in (("a", ()), ("b", ("x",)), ("c", ("x", "y")), ("d", ("z",))):
        await store.create_event_type(named(name, feature_flags=flags))

    async def seen(*flags: str, **page: object) -> str:
        found = await store.event_types(
            ORGANIZATION,
            Page(**page),  # type: ignore[arg-type]
            feature_flags=frozenset(flags),
        )
        return "".join(event_type.name for event_type in found.data)

    assert await seen() == "a"
    assert await seen("x") == "ab"
    assert await seen("y", "x") == "abc"
    assert await seen("y", "x", limit=1, after="b") == "c"
    assert await seen("z", descending=True) == "da"
    assert len((await store.event_types(ORGANIZATION, Page())).data) == 4
