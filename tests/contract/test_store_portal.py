"""Codes of the portal: good once and for a time, whoever comes at the same moment; and sessions."""

from __future__ import annotations

import asyncio
import os

import pytest

from marketbell.errors import ConflictError, LimitReachedError, NotFoundError
from marketbell.store.base import Ages, Idempotency, Once, PortalGrant, Repeated, Store
from marketbell.testing.clock import START

MINUTE = 60_000
AGES = Ages(payloads=MINUTE, attempts=MINUTE, messages=MINUTE)

GRANT = PortalGrant(
    organization="org_a",
    application="app_a",
    scopes=frozenset({"endpoint:read", "message:read"}),
    rotates=False,
    feature_flags=frozenset({"beta"}),
    session_id="s-1",
    session_until=START + 60 * MINUTE,
)


async def keep(store: Store, code: bytes, grant: PortalGrant = GRANT, **more: object) -> object:
    return await store.keep_portal_code(
        code,
        grant,
        now=START,
        expires_at=START + 10 * MINUTE,
        codes_max=3,
        **more,  # type: ignore[arg-type]
    )


async def test_a_code_becomes_a_session_with_what_it_grants(store: Store) -> None:
    await keep(store, b"code")
    opened = await store.open_portal_session(
        b"code", b"session", now=START + MINUTE, sessions_max=5
    )
    found = await store.portal_session(b"session", now=START + 2 * MINUTE)
    assert opened == found
    assert found.grant == GRANT
    assert found.granted_at == START


async def test_a_code_is_good_once_even_in_a_race(store: Store) -> None:
    await keep(store, b"code")
    ended = await asyncio.gather(
        *(
            store.open_portal_session(
                b"code", b"session %d" % count, now=START + 1, sessions_max=50
            )
            for count in range(20)
        ),
        return_exceptions=True,
    )
    assert sum(not isinstance(one, BaseException) for one in ended) == 1
    assert sum(isinstance(one, NotFoundError) for one in ended) == 19


async def test_a_code_expires_and_is_gone_once_it_was_tried(store: Store) -> None:
    await keep(store, b"code")
    for now in (START + 10 * MINUTE, START + 1):
        with pytest.raises(NotFoundError):
            await store.open_portal_session(b"code", b"session", now=now, sessions_max=5)


async def test_unused_codes_are_bounded(store: Store) -> None:
    for code in (b"1", b"2", b"3"):
        await keep(store, code)
    with pytest.raises(LimitReachedError):
        await keep(store, b"4")
    await store.open_portal_session(b"1", b"session", now=START, sessions_max=5)
    await keep(store, b"4")


async def test_of_too_many_sessions_the_oldest_end(store: Store) -> None:
    for count in range(4):
        await keep(store, b"code")
        await store.open_portal_session(
            b"code", b"session %d" % count, now=START + count, sessions_max=2
        )
    alive = []
    for count in range(4):
        try:
            await store.portal_session(b"session %d" % count, now=START + 5)
        except NotFoundError:
            continue
        alive.append(count)
    assert alive == [2, 3]


async def test_a_session_ends_in_time_or_at_once(store: Store) -> None:
    for name in (b"1", b"2"):
        await keep(store, name)
        await store.open_portal_session(name, b"session " + name, now=START, sessions_max=5)
    with pytest.raises(NotFoundError):
        await store.portal_session(b"session 1", now=GRANT.session_until)
    await store.end_portal_session(b"session 2")
    await store.end_portal_session(b"session 2")
    with pytest.raises(NotFoundError):
        await store.portal_session(b"session 2", now=START + 1)
    await store.portal_session(b"session 1", now=START + 1)


async def test_a_repeated_request_is_told(store: Store) -> None:
    def once(body: bytes) -> Once:
        return Once(Idempotency(key=b"k" * 16, body=body, auto=False), lambda _made: b"{}")

    assert await keep(store, b"1", once=once(b"b" * 16)) is None
    assert isinstance(await keep(store, b"2", once=once(b"b" * 16)), Repeated)
    with pytest.raises(ConflictError):
        await keep(store, b"3", once=once(b"c" * 16))
    with pytest.raises(NotFoundError):
        await store.open_portal_session(b"2", b"session", now=START, sessions_max=5)


async def test_what_is_over_is_removed(store: Store) -> None:
    marks = [os.urandom(32) for _ in range(2)]
    await keep(store, marks[0])
    await keep(store, b"other")
    await store.open_portal_session(b"other", marks[1], now=START, sessions_max=5)
    late = GRANT.session_until + 1
    while (await store.prune(AGES, now=late, limit=1)).more:
        pass
    with pytest.raises(NotFoundError):
        await store.portal_session(marks[1], now=START)
    with pytest.raises(NotFoundError):
        await store.open_portal_session(marks[0], b"new", now=START, sessions_max=5)


async def test_what_is_over_is_judged_by_real_time(store: Store) -> None:
    await keep(store, b"code")
    ahead = GRANT.session_until + 1
    await store.prune(AGES, now=ahead, real_now=START, limit=100)
    await store.open_portal_session(b"code", b"session", now=START, sessions_max=5)
    await store.prune(AGES, now=ahead, real_now=START, limit=100)
    await store.portal_session(b"session", now=START)
