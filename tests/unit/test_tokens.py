"""Tokens: made, read, and of one algorithm alone."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given
from hypothesis import strategies as st

from marketbell import ids
from marketbell.control.tokens import Principal, TokenKey, create_token, read_token
from marketbell.errors import AuthenticationError, InvalidError
from marketbell.settings import Settings
from marketbell.testing.clock import START

SECRET = b"a secret of the tests, of 64 bytes or more, so that every HS will do"
HOUR = 3_600_000
APPLICATION = ids.new_id(ids.APPLICATION, 1_800_000_000_000)
HS256 = TokenKey("HS256", SECRET)
ALGORITHMS = ["HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "EdDSA"]

RSA = rsa.generate_private_key(65_537, 2_048)
ED25519 = ed25519.Ed25519PrivateKey.generate()


def private_pem(algorithm: str) -> bytes:
    if algorithm.startswith("HS"):
        return SECRET
    key: Any = ED25519 if algorithm == "EdDSA" else RSA
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def public_pem(algorithm: str) -> bytes:
    key: Any = ED25519 if algorithm == "EdDSA" else RSA
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def key_of(algorithm: str) -> TokenKey:
    return TokenKey.of(
        Settings(jwt_algorithm=algorithm, jwt_secret=SECRET, jwt_public_key=public_pem(algorithm))
    )


def read(token: str | bytes, key: TokenKey = HS256, now: int = START) -> Principal:
    return read_token(token.encode() if isinstance(token, str) else token, key, now)


def whose(principal: Principal) -> tuple[str, str | None]:
    return principal.organization, principal.application


def test_a_token_tells_its_organization_and_application() -> None:
    assert whose(read(create_token(SECRET, "org_a", START, HOUR))) == ("org_a", None)
    token = create_token(SECRET, "org_a", START, HOUR, APPLICATION)
    assert whose(read(token)) == ("org_a", APPLICATION)


def test_an_actor_is_named_for_the_audit_log() -> None:
    assert Principal("org_a").actor == "token org_a"
    assert Principal("org_a", APPLICATION).actor == f"app {APPLICATION}"
    assert Principal("org_a", actor="key mbk_1").actor == "key mbk_1"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_of_each_algorithm_is_read_back(algorithm: str) -> None:
    token = create_token(private_pem(algorithm), "org_a", START, HOUR, algorithm=algorithm)
    assert whose(read(token, key_of(algorithm))) == ("org_a", None)


@pytest.mark.parametrize("taken", ALGORITHMS)
@pytest.mark.parametrize("sent", ALGORITHMS)
def test_no_algorithm_but_the_one_that_is_set_is_taken(sent: str, taken: str) -> None:
    token = create_token(private_pem(sent), "org_a", START, HOUR, algorithm=sent)
    if sent == taken:
        assert whose(read(token, key_of(taken))) == ("org_a", None)
        return
    with pytest.raises(AuthenticationError):
        read(token, key_of(taken))


@pytest.mark.parametrize("algorithm", ["RS256", "EdDSA"])
def test_the_public_key_is_no_secret_to_sign_with(algorithm: str) -> None:
    """The classic confusion: what everybody may know taken for the secret of HS256."""
    claims = {"sub": "org_a", "exp": START // 1000 + 100}
    for secret in (public_pem(algorithm), public_pem(algorithm).strip(), SECRET):
        head, body = (
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        )
        import hmac

        mac = hmac.new(secret, head + b"." + body, "sha256").digest()
        forged = b".".join((head, body, base64.urlsafe_b64encode(mac).rstrip(b"=")))
        with pytest.raises(AuthenticationError):
            read(forged, key_of(algorithm))


def test_a_token_is_good_until_its_last_millisecond() -> None:
    token = create_token(SECRET, "org_a", START, HOUR)
    end = (START // 1000) * 1000 + HOUR
    read(token, now=end - 1)
    with pytest.raises(AuthenticationError, match="expired"):
        read(token, now=end)


def test_when_a_token_was_made_is_known_to_the_millisecond() -> None:
    login = read(create_token(SECRET, "org_a", START + 123, HOUR)).login
    assert login is not None
    assert login.issued_at == START + 123
    bare = jwt.encode({"sub": "org_a", "exp": START // 1000 + 9}, SECRET, algorithm="HS256")
    login = read(bare).login
    assert login is not None
    assert login.issued_at == 0


@given(st.binary(max_size=200))
def test_whatever_the_token_the_one_error_is_ours(token: bytes) -> None:
    with pytest.raises(AuthenticationError):
        read(token)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=1))
def test_a_token_that_was_changed_is_refused_or_is_the_same_login(place: int, byte: bytes) -> None:
    token = create_token(SECRET, "org_a", START, HOUR).encode()
    place %= len(token)
    changed = token[:place] + byte + token[place + 1 :]
    try:
        principal = read(changed)
    except AuthenticationError:
        assert changed != token
    else:
        # Else whoever was logged out would come in again with another spelling.
        assert principal == read(token)


@pytest.mark.parametrize("organization", ["", "org_", "app_x", "org_a b", "org_" + "x" * 65])
def test_an_organization_that_is_none_gets_no_token(organization: str) -> None:
    with pytest.raises(InvalidError):
        create_token(SECRET, organization, 0, HOUR)


def test_an_applications_token_names_it_by_id() -> None:
    with pytest.raises(InvalidError):
        create_token(SECRET, "org_a", 0, HOUR, "seller-1")


def test_claims_that_others_make_are_read() -> None:
    claims = {
        "sub": "org_23rb8YdGqMT0qIzpgGwdXfHirMu",
        "exp": START // 1000 + 10.5,
        "iss": "svix-server",
        "aud": "whoever",
        "jti": 7,
    }
    token = jwt.encode(claims, SECRET, algorithm="HS256")
    assert read(token).organization == claims["sub"]


def test_scopes_and_feature_flags_come_with_the_token() -> None:
    scopes, flags = frozenset({"message:read"}), frozenset({"beta"})
    token = create_token(
        SECRET, "org_a", START, HOUR, APPLICATION, scopes=scopes, feature_flags=flags
    )
    assert (read(token).scopes, read(token).feature_flags) == (scopes, flags)
    assert read(create_token(SECRET, "org_a", START, HOUR)).scopes is None
    for wrong in ("message:read", 7, ["x"] * 100):
        claims = {"sub": "org_a", "exp": START // 1000 + 9, "scopes": wrong}
        with pytest.raises(AuthenticationError):
            read(jwt.encode(claims, SECRET, algorithm="HS256"))


@pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
@pytest.mark.parametrize("value", [True, "1", 1e13, float("nan"), float("inf"), [1]])
def test_times_that_are_none_are_refused(name: str, value: object) -> None:
    claims = {"sub": "org_a", "exp": START // 1000 + 9, name: value}
    with pytest.raises(AuthenticationError):
        read(jwt.encode(claims, SECRET, algorithm="HS256"))
