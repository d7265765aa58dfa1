"""The page of SDKs: its programs run, its versions are those that the tests drive."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from compat.conftest import KINDS
from e2e.conftest import LiveNode
from marketbell.testing import Received, TestReceiver
from support.sdk_client import Program, Sdk
from support.sdk_routes import CLOUD_ONLY, shape

PAGE = (Path(__file__).parents[2] / "docs" / "sdks.md").read_text()
HERE = Path(__file__).parent

Receiver = Callable[..., TestReceiver]
Wait = Callable[[TestReceiver, int], list[Received]]


def programs(language: str) -> tuple[str, str]:
    """How it publishes, and how it verifies."""
    publish, verify = re.findall(
        rf"<!-- run: {language} -->\n```{language}\n(.*?)```", PAGE, re.DOTALL
    )
    return publish, verify


@pytest.fixture
def page_server(
    live: LiveNode, organization: str, receiver_of: Receiver
) -> tuple[Any, TestReceiver]:
    """Runs a program of the page against the node; the application's endpoint is the receiver."""
    receiver = receiver_of()
    api = live.client(organization)
    application = {"name": "Kaunas Car Parts", "uid": "kaunas"}
    assert api.post("/app", json=application).status_code == 201
    endpoint = {"url": receiver.url, "uid": "e"}
    assert api.post("/app/kaunas/endpoint", json=endpoint).status_code == 201
    environment = {"TOKEN": live.token(organization), "NO_PROXY": "*"}

    def run(command: list[str], program: str) -> str:
        written = program.replace("http://127.0.0.1:8080", live.url)
        return subprocess.run(
            command,
            input=written,
            env=environment,
            cwd=HERE / "node",
            text=True,
            capture_output=True,
            check=True,
        ).stdout.strip()

    return run, receiver


def secret_of(live: LiveNode, organization: str) -> str:
    key: str = live.client(organization).get("/app/kaunas/endpoint/e/secret").json()["key"]
    return key


def test_python(
    live: LiveNode,
    organization: str,
    page_server: tuple[Any, TestReceiver],
    received: Wait,
) -> None:
    run, receiver = page_server
    publish, verify = programs("python")
    message = run([sys.executable, "-W", "error", "-"], publish)
    (request,) = received(receiver, 1)
    assert request.header("svix-id") == message
    assert request.body == b'{"part_id":"4557"}'
    names: dict[str, Any] = {}
    exec(compile(verify, "sdks.md", "exec"), names)
    headers = dict(request.headers)
    secret = secret_of(live, organization)
    assert names["is_genuine"](secret, request.body, headers)
    assert not names["is_genuine"](secret, request.body + b" ", headers)


def test_javascript(
    live: LiveNode,
    organization: str,
    page_server: tuple[Any, TestReceiver],
    received: Wait,
    program_of: Callable[[str], Program],
) -> None:
    node = program_of("node-2").command[0]
    run, receiver = page_server
    publish, verify = programs("javascript")
    message = run([node, "--input-type=module"], publish)
    (request,) = received(receiver, 1)
    assert request.header("svix-id") == message
    assert request.body == b'{"part_id":"4558"}'
    said = run(
        [node, "--input-type=module"],
        f"{verify}\n"
        f"const secret = {secret_of(live, organization)!r};\n"
        f"const headers = {dict(request.headers)!r};\n"
        f"const body = {request.body.decode()!r};\n"
        "console.log(isGenuine(secret, body, headers), isGenuine(secret, body + ' ', headers));",
    )
    assert said == "true false"


def test_the_versions_are_those_that_are_driven() -> None:
    told = {
        row.split(",")[0]: re.findall(r"\d+\.\d+\.\d+", row.rsplit("|", 2)[1])
        for row in PAGE.splitlines()
        if row.startswith("| ") and "`svix` |" in row
    }
    assert told["| Python"] == sorted(
        {kind.version for name, kind in KINDS.items() if "py" in name}
    )
    assert told["| JavaScript and TypeScript"] == [KINDS["node-1"].version, KINDS["node-2"].version]


def test_the_packages_of_npm_are_pinned_and_name_no_host() -> None:
    package = json.loads((HERE / "node" / "package.json").read_text())["dependencies"]
    assert package["svix"] == KINDS["node-2"].version
    assert package["svix-1"] == f"npm:svix@{KINDS['node-1'].version}"
    lock = (HERE / "node" / "package-lock.json").read_text()
    assert "://" not in lock
    assert lock.count('"integrity"') == len(json.loads(lock)["packages"]) - 1


def test_what_is_not_here_is_named_and_answered(live: LiveNode, organization: str) -> None:
    section = PAGE.split("\n## What is not here\n", 1)[1]
    rows = dict(re.findall(r"^\| `(/[^`]*)` \| (.*) \|$", section, re.MULTILINE))
    assert {shape(path): what for path, what in rows.items()} == CLOUD_ONLY
    token = {"authorization": f"Bearer {live.token(organization)}"}
    for path in rows:
        answer = httpx.get(live.url + path.format(app_id="a", endpoint_id="e"), headers=token)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path


def test_a_cloud_method_is_a_clear_error(
    live: LiveNode, organization: str, program: Program
) -> None:
    refused = Sdk(program, live.url, live.token(organization)).refused("connector.list")
    assert (refused.status, refused.code) == (404, "not_found")
