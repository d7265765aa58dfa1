"""What is published through each official client arrives, and each verifying library takes it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import NamedTuple

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

from compat.conftest import BLOCKING, without_node
from marketbell.testing import Received, TestReceiver
from support.sdk_client import Program, Sdk

Receiver = Callable[..., TestReceiver]
Wait = Callable[[TestReceiver, int], list[Received]]

PAYLOAD = {"id": "ė", "price": 12.5, "lines": [1, None, {"deep": True}]}


class Verifier(NamedTuple):
    """A library of one package's language."""

    program: Program
    library: str

    def takes(self, secret: str, request: Received, **changes: str) -> bool:
        """Whether it takes a request, or one with other headers."""
        return self.program.verified(self.library, secret, request.body, wire(request, **changes))

    def takes_body(self, secret: str, request: Received, body: bytes) -> bool:
        """Whether it takes the request with another body."""
        return self.program.verified(self.library, secret, body, wire(request))


def wire(request: Received, **changes: str) -> dict[str, str]:
    """Its headers, some of them changed under both of their names."""
    headers = {name.lower(): value for name, value in request.headers}
    for name, value in changes.items():
        headers[f"svix-{name}"] = headers[f"webhook-{name}"] = value
    return headers


@pytest.fixture(params=BLOCKING)
def program(request: pytest.FixtureRequest, program_of: Callable[[str], Program]) -> Program:
    """The driver of each package."""
    return program_of(request.param)


@pytest.fixture
def verifiers(program_of: Callable[[str], Program]) -> list[Verifier]:
    """Both libraries of each package; without those of npm where there is no npm."""
    missing = "node" if without_node() is not None else "nothing"
    kinds = [kind for kind in BLOCKING if not kind.startswith(missing)]
    return [
        Verifier(program_of(kind), library)
        for kind in kinds
        for library in ("svix", "standardwebhooks")
    ]


@pytest.fixture
def endpoint(sdk: Sdk, receiver_of: Receiver) -> TestReceiver:
    """Where the application `s` has its endpoint `e`."""
    receiver = receiver_of()
    sdk.call("application.create", {"name": "A", "uid": "s"})
    sdk.call("endpoint.create", "s", {"url": receiver.url, "uid": "e"})
    return receiver


def secret_of(sdk: Sdk) -> str:
    key: str = sdk.call("endpoint.get_secret", "s", "e")["key"]
    return key


def publish(sdk: Sdk) -> str:
    made = sdk.call("message.create", "s", {"eventType": "part.sold", "payload": PAYLOAD})
    public_id: str = made["id"]
    return public_id


def test_hmac(sdk: Sdk, endpoint: TestReceiver, received: Wait, verifiers: list[Verifier]) -> None:
    message = publish(sdk)
    (request,) = received(endpoint, 1)
    assert request.header("webhook-id") == request.header("svix-id") == message
    secret = secret_of(sdk)
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    old = str(int(time.time()) - 600)
    for verifier in verifiers:
        assert verifier.takes(secret, request), verifier
        assert not verifier.takes(other, request), verifier
        assert not verifier.takes_body(secret, request, request.body + b" "), verifier
        tampered = request.body.replace(b"12.5", b"1.25")
        assert not verifier.takes_body(secret, request, tampered), verifier
        assert not verifier.takes(secret, request, id="msg_other"), verifier
        assert not verifier.takes(secret, request, timestamp=old), verifier


def test_two_live_secrets_during_a_rotation(
    sdk: Sdk, endpoint: TestReceiver, received: Wait, verifiers: list[Verifier]
) -> None:
    first = secret_of(sdk)
    sdk.call("endpoint.rotate_secret", "s", "e", {"gracePeriodSeconds": 3600})
    second = secret_of(sdk)
    publish(sdk)
    sdk.call("endpoint.rotate_secret", "s", "e", {"gracePeriodSeconds": 0})
    third = secret_of(sdk)
    publish(sdk)
    both, last = received(endpoint, 2)
    assert [one[:3] for one in str(both.header("svix-signature")).split()] == ["v1,", "v1,"]
    for verifier in verifiers:
        assert [verifier.takes(key, both) for key in (first, second, third)] == [True, True, False]
        # The second ended at once; the first lives on for its hour.
        assert [verifier.takes(key, last) for key in (first, second, third)] == [True, False, True]


def test_ed25519(
    sdk: Sdk, receiver_of: Receiver, received: Wait, verifiers: list[Verifier]
) -> None:
    """The libraries know `v1` alone: `v1a` is checked as its specification says."""
    pair = Ed25519PrivateKey.generate()
    public = pair.public_key().public_bytes_raw()
    whole = pair.private_bytes_raw() + public
    receiver = receiver_of()
    sdk.call("application.create", {"name": "A", "uid": "s"})
    secret = "whsk_" + base64.b64encode(whole).decode()
    sdk.call("endpoint.create", "s", {"url": receiver.url, "uid": "e", "secret": secret})
    assert secret_of(sdk) == "whpk_" + base64.b64encode(public).decode()
    publish(sdk)
    # During a change to HMAC, whoever knows only one of the two finds its own.
    hmac = "whsec_" + base64.b64encode(b"h" * 32).decode()
    sdk.call("endpoint.rotate_secret", "s", "e", {"key": hmac, "gracePeriodSeconds": 3600})
    publish(sdk)
    alone, beside = received(receiver, 2)
    for request in (alone, beside):
        assert ed25519_takes(public, request, request.body)
        assert not ed25519_takes(public, request, request.body + b" ")
        if sdk.program.name.startswith("node"):
            key = base64.b64encode(public).decode()
            assert sdk.program.verified("ed25519", key, request.body, wire(request))
            assert not sdk.program.verified("ed25519", key, request.body + b" ", wire(request))
    for verifier in verifiers:
        assert not verifier.takes(hmac, alone), verifier
        assert verifier.takes(hmac, beside), verifier


def ed25519_takes(public: bytes, request: Received, body: bytes) -> bool:
    """Whether a `v1a` signature of the request is of this key."""
    head = f"{request.header('webhook-id')}.{request.header('webhook-timestamp')}."
    given = [one.split(",") for one in str(request.header("webhook-signature")).split()]
    (signature,) = [base64.b64decode(value) for version, value in given if version == "v1a"]
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, head.encode() + body)
    except InvalidSignature:
        return False
    return True
