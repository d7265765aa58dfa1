"""API keys and ended tokens, as a store keeps them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marketbell import ids
from marketbell.errors import LimitReachedError, NotFoundError
from marketbell.store.base import (
    AccessChange,
    ApiKey,
    ApiKeyDraft,
    Idempotency,
    Once,
    Page,
    Repeated,
    Store,
)
from marketbell.testing.clock import START
from marketbell.testing.stores import ORGANIZATION

DAY = 86_400_000
APPLICATION = ids.new_id(ids.APPLICATION, START)
OTHER = ids.new_id(ids.APPLICATION, START)
DIGEST = bytes(range(32))


async def key(store: Store, *, now: int = START, keys_max: int = 100, **fields: Any) -> ApiKey:
    made = await store.create_api_key(draft(now=now, **fields), now=now, keys_max=keys_max)
    assert isinstance(made, ApiKey)
    return made


def draft(*, now: int = START, **fields: Any) -> ApiKeyDraft:
    return ApiKeyDraft(
        **{
            "public_id": ids.new_id(ids.API_KEY, now),
            "organization": ORGANIZATION,
            "application": None,
            "name": "a key",
            "scopes": None,
            "expires_at": None,
            "digest": DIGEST,
            **fields,
        }
    )


async def test_a_key_is_read_back_as_it_was_made(store: Store) -> None:
    made = await key(
        store, application=APPLICATION, scopes=("message:read",), expires_at=START + DAY
    )
    assert made.scopes == ("message:read",)
    assert (made.application, made.expires_at, made.created_at) == (
        APPLICATION, START + DAY, START,
    )  # fmt: skip
    assert (made.last_used_at, made.ends_at) == (None, None)
    assert await store.api_key(ORGANIZATION, made.public_id) == made
    login = await store.key_login(made.public_id)
    assert login is not None
    assert (login.key, login.digest, login.ends_at) == (made, DIGEST, None)
    assert (await key(store)).scopes is None


async def test_another_organization_sees_nothing(store: Store) -> None:
    made = await key(store)
    with pytest.raises(NotFoundError):
        await store.api_key("org_other", made.public_id)
    with pytest.raises(NotFoundError):
        await store.end_api_key("org_other", made.public_id, ends_at=START)
    assert (await store.api_keys("org_other", Page())).data == ()
    login = await store.key_login(made.public_id)
    assert login is not None
    assert login.ends_at is None
    assert await store.key_login(ids.new_id(ids.API_KEY, START)) is None


async def test_slices_come_in_order_of_creation(store: Store) -> None:
    made = [await key(store, now=START + at) for at in range(5)]

    async def listed(**page: Any) -> list[ApiKey]:
        return list((await store.api_keys(ORGANIZATION, Page(**page))).data)

    assert await listed() == made
    assert await listed(limit=2, after=made[1].public_id) == made[2:4]
    assert await listed(limit=2, before=made[3].public_id) == made[1:3]
    assert await listed(descending=True) == made[::-1]


async def test_a_key_ends_at_the_earliest_instant_that_was_said(store: Store) -> None:
    made = await key(store)
    assert (await end_of_key(store, made, START + 9)) == START + 9
    assert (await end_of_key(store, made, START + 5)) == START + 5
    assert (await end_of_key(store, made, START + 7)) == START + 5


async def end_of_key(store: Store, made: ApiKey, ends_at: int) -> int | None:
    await store.end_api_key(ORGANIZATION, made.public_id, ends_at=ends_at)
    login = await store.key_login(made.public_id)
    assert login is not None
    return login.ends_at


async def test_live_keys_are_bounded_and_ended_ones_make_room(store: Store) -> None:
    first = await key(store, keys_max=2)
    await key(store, keys_max=2, expires_at=START + DAY)
    with pytest.raises(LimitReachedError, match="2 API keys"):
        await key(store, keys_max=2)
    await key(store, keys_max=2, organization="org_other")
    await key(store, keys_max=2, now=START + DAY)
    await store.end_api_key(ORGANIZATION, first.public_id, ends_at=START + DAY)
    await key(store, keys_max=2, now=START + DAY)
    assert len((await store.api_keys(ORGANIZATION, Page())).data) == 4


async def test_keys_that_ended_long_ago_are_removed(store: Store) -> None:
    ended, expired, live = await key(store), await key(store, expires_at=START), await key(store)
    await store.end_api_key(ORGANIZATION, ended.public_id, ends_at=START)
    early = await key(store, now=START + 90 * DAY)
    assert len((await store.api_keys(ORGANIZATION, Page())).data) == 4
    late = await key(store, now=START + 91 * DAY)
    left = (await store.api_keys(ORGANIZATION, Page())).data
    assert {one.public_id for one in left} == {live.public_id, early.public_id, late.public_id}
    assert await store.key_login(expired.public_id) is None


async def test_a_use_is_noted_once_a_minute(store: Store) -> None:
    made = await key(store)

    async def used(at: int) -> int | None:
        await store.note_keys_used({made.public_id: at, "mbk_unknown": at})
        return (await store.api_key(ORGANIZATION, made.public_id)).last_used_at

    assert await used(START + 1) == START + 1
    assert await used(START + 60_000) == START + 1
    assert await used(START + 60_001) == START + 60_001


async def test_a_repeated_creation_is_answered_alike_and_its_answer_kept_sealed(
    store: Store, database_file: Path
) -> None:
    answer = b'{"token":"mbk_this-must-not-be-on-disk"}'
    mark = Once(Idempotency(key=b"k" * 16, body=b"b" * 16, auto=True), lambda _made: answer)
    made = await store.create_api_key(draft(), now=START, keys_max=9, once=mark)
    assert isinstance(made, ApiKey)
    again = await store.create_api_key(draft(), now=START, keys_max=9, once=mark)
    assert again == Repeated(answer)
    assert len((await store.api_keys(ORGANIZATION, Page())).data) == 1
    for file in database_file.parent.iterdir():
        assert b"must-not-be-on-disk" not in file.read_bytes()


# -- tokens


async def end(
    store: Store, issued_at: int, application: str | None = None, digest: bytes = b"d" * 16
) -> int | None:
    return await store.token_end(ORGANIZATION, application, digest, issued_at)


async def end_all(
    store: Store, application: str | None, *, at: int, ends_at: int | None = None
) -> None:
    ends_at = at if ends_at is None else ends_at
    await store.end_tokens(ORGANIZATION, application, issued_before=at, ends_at=ends_at, now=at)


async def test_an_applications_tokens_end_and_nobody_elses(store: Store) -> None:
    await end_all(store, APPLICATION, at=START)
    assert await end(store, START - 1, APPLICATION) == START
    assert await end(store, START, APPLICATION) is None
    assert await end(store, START - 1, OTHER) is None
    assert await end(store, START - 1) is None
    assert await store.token_end("org_other", APPLICATION, b"d", START - 1) is None


async def test_an_organizations_tokens_end_with_those_of_its_applications_and_its_keys(
    store: Store,
) -> None:
    before, after = await key(store, now=START - 1), await key(store, now=START)
    await end_all(store, None, at=START)
    for application in (None, APPLICATION, OTHER):
        assert await end(store, START - 1, application) == START
        assert await end(store, START, application) is None
    logins = [await store.key_login(one.public_id) for one in (before, after)]
    assert [login and login.ends_at for login in logins] == [START, None]


async def test_a_later_end_does_not_let_go_of_an_earlier_one(store: Store) -> None:
    await end_all(store, APPLICATION, at=START)
    await end_all(store, APPLICATION, at=START + 10, ends_at=START + 1_000)
    assert await end(store, START - 1, APPLICATION) == START
    assert await end(store, START + 5, APPLICATION) == START + 1_000
    await end_all(store, APPLICATION, at=START + 20, ends_at=START + 500)
    assert await end(store, START + 5, APPLICATION) == START + 500
    assert await end(store, START + 15, APPLICATION) == START + 500
    await end_all(store, None, at=START + 30)
    assert await end(store, START + 15, APPLICATION) == START + 30


async def test_ends_that_lie_ahead_are_bounded_and_past_ones_are_one(store: Store) -> None:
    for number in range(100):
        at = START + number
        await end_all(store, APPLICATION, at=at, ends_at=START + DAY + number)
    with pytest.raises(LimitReachedError):
        await end_all(store, APPLICATION, at=START + 100, ends_at=START + 2 * DAY)
    assert await end(store, START - 1, APPLICATION) == START + DAY
    await end_all(store, APPLICATION, at=START + 101)
    for number in range(300):
        await end_all(store, APPLICATION, at=START + 200 + number)
    for issued_at in (START - 1, START + 400):
        ends_at = await end(store, issued_at, APPLICATION)
        assert ends_at is not None
        assert ends_at <= START + 499
    assert await end(store, START + 499, APPLICATION) is None


async def test_one_token_is_ended_and_no_other(store: Store) -> None:
    await store.end_token(ORGANIZATION, b"a" * 16, expires_at=START + DAY, now=START)
    await store.end_token(ORGANIZATION, b"a" * 16, expires_at=START + DAY, now=START)
    assert await end(store, START, digest=b"a" * 16) == 0
    assert await end(store, START, digest=b"b" * 16) is None
    assert await store.token_end("org_other", None, b"a" * 16, START) is None
    await store.end_token(ORGANIZATION, b"c" * 16, expires_at=START + DAY, now=START + DAY + 1)
    assert await end(store, START, digest=b"a" * 16) is None  # it has expired by itself


async def test_what_takes_access_away_is_told_and_has_a_rising_revision(store: Store) -> None:
    heard: list[AccessChange] = []
    store.on_access_change(heard.append)
    made = await key(store)
    assert await store.access_changes(0) == (0, ())
    steps: list[Callable[[], Any]] = [
        lambda: store.end_api_key(ORGANIZATION, made.public_id, ends_at=START),
        lambda: end_all(store, APPLICATION, at=START),
        lambda: store.end_token(ORGANIZATION, b"a", expires_at=START + 9, now=START),
    ]
    seen = 0
    for count, step in enumerate(steps, start=1):
        await step()
        assert heard == [AccessChange(ORGANIZATION)] * count
        revision, changed = await store.access_changes(seen)
        assert revision > seen
        assert changed == (ORGANIZATION,)
        seen = revision
    await store.end_token("org_other", b"a", expires_at=START + 9, now=START)
    assert (await store.access_changes(seen))[1] == ("org_other",)
    assert (await store.access_changes(0))[1] == (ORGANIZATION, "org_other")
