"""Who is let in: judged once, remembered, refused as soon as a token ends, and limited."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from marketbell import ids
from marketbell.control import api_keys
from marketbell.control.api_keys import KeyRequest, NewKey
from marketbell.control.gate import CONFIRMED_S, NOTED_MS, Gate, GateLimits
from marketbell.control.tokens import Principal, TokenKey, create_token
from marketbell.errors import (
    AuthenticationError,
    ForbiddenError,
    InvalidError,
    RateLimitedError,
    UnavailableError,
)
from marketbell.store.base import ApiKey, Store
from marketbell.testing import FakeClock
from support.opened import opened

SECRET = b"a secret of the tests, of 32 bytes or more"
HOUR = 3_600_000
HERE = "192.0.2.1"
OPERATOR = Principal("org_a")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(still=True)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with opened(tmp_path / "marketbell.db", clock) as store:
        yield store


def gate_of(store: Store, clock: FakeClock, *, alone: bool = True, **limits: Any) -> Gate:
    return Gate(store, TokenKey("HS256", SECRET), clock, GateLimits(**limits), alone=alone)


def bearer(token: str) -> bytes:
    return b"Bearer " + token.encode()


def token_of(
    clock: FakeClock, organization: str = "org_a", application: str | None = None
) -> bytes:
    return bearer(create_token(SECRET, organization, clock.now(), HOUR, application))


async def key_of(
    store: Store, clock: FakeClock, principal: Principal = OPERATOR, **request: Any
) -> NewKey:
    made = await api_keys.create(
        store, principal, KeyRequest(**{"name": "k", **request}), now=clock.now(), keys_max=99
    )
    assert isinstance(made, NewKey)
    return made


# -- tokens


async def test_a_good_token_is_known_once_it_was_admitted(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock)
    token = token_of(clock)
    assert gate.known(token) is None
    principal = await gate.admit(token, HERE)
    assert principal.organization == "org_a"
    assert gate.known(token) is principal
    odd = b"bearer  " + token[7:]
    assert (await gate.admit(odd, HERE)) == principal


async def test_a_token_is_good_until_its_last_millisecond_remembered_or_not(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock)
    token = token_of(clock)
    await gate.admit(token, HERE)
    clock.advance(HOUR - 1)
    assert gate.known(token) is not None
    clock.advance(1)
    assert gate.known(token) is None
    for one in (gate, gate, gate_of(store, clock)):
        with pytest.raises(AuthenticationError, match="expired"):
            await one.admit(token, HERE)


class AheadClock(FakeClock):
    """A clock that is a day ahead of real time."""

    def real_now(self) -> int:
        return super().now() - 24 * HOUR


async def test_a_clock_that_runs_fast_does_not_wear_tokens_out(store: Store) -> None:
    clock = AheadClock(still=True)
    gate = gate_of(store, clock)
    token = bearer(create_token(SECRET, "org_a", clock.real_now(), HOUR))
    await gate.admit(token, HERE)
    clock.advance(HOUR)
    with pytest.raises(AuthenticationError, match="expired"):
        await gate.admit(token, HERE)


async def test_what_is_remembered_is_bounded_and_still_judged(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock, remembered=3, requests=1_000)
    tokens = [token_of(clock, f"org_{number}") for number in range(10)]
    for _ in range(2):
        for number, token in enumerate(tokens):
            assert (await gate.admit(token, HERE)).organization == f"org_{number}"
    assert len(gate._verdicts) == len(gate._buckets) == 3


@pytest.mark.parametrize("header", [None, b"", b"Bearer", b"Basic x", b"Bearer " + b"x" * 9_000])
async def test_what_is_no_token_is_refused(
    store: Store, clock: FakeClock, header: bytes | None
) -> None:
    gate = gate_of(store, clock)
    assert gate.known(header) is None
    with pytest.raises(AuthenticationError):
        await gate.admit(header, HERE)


# -- ends


async def test_a_token_that_logged_out_is_refused_at_once_however_it_is_spelled(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock)
    token, other = token_of(clock), token_of(clock, "org_b")
    clock.advance(1)
    later = token_of(clock)
    principals = [await gate.admit(one, HERE) for one in (token, later, other)]
    await api_keys.log_out(store, principals[0], now=clock.now())
    spelled = b"Bearer   " + token[7:]
    for one in (token, spelled):
        assert gate.known(one) is None
        with pytest.raises(AuthenticationError, match="revoked"):
            await gate.admit(one, HERE)
    assert gate.known(other) is principals[2]
    assert await gate.admit(later, HERE) == principals[1]


async def test_an_applications_tokens_and_keys_end_together(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock)
    application = ids.new_id(ids.APPLICATION, clock.now())
    token = token_of(clock, application=application)
    key = bearer((await key_of(store, clock, application=application)).token)
    operator = token_of(clock)
    for one in (token, key, operator):
        await gate.admit(one, HERE)
    clock.advance(1)
    await api_keys.expire_all(store, OPERATOR, application, now=clock.now())
    for one in (token, key):
        with pytest.raises(AuthenticationError, match="revoked"):
            await gate.admit(one, HERE)
    await gate.admit(operator, HERE)
    await gate.admit(token_of(clock, application=application), HERE)


async def test_an_end_that_lies_ahead_comes(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock)
    token = token_of(clock)
    clock.advance(1)
    await api_keys.expire_all(store, OPERATOR, None, now=clock.now(), after_s=60)
    await gate.admit(token, HERE)
    clock.advance(59_999)
    assert gate.known(token) is not None
    clock.advance(1)
    assert gate.known(token) is None
    with pytest.raises(AuthenticationError, match="revoked"):
        await gate.admit(token, HERE)


async def test_what_another_node_revoked_is_known_within_five_seconds(
    tmp_path: Path, store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock, alone=False)
    store.access_listeners.clear()  # type: ignore[attr-defined] # as if another node wrote
    token, other = token_of(clock), token_of(clock, "org_b")
    principal = await gate.admit(token, HERE)
    await gate.admit(other, HERE)
    await api_keys.log_out(store, principal, now=clock.now())
    clock.advance(int(CONFIRMED_S * 1000) - 1)
    assert gate.known(token) is principal
    clock.advance(1)
    assert gate.known(token) is gate.known(other) is None
    with pytest.raises(AuthenticationError, match="revoked"):
        await gate.admit(token, HERE)
    assert gate.known(other) is not None  # one question was for all


async def test_what_ends_while_it_is_judged_is_not_remembered(
    store: Store, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = gate_of(store, clock)
    token = token_of(clock)
    asked = store.token_end

    async def slow(*arguments: Any) -> int | None:
        found = await asked(*arguments)
        await store.end_tokens(
            "org_a", None, issued_before=clock.now() + 1, ends_at=clock.now(), now=clock.now()
        )
        return found

    monkeypatch.setattr(store, "token_end", slow)
    await gate.admit(token, HERE)
    assert gate.known(token) is None
    monkeypatch.undo()
    with pytest.raises(AuthenticationError, match="revoked"):
        await gate.admit(token, HERE)


async def test_a_store_that_cannot_say_lets_nobody_new_in(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock)
    known, new = token_of(clock), token_of(clock, "org_b")
    await gate.admit(known, HERE)
    await store.aclose()
    assert gate.known(known) is not None
    with pytest.raises((UnavailableError, RuntimeError)):
        await gate.admit(new, HERE)


# -- keys


async def test_a_key_tells_whose_it_is_and_what_it_may(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock)
    new = await key_of(store, clock, scopes=("message:read", "application:read"))
    principal = await gate.admit(bearer(new.token), HERE)
    assert principal.organization == "org_a"
    assert principal.scopes == frozenset({"message:read", "application:read"})
    assert principal.actor == f"key {new.key.public_id}"
    assert "." not in new.token
    assert new.token.startswith(new.key.public_id + "_")


async def test_a_key_with_a_wrong_secret_or_of_nobody_is_refused(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock)
    token = (await key_of(store, clock)).token
    wrong = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        ids.new_id(ids.API_KEY, clock.now()) + token[31:],
        token[:-1],
        token + "A",
    ]
    for one in wrong:
        with pytest.raises(AuthenticationError):
            await gate.admit(bearer(one), HERE)
    await gate.admit(bearer(token), HERE)


async def test_a_key_ends_when_it_expires_and_when_it_is_revoked(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock)
    short = bearer((await key_of(store, clock, expires_in_s=1)).token)
    revoked = await key_of(store, clock)
    await gate.admit(short, HERE)
    await gate.admit(bearer(revoked.token), HERE)
    await api_keys.revoke(store, OPERATOR, revoked.key.public_id, now=clock.now())
    with pytest.raises(AuthenticationError, match="revoked"):
        await gate.admit(bearer(revoked.token), HERE)
    clock.advance(1_000)
    with pytest.raises(AuthenticationError, match="expired"):
        await gate.admit(short, HERE)


async def test_the_use_of_a_key_is_noted_about_once_a_minute(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock)
    new = await key_of(store, clock)
    token = bearer(new.token)

    async def used() -> int | None:
        await gate.admit(token, HERE)
        while gate._noting is not None:
            await gate._noting
        return (await store.api_key("org_a", new.key.public_id)).last_used_at

    first = clock.now()
    assert await used() == first
    clock.advance(NOTED_MS - 1)
    assert await used() == first
    clock.advance(1)
    assert await used() == clock.now()


async def test_a_key_gives_no_more_than_it_has(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock)
    scopes = ("access:write", "message:read")
    maker = await gate.admit(
        bearer((await key_of(store, clock, scopes=scopes, expires_in_s=60)).token), HERE
    )
    for beyond in (("message:write",), ("message:read", "endpoint:secret")):
        with pytest.raises(ForbiddenError, match="does not have"):
            await key_of(store, clock, maker, scopes=beyond)
    with pytest.raises(ForbiddenError, match="outlives"):
        await key_of(store, clock, maker, expires_in_s=61)
    made = (await key_of(store, clock, maker)).key
    assert set(made.scopes or ()) == set(scopes)
    assert made.expires_at == clock.now() + 60_000
    assert (await key_of(store, clock, maker, scopes=("message:read",))).key.scopes is not None


@pytest.mark.parametrize(
    "request_of",
    [
        {"name": ""},
        {"name": "x" * 257},
        {"scopes": ()},
        {"scopes": ("everything",)},
        {"expires_in_s": 0},
        {"expires_in_s": 1 << 60},
    ],
)
async def test_a_key_that_cannot_be_is_refused(
    store: Store, clock: FakeClock, request_of: dict[str, Any]
) -> None:
    with pytest.raises(InvalidError):
        await key_of(store, clock, **request_of)


async def test_a_secret_is_never_in_what_is_kept_or_shown(store: Store, clock: FakeClock) -> None:
    new = await key_of(store, clock)
    secret = new.token[len(new.key.public_id) + 1 :]
    assert isinstance(new.key, ApiKey)
    assert secret not in repr(new.key)
    login = await store.key_login(new.key.public_id)
    assert login is not None
    assert secret.encode() not in login.digest


# -- limits


async def test_failed_logins_of_one_address_are_limited_and_known_tokens_are_not(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock, failed_logins=3)
    good, unknown = token_of(clock), token_of(clock, "org_b")
    await gate.admit(good, HERE)
    for number in range(3):
        with pytest.raises(AuthenticationError):
            await gate.admit(bearer(f"bad{number}"), HERE)
    for token in (b"Bearer bad", unknown):
        with pytest.raises(RateLimitedError) as refused:
            await gate.admit(token, HERE)
        assert 0 < refused.value.retry_after_s <= 20
    assert gate.known(good) is not None
    await store.end_token("org_a", b"another", expires_at=clock.now() + 9, now=clock.now())
    await gate.admit(good, HERE)  # looked at again, and still not limited
    await gate.admit(unknown, "192.0.2.2")
    clock.advance(20_000)
    await gate.admit(unknown, HERE)


async def test_no_token_at_all_is_no_failed_login(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock, failed_logins=1)
    for header in (None, b"Basic x"):
        for _ in range(5):
            with pytest.raises(AuthenticationError):
                await gate.admit(header, HERE)


async def test_addresses_of_one_ipv6_network_count_as_one(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock, failed_logins=1)
    with pytest.raises(AuthenticationError):
        await gate.admit(b"Bearer bad", "2001:db8::1")
    with pytest.raises(RateLimitedError):
        await gate.admit(b"Bearer bad", "2001:db8::ffff:2")
    for elsewhere in ("2001:db8:0:1::1", "::ffff:192.0.2.1", "", "a%b:c"):
        with pytest.raises(AuthenticationError):
            await gate.admit(b"Bearer bad", elsewhere)
    with pytest.raises(RateLimitedError):
        await gate.admit(b"Bearer bad", HERE)


async def test_addresses_that_are_remembered_are_bounded(store: Store, clock: FakeClock) -> None:
    gate = gate_of(store, clock, remembered=5)
    for number in range(50):
        with pytest.raises(AuthenticationError):
            await gate.admit(b"Bearer bad", f"192.0.2.{number}")
    assert len(gate._failures) == 5


async def test_requests_of_one_token_are_limited_however_it_is_spelled(
    store: Store, clock: FakeClock
) -> None:
    gate = gate_of(store, clock, requests=2)
    token, other = token_of(clock), token_of(clock, "org_b")
    await gate.admit(token, HERE)
    assert gate.known(token) is not None
    with pytest.raises(RateLimitedError) as refused:
        gate.known(token)
    assert refused.value.retry_after_s == pytest.approx(0.5)
    with pytest.raises(RateLimitedError):
        await gate.admit(b"BEARER " + token[7:], HERE)
    await gate.admit(other, HERE)
    clock.advance(501)
    assert gate.known(token) is not None
