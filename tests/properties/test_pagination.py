"""Pages of every search: no row twice and none missed, both ways, while rows are added."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from marketbell.model import Application, DeliveryState, Endpoint
from marketbell.store.base import AttemptFilter, MessageFilter, Page, Slice
from marketbell.testing.stores import Scene
from support.grounds import Grounds
from support.history import publish_all, record_all

TYPES = ("a", "b", "rare")
CODES = (200, 200, 204, 301, 404, 500)
_PAGES_MAX = 500


class Kind(msgspec.Struct, frozen=True):
    """One search: how a page of it is asked for, and what names a row."""

    page: Callable[[Page], Awaitable[Slice[Any]]]
    place: Callable[[Any], str]
    passes: Callable[[dict[str, Any], int], bool]
    """Whether a message of these fields, answered with this code, belongs to it."""


class Growing:
    """An application to which messages are added, and what was added, oldest first."""

    def __init__(self, scene: Scene, application: Application, endpoint: Endpoint) -> None:
        self.scene = scene
        self.application = application
        self.endpoint = endpoint
        self.rows: list[tuple[dict[str, Any], int, str, str]] = []
        """Fields, code, and the ids of message and attempt."""

    async def add(self, count: int, step: int) -> None:
        """So many messages, each delivered to the endpoint or refused by it, in two transactions."""
        begun = len(self.rows)
        fields: list[dict[str, Any]] = []
        for number in range(begun, begun + count):
            mixed = number * step
            fields.append(
                {
                    "event_type": TYPES[2] if mixed % 97 == 0 else TYPES[mixed % 2],
                    "channels": ("c",) if mixed % 5 == 0 else (),
                    "tags": ("t", "u") if mixed % 53 == 0 else (),
                }
            )
        codes = [CODES[(number * step) % len(CODES)] for number in range(begun, begun + count)]
        published = await publish_all(self.scene, self.application, fields, self.endpoint)
        claims = [one.claims[0] for one in published]
        await record_all(self.scene, claims, codes)
        part = await self.scene.store.attempts(
            self.application.id, AttemptFilter(endpoint_id=self.endpoint.id), Page(limit=count)
        )
        attempts = [row.attempt.public_id for row in part.data][::-1]
        for one, code, message, attempt in zip(fields, codes, published, attempts, strict=True):
            self.rows.append((one, code, message.message.public_id, attempt))

    def expected(self, kind: Kind, *, attempts: bool) -> list[str]:
        """What belongs to a search, newest first."""
        return [
            attempt if attempts else message
            for fields, code, message, attempt in self.rows[::-1]
            if kind.passes(fields, code)
        ]


def message_filters() -> st.SearchStrategy[MessageFilter]:
    return st.builds(
        MessageFilter,
        event_types=st.sampled_from((None, frozenset("ab"), frozenset({"rare", "b"}))),
        channel=st.sampled_from((None, None, None, "c")),
        tag=st.sampled_from((None, None, None, "t")),
        with_content=st.just(False),
    )


def passes(which: MessageFilter | AttemptFilter, fields: dict[str, Any]) -> bool:
    return (
        (which.event_types is None or fields["event_type"] in which.event_types)
        and (which.channel is None or which.channel in fields["channels"])
        and (which.tag is None or which.tag in fields["tags"])
    )


def kinds(
    growing: Growing, which: MessageFilter, *, succeeded: bool | None, code_class: int | None
) -> Sequence[tuple[Kind, bool]]:
    """All searches under these filters, with whether their pages name attempts."""
    store, application, endpoint = growing.scene.store, growing.application, growing.endpoint
    of_attempts = AttemptFilter(
        event_types=which.event_types,
        channel=which.channel,
        tag=which.tag,
        succeeded=succeeded,
        status_code_class=code_class,
        with_content=False,
    )
    states = None
    if succeeded is not None:
        states = frozenset({DeliveryState.DELIVERED if succeeded else DeliveryState.FAILED})

    def ended(fields: dict[str, Any], code: int) -> bool:
        return passes(which, fields) and (succeeded is None or succeeded == (code < 300))

    def attempted(fields: dict[str, Any], code: int) -> bool:
        return ended(fields, code) and (code_class is None or code // 100 * 100 == code_class)

    def messages(fields: dict[str, Any], _code: int) -> bool:
        return passes(which, fields)

    at_endpoint = msgspec.structs.replace(of_attempts, endpoint_id=endpoint.id)
    organization = application.organization
    return (
        (
            Kind(
                lambda page: store.messages(application.id, which, page),
                lambda message: message.public_id,
                messages,
            ),
            False,
        ),
        (
            Kind(
                lambda page: store.messages_anywhere(organization, which, page),
                lambda one: one.value.public_id,
                messages,
            ),
            False,
        ),
        (
            Kind(
                lambda page: store.deliveries(
                    application.id, endpoint.id, which, page, states=states
                ),
                lambda row: row.message.public_id,
                ended,
            ),
            False,
        ),
        *(
            (Kind(ask, lambda row: row.attempt.public_id, attempted), True)
            for ask in (
                lambda page: store.attempts(application.id, at_endpoint, page),
                lambda page: store.attempts(application.id, of_attempts, page),
            )
        ),
        (
            Kind(
                lambda page: store.attempts_anywhere(organization, of_attempts, page),
                lambda one: one.value.attempt.public_id,
                attempted,
            ),
            True,
        ),
    )


def _pages() -> Iterator[int]:
    """More pages than any walk takes; a list that goes round in a circle is found out."""
    yield from range(_PAGES_MAX)
    raise AssertionError("the list does not end")


async def walk(growing: Growing, kind: Kind, limit: int, step: int, *, attempts: bool) -> None:
    """Down to the oldest and up to the newest again, with messages added after each page."""
    before = growing.expected(kind, attempts=attempts)
    seen: list[str] = []
    page = Page(limit=limit)
    for _ in _pages():
        part = await kind.page(page)
        assert len(part.data) <= limit
        seen += [kind.place(row) for row in part.data]
        if part.done:
            break
        place = seen[-1] if part.stopped is None else part.stopped.place
        page = Page(limit=limit, after=place)
        await growing.add(2, step)
    assert seen == before
    if not seen:
        return
    seen = seen[-1:]
    page = Page(limit=limit, before=seen[0])
    for _ in _pages():
        part = await kind.page(page)
        seen = [kind.place(row) for row in part.data] + seen
        if part.done:
            break
        place = seen[0] if part.stopped is None else part.stopped.place
        page = Page(limit=limit, before=place)
    assert seen == growing.expected(kind, attempts=attempts)


def test_no_row_is_seen_twice_and_none_is_missed(grounds: Grounds) -> None:
    @grounds.examples(12)
    @given(
        which=message_filters(),
        succeeded=st.sampled_from((None, True, False)),
        code_class=st.sampled_from((None, None, 200, 400, 500)),
        limit=st.integers(20, 120),
        step=st.sampled_from((1, 3, 7, 11)),
        labelled=st.sampled_from((0, 1, 2, 3)),
        hurried=st.booleans(),
    )
    def holds(
        which: MessageFilter,
        succeeded: bool | None,
        code_class: int | None,
        limit: int,
        step: int,
        labelled: int,
        hurried: bool,
    ) -> None:
        async def story() -> None:
            # With no time at all, a search stops at the first row that tells how far it came.
            search_s = 0.0 if hurried else 60.0
            with grounds.fresh() as ground:
                async with ground.opened(search_s=search_s) as store:
                    scene = Scene(store)
                    application, endpoint = await scene.seller()
                    growing = Growing(scene, application, endpoint)
                    other = await scene.application("org_other")
                    await publish_all(scene, other, [{}] * 300)
                    await growing.add(600, step)
                    for _ in range(labelled):
                        await store.follow_labels(messages_max=300)
                    for kind, attempts in kinds(
                        growing, which, succeeded=succeeded, code_class=code_class
                    ):
                        await walk(growing, kind, limit, step, attempts=attempts)

        asyncio.run(story())

    holds()
