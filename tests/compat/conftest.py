"""The official clients, each a program of its own, and a real node that they drive."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from e2e.conftest import LiveNode, live_node
from marketbell.testing import Answer, Received, TestReceiver
from support.sdk_client import Program, Sdk

HERE = Path(__file__).parent
OLDER = str(Path(sys.prefix) / "svix-1")
NODE_MODULES = HERE / "node" / "node_modules"
PYTHON = [sys.executable, str(HERE / "drive_svix.py")]
NODE = ["node", str(HERE / "node" / "drive_svix.mjs")]


class Kind(NamedTuple):
    """One official client: how its driver is started and which version it must be."""

    command: list[str]
    version: str


KINDS = {
    "python-1": Kind([*PYTHON, "sync", OLDER], "1.99.1"),
    "python-1-async": Kind([*PYTHON, "async", OLDER], "1.99.1"),
    "python-2": Kind([*PYTHON, "sync"], "2.9.1"),
    "python-2-async": Kind([*PYTHON, "async"], "2.9.1"),
    "node-1": Kind([*NODE, "svix-1"], "1.99.1"),
    "node-2": Kind([*NODE, "svix"], "2.5.0"),
}
BLOCKING = [kind for kind in KINDS if not kind.endswith("async")]
"""One of each package: what is sent and verified does not differ with asyncio."""


def without_node() -> str | None:
    """Why the packages of npm cannot be driven, None if they can."""
    if shutil.which("node") is None:
        return "node is not installed: the packages of npm are not driven"
    if not (NODE_MODULES / "svix").is_dir():
        return "the packages of npm are not installed (make test does it, where npm is)"
    return None


@pytest.fixture(scope="session")
def program_of() -> Iterator[Callable[[str], Program]]:
    """Starts the driver of a kind, once."""
    started: dict[str, Program] = {}

    def start(kind: str) -> Program:
        if kind.startswith("node") and (reason := without_node()) is not None:
            if os.environ.get("NODE_NEEDED"):
                pytest.fail(reason)
            pytest.skip(reason)
        if kind not in started:
            command, version = KINDS[kind]
            started[kind] = Program(kind, command, old=version.startswith("1."))
            assert started[kind].version == version
        return started[kind]

    yield start
    for program in started.values():
        program.end()


@pytest.fixture(params=KINDS)
def program(request: pytest.FixtureRequest, program_of: Callable[[str], Program]) -> Program:
    """The driver of each client."""
    return program_of(request.param)


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveNode]:
    """One node for all tests here; they keep apart by their organizations."""
    secret = b"a secret of the tests, of 32 bytes or more"
    with live_node(tmp_path_factory.mktemp("node"), jwt_secret=secret) as node:
        yield node


@pytest.fixture
def organization(request: pytest.FixtureRequest) -> str:
    """An organization of the test's own."""
    return f"org_{hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:24]}"


@pytest.fixture
def sdk(program: Program, live: LiveNode, organization: str) -> Sdk:
    """Each client with an operator's token of that organization."""
    return Sdk(program, live.url, live.token(organization))


Receiver = Callable[..., TestReceiver]


@pytest.fixture
def receiver_of(live: LiveNode) -> Iterator[Receiver]:
    """A receiver that gives these answers; it refuses connections when the test is over."""
    with contextlib.ExitStack() as opened:

        def make(*answers: Answer) -> TestReceiver:
            receiver = live.receiver(*answers)
            opened.callback(lambda: live.run(receiver.refuse()))
            return receiver

        yield make


@pytest.fixture
def received(live: LiveNode) -> Callable[[TestReceiver, int], list[Received]]:
    """Waits for the first so many requests at a receiver."""
    return lambda receiver, count: live.run(receiver.wait_for(count))
