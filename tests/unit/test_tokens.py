"""Tokens: made, verified once, remembered until they expire."""

from __future__ import annotations

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marketbell import ids
from marketbell.control.tokens import Principal, TokenVerifier, create_token
from marketbell.errors import AuthenticationError, InvalidError
from marketbell.testing import FakeClock

SECRET = b"a secret of the tests, of 32 bytes or more"
HOUR = 3_600_000
APPLICATION = ids.new_id(ids.APPLICATION, 1_800_000_000_000)


def bearer(token: str) -> bytes:
    return b"Bearer " + token.encode()


def test_a_token_tells_its_organization_and_application() -> None:
    clock = FakeClock(still=True)
    verifier = TokenVerifier(SECRET, clock)
    organization = create_token(SECRET, "org_a", clock.now(), HOUR)
    application = create_token(SECRET, "org_a", clock.now(), HOUR, APPLICATION)
    assert verifier.principal(bearer(organization)) == Principal("org_a")
    assert verifier.principal(bearer(application)) == Principal("org_a", APPLICATION)
    assert verifier.principal(b"bearer " + organization.encode()) == Principal("org_a")


def test_a_token_is_good_until_its_last_millisecond_remembered_or_not() -> None:
    clock = FakeClock(still=True)
    verifier = TokenVerifier(SECRET, clock)
    token = bearer(create_token(SECRET, "org_a", clock.now(), HOUR))
    verifier.principal(token)
    clock.advance(HOUR - 1)
    verifier.principal(token)
    TokenVerifier(SECRET, clock).principal(token)
    clock.advance(1)
    for one in (verifier, verifier, TokenVerifier(SECRET, clock)):
        with pytest.raises(AuthenticationError, match="expired"):
            one.principal(token)


def test_a_clock_that_runs_fast_does_not_wear_tokens_out() -> None:
    clock = FakeClock(still=True)
    clock.speed = 1000.0
    verifier = TokenVerifier(SECRET, clock)
    token = bearer(create_token(SECRET, "org_a", clock.now(), HOUR))
    clock.jump(24 * HOUR)
    assert verifier.principal(token) == Principal("org_a")
    clock.advance(HOUR)
    with pytest.raises(AuthenticationError, match="expired"):
        verifier.principal(token)


def test_what_is_remembered_is_bounded_and_still_verified() -> None:
    clock = FakeClock(still=True)
    verifier = TokenVerifier(SECRET, clock, remembered=3)
    tokens = [bearer(create_token(SECRET, f"org_{n}", clock.now(), HOUR)) for n in range(10)]
    for _ in range(2):
        for number, token in enumerate(tokens):
            assert verifier.principal(token) == Principal(f"org_{number}")
    assert len(verifier._verified) == 3


@given(st.binary(max_size=200))
def test_whatever_the_header_the_one_error_is_ours(header: bytes) -> None:
    verifier = TokenVerifier(SECRET, FakeClock(still=True))
    with pytest.raises(AuthenticationError):
        verifier.principal(header)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=1))
def test_a_token_that_was_changed_is_refused_or_still_says_the_same(
    place: int, byte: bytes
) -> None:
    clock = FakeClock(still=True)
    token = bearer(create_token(SECRET, "org_a", clock.now(), HOUR))
    place %= len(token)
    changed = token[:place] + byte + token[place + 1 :]
    try:
        assert TokenVerifier(SECRET, clock).principal(changed) == Principal("org_a")
    except AuthenticationError:
        assert changed != token


@pytest.mark.parametrize("organization", ["", "org_", "app_x", "org_a b", "org_" + "x" * 65])
def test_an_organization_that_is_none_gets_no_token(organization: str) -> None:
    with pytest.raises(InvalidError):
        create_token(SECRET, organization, 0, HOUR)


def test_an_applications_token_names_it_by_id() -> None:
    with pytest.raises(InvalidError):
        create_token(SECRET, "org_a", 0, HOUR, "seller-1")


def test_claims_that_others_make_are_read() -> None:
    clock = FakeClock(still=True)
    seconds = clock.now() // 1000
    claims = {"sub": "org_23rb8YdGqMT0qIzpgGwdXfHirMu", "exp": seconds + 10.5, "iss": "svix-server"}
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    assert TokenVerifier(SECRET, clock).principal(bearer(token)).organization == claims["sub"]
