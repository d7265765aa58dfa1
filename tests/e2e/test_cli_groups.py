"""The groups over the management API: every command against a real server, as text and as JSON."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cyclopts import App

from marketbell.cli import build_app, run
from marketbell.testing import Answer

Capture = pytest.CaptureFixture[str]
Scene = SimpleNamespace
"""An application `shop` with the endpoint `main` that takes everything, and a message `first`."""

GROUPS = {
    "application", "endpoint", "event-type", "message", "attempt", "task", "audit", "find",
}  # fmt: skip
ALREADY = {"message tail"}
"""Ends only by Ctrl-C, and has a test of its own."""


def commands(app: App, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Every command that does something, by its name below `marketbell`."""
    for name in app:
        if name in {"--help", "-h", "--version"}:
            continue
        if app[name].default_command is None:
            yield from commands(app[name], (*path, name))
        else:
            yield " ".join((*path, name))


OURS = {name for name in commands(build_app()) if name.split()[0] in GROUPS} - ALREADY


@pytest.fixture(autouse=True)
def on_server(live: Any, monkeypatch: pytest.MonkeyPatch, organization: str) -> None:
    """Commands go to the server, to the test's own organization."""
    monkeypatch.setenv("MARKETBELL_URL", live.url)
    monkeypatch.setenv("MARKETBELL_TOKEN", live.token(organization))


@pytest.fixture
def scene(api: httpx.Client, receiver_of: Callable[..., Any], settle: Callable[[], None]) -> Scene:
    receiver = receiver_of()
    api.post("/event-type", json={"name": "own.type", "description": ""})
    application = api.post("/app", json={"name": "Shop", "uid": "shop"}).json()
    endpoint = api.post(
        "/app/shop/endpoint", json={"url": f"{receiver.url}hooks", "uid": "main"}
    ).json()
    message = {"eventType": "order.created", "eventId": "first", "payload": {"n": 1}}
    published = api.post("/app/shop/msg", json=message).json()

    def attempted() -> str:
        settle()
        attempt: str = api.get("/app/shop/attempt").json()["data"][0]["id"]
        return attempt

    return Scene(
        application=application["id"],
        endpoint=endpoint["id"],
        message=published["id"],
        attempted=attempted,
        receiver=receiver,
    )


def said(capsys: Capture, *arguments: str, code: int = 0) -> str:
    """What a command prints."""
    capsys.readouterr()
    ended = run(list(arguments))
    printed = capsys.readouterr()
    assert ended == code, printed.err
    return printed.out


def task_of(api: httpx.Client, scene: Scene, kind: str = "recover") -> str:
    body = {"since": "2020-01-01T00:00:00Z"}
    answer = api.post(f"/app/shop/endpoint/{scene.endpoint}/{kind}", json=body)
    task: str = answer.json()["id"]
    return task


LINES: dict[str, str] = {
    "application create": "Other --uid other --rate-limit 5 --metadata a=b",
    "application list": "--all",
    "application get": "shop",
    "application update": "shop --name New --clear rate-limit",
    "application delete": "shop --yes",
    "endpoint create": "shop URL --event-type own.type --header X-A:1 --channel c",
    "endpoint list": "APP --limit 5",
    "endpoint get": "shop main",
    "endpoint update": "shop ENDPOINT --description D --disabled",
    "endpoint delete": "shop main --yes",
    "endpoint secret": "shop main",
    "endpoint rotate-secret": "shop main --grace 60",
    "endpoint headers": "shop main --set X-B:2",
    "endpoint pause": "shop main",
    "endpoint resume": "shop main",
    "endpoint stats": "shop main --since 1h",
    "endpoint send-example": 'shop main own.type --payload {"a":1}',
    "endpoint recover": "shop main --since 1h",
    "event-type create": 'x.y --description D --schemas {"1":{"type":"object"}}',
    "event-type list": "--archived",
    "event-type get": "own.type",
    "event-type update": "own.type --deprecated --group g",
    "event-type delete": "own.type --yes",
    "event-type import": "SPEC --dry-run",
    "message create": 'shop order.created --payload {"n":2}',
    "message batch": 'shop [{"eventType":"a","payload":{}}]',
    "message list": "--app shop --since 1h",
    "message get": "shop first",
    "message deliveries": "shop MESSAGE",
    "message expunge": "shop first --yes",
    "message precheck": "shop order.created",
    "message replay": "--since 1h --endpoint ENDPOINT",
    "attempt list": "--app shop --message first",
    "attempt get": "shop first ATTEMPT",
    "attempt resend": "shop first main",
    "attempt expunge": "shop first ATTEMPT --yes",
    "task list": "--kind endpoint.recover",
    "task get": "TASK",
    "task wait": "TASK",
    "task cancel": "RUNNING",
    "audit list": "--app shop --since 1h",
    "find": "ENDPOINT",
}
"""One line of each command."""


def line_of(name: str, scene: Scene, api: httpx.Client, folder: Path) -> list[str]:
    """The arguments of a command, with what the capitals stand for made."""
    words = LINES[name].split()
    if name == "attempt list":
        scene.attempted()
    if name == "task list":
        task_of(api, scene)
    made: dict[str, Callable[[], str]] = {
        "URL": lambda: f"{scene.receiver.url}more",
        "APP": lambda: str(scene.application),
        "ENDPOINT": lambda: str(scene.endpoint),
        "MESSAGE": lambda: str(scene.message),
        "ATTEMPT": scene.attempted,
        "TASK": lambda: task_of(api, scene),
        "RUNNING": lambda: running(api, scene),
        "SPEC": lambda: spec(folder),
    }
    return [*name.split(), *(made[word]() if word in made else word for word in words)]


def running(api: httpx.Client, scene: Scene) -> str:
    """A task that cannot end: its endpoint is paused with more than enough before it."""
    scene.attempted()
    api.post("/app/shop/endpoint/main/pause")
    messages = [{"eventType": "a.b", "payload": {}}] * 500
    api.post("/app/shop/msg/batch", json={"messages": messages})
    return task_of(api, scene, "bulk-replay")


def spec(folder: Path) -> str:
    document = {
        "openapi": "3.1.0",
        "info": {"title": "T", "version": "1"},
        "webhooks": {"a.b": {"post": {"description": "D"}}},
    }
    file = folder / "openapi.json"
    file.write_text(json.dumps(document))
    return str(file)


def test_every_command_has_a_line() -> None:
    assert set(LINES) == OURS


ONLY_ONCE = {"application create", "event-type create", "task cancel"}


@pytest.mark.parametrize("name", sorted(LINES))
def test_every_command_works_and_prints_one_json_document_or_plain_text(
    name: str, scene: Scene, api: httpx.Client, tmp_path: Path, capsys: Capture
) -> None:
    line = line_of(name, scene, api, tmp_path)
    assert json.loads(said(capsys, *line, "--json")) is not None
    if name in ONLY_ONCE or "--yes" in line:
        return
    printed = said(capsys, *line)
    assert printed
    assert "\x1b" not in printed
    assert not re.search("[─│┃╭]", printed)
    if name.endswith("list"):
        head, *rows = printed.splitlines()
        assert head == head.upper()
        assert rows


def test_what_is_made_is_its_id_alone(scene: Scene, capsys: Capture) -> None:
    assert re.fullmatch(r"app_\w{27}\n", said(capsys, "application", "create", "A"))
    url = f"{scene.receiver.url}b"
    assert re.fullmatch(r"ep_\w{27}\n", said(capsys, "endpoint", "create", "shop", url))
    assert re.fullmatch(r"msg_\w{27}\n", said(capsys, "message", "create", "shop", "a.b"))


def test_lists_walk_pages(api: httpx.Client, capsys: Capture) -> None:
    uids = [f"a{number}" for number in range(60)]
    for uid in uids:
        api.post("/app", json={"name": uid, "uid": uid})

    def listed(*more: str) -> list[str]:
        return [
            one["uid"] for one in json.loads(said(capsys, "application", "list", *more, "--json"))
        ]

    assert listed() == uids[:50]
    assert listed("--limit", "55") == uids[:55]
    assert listed("--all") == uids
    assert len(said(capsys, "application", "list", "--all").splitlines()) == 61
    assert run(["application", "list", "--all", "--limit", "3"]) == 2
    assert run(["application", "list", "--limit", "0"]) == 2


def test_lists_go_on_over_many_answers(
    api: httpx.Client, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketbell.cli.shell._PAGE", 7)
    uids = [f"a{number}" for number in range(20)]
    for uid in uids:
        api.post("/app", json={"name": uid, "uid": uid})
    for more, count in ((("--all",), 20), (("--limit", "15"), 15), ((), 20)):
        rows = said(capsys, "application", "list", *more).splitlines()[1:]
        assert [row.split()[1] for row in rows] == uids[:count]


@pytest.mark.parametrize("more", [(), ("--json",), ("--limit", "1")])
def test_that_there_are_more_is_said_beside(
    more: tuple[str, ...], api: httpx.Client, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marketbell.cli.shell._LIMIT", 2)
    for number in range(3):
        api.post("/app", json={"name": f"a{number}"})
    assert run(["application", "list", *more]) == 0
    assert capsys.readouterr().err == "There are more: --limit N or --all.\n"
    for all_of_them in (("--all",), ("--limit", "3"), ("--limit", "4")):
        assert run(["application", "list", *all_of_them]) == 0
        assert capsys.readouterr().err == ""


def test_an_empty_list_is_said_beside(capsys: Capture) -> None:
    assert run(["application", "list"]) == 0
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "no applications\n")
    assert json.loads(said(capsys, "application", "list", "--json")) == []


# -- payloads


@pytest.mark.parametrize("way", ["word", "file", "stdin"])
def test_a_payload_goes_out_as_the_bytes_that_were_given(
    way: str,
    scene: Scene,
    received: Callable[..., Any],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    payload = '{ "price": 1.10, "big": 12345678901234567890123, "name": "ą" }'
    given = payload
    if way == "file":
        (tmp_path / "payload.json").write_text(payload)
        given = f"@{tmp_path}/payload.json"
    elif way == "stdin":
        given = "-"
        stdin = SimpleNamespace(buffer=io.BytesIO(payload.encode()), isatty=lambda: False)
        monkeypatch.setattr(sys, "stdin", stdin)
    said(capsys, "message", "create", "shop", "order.created", "--payload", given)
    assert received(scene.receiver, 2)[1].body == payload.encode()


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        ("[1]", "payload: is JSON, but not an object"),
        ("{", "payload: is not JSON"),
        ("@/none.json", "payload: cannot read /none.json: No such file"),
        ('{"a":1}, "eventId": "x"', "payload: is not JSON"),
    ],
)
def test_a_payload_that_cannot_be_is_refused_here(
    payload: str, sentence: str, scene: Scene, capsys: Capture
) -> None:
    assert run(["message", "create", "shop", "a", "--payload", payload]) == 2
    assert sentence in capsys.readouterr().err


def test_the_same_idempotency_key_is_one_message(scene: Scene, capsys: Capture) -> None:
    line = ("message", "create", "shop", "a.b", "--idempotency-key", "k")
    assert said(capsys, *line) == said(capsys, *line)


def test_waiting_shows_the_attempts_and_the_end(
    scene: Scene, api: httpx.Client, receiver_of: Callable[..., Any], capsys: Capture
) -> None:
    line = ("message", "create", "shop", "a.b", "--wait")
    name, head, attempt = said(capsys, *line).splitlines()
    assert name.startswith("msg_")
    assert head.startswith("BEGAN")
    assert attempt.split()[1:4] == ["1/8", "success", "200"]
    assert attempt.split()[6] == "a.b"
    refusing = receiver_of(*[Answer(status=500)] * 2)
    api.patch(
        "/app/shop/endpoint/main",
        json={
            "url": refusing.url,
            "metadata": {"marketbell.retry-schedule": "100ms"},
        },
    )
    whole = json.loads(said(capsys, *line, "--json", code=1))
    assert [one["responseStatusCode"] for one in whole["attempts"]] == [500, 500]
    assert [one["statusText"] for one in whole["deliveries"]] == ["fail"]


def test_waiting_for_what_nobody_wants_ends_at_once(api: httpx.Client, capsys: Capture) -> None:
    api.post("/app", json={"name": "A", "uid": "lonely"})
    assert run(["message", "create", "lonely", "a.b", "--wait"]) == 0
    assert "no endpoint wants it" in capsys.readouterr().err


def test_a_batch_with_a_bad_message_says_which(scene: Scene, capsys: Capture) -> None:
    messages = '[{"eventType":"a","payload":{}},{"eventType":"a b","payload":{}}]'
    _head, first, second = said(capsys, "message", "batch", "shop", messages, code=1).splitlines()
    assert first.split()[:2] == ["1", "202"]
    assert second.split()[:2] == ["2", "422"]
    assert " eventType: " in second


# -- mistakes


@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        ("application get nobody", 1, "There is no application 'nobody'; check its id or uid"),
        ("application create", 2, "name"),
        ("application update shop", 2, "there is nothing to change"),
        ("application create A --user u", 2, "go with --marketplace"),
        ("endpoint create shop nonsense", 2, "marketbell: url: "),
        ("endpoint rotate-secret shop main --grace 999d", 2, "marketbell: gracePeriodSeconds: "),
        ("message list --since soon", 2, "since: 'soon' is no time"),
        ("message list --endpoint main", 2, "give --app"),
        ("message list --status fail", 2, "give --endpoint"),
        ("message list --text a", 2, "with --app"),
        ("attempt list --message first", 2, "give --app"),
        ("attempt list --app shop --limit many", 2, "limit"),
        (
            "message replay --since 1h --endpoint ep_000000000000000000000000000",
            1,
            "There is no endpoint 'ep_000000000000000000000000000'",
        ),
        ("message replay --since 1h --endpoint main --app shop --missing --tag t", 2, "missing: "),
        ("message expunge shop --yes", 2, "name messages, or give --all"),
        ("endpoint headers shop main --set X", 2, "set: 'X' is not KEY:VALUE"),
        ("application get ..", 2, "is no id"),
        ("message precheck shop nobody.wants --channel c", 0, "an endpoint of shop"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_an_exit_code(
    line: str, code: int, sentence: str, scene: Scene, capsys: Capture
) -> None:
    assert run(line.split()) == code
    printed = capsys.readouterr()
    assert sentence in (printed.err if code else printed.out)


DANGEROUS = sorted(name for name, line in LINES.items() if line.endswith("--yes"))


@pytest.mark.parametrize("name", DANGEROUS)
def test_nothing_is_removed_unasked_where_nobody_can_be_asked(
    name: str, scene: Scene, api: httpx.Client, tmp_path: Path, capsys: Capture
) -> None:
    line = [word for word in line_of(name, scene, api, tmp_path) if word != "--yes"]
    assert run(line) == 2
    said_beside = capsys.readouterr().err
    assert "give --yes" in said_beside
    assert not said_beside.startswith("marketbell: yes")
    assert json.loads(said(capsys, "message", "get", "shop", "first", "--json"))["payload"] == {
        "n": 1
    }
    assert api.get("/app/shop/endpoint/main").status_code == 200


def test_a_server_that_is_not_there_is_named(capsys: Capture) -> None:
    assert run(["application", "list", "--url", "http://127.0.0.1:9"]) == 3
    printed = capsys.readouterr().err
    assert "http://127.0.0.1:9 cannot be reached" in printed
    assert "MARKETBELL_URL" in printed


def test_a_bad_token_says_how_to_make_a_good_one(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (["--token", "nonsense"], []):
        if not arguments:
            monkeypatch.delenv("MARKETBELL_TOKEN")
        assert run(["application", "list", *arguments]) == 1
        assert "marketbell token create" in capsys.readouterr().err


def test_errors_are_json_where_json_is_asked_for(capsys: Capture) -> None:
    assert run(["application", "get", "nobody", "--json"]) == 1
    told = json.loads(capsys.readouterr().err)
    assert told == {
        "code": "not_found",
        "detail": "There is no application 'nobody'; check its id or uid, and the token's organization.",
    }


# -- the server on this machine


def test_on_the_servers_machine_nothing_need_be_given(
    own_node: Callable[..., Any],
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The address is that of the settings, the token signed with the secrets file."""
    for name in ("MARKETBELL_URL", "MARKETBELL_TOKEN"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("MARKETBELL_DB", f"sqlite:///{tmp_path}/node.db")
    assert run(["application", "list"]) == 1
    assert "There is no token for http://127.0.0.1:8080" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "asking makes no secrets"
    with own_node(tmp_path) as node:
        monkeypatch.setenv("MARKETBELL_PORT", node.url.rsplit(":", 1)[1])
        assert said(capsys, "application", "create", "A", "--uid", "a").startswith("app_")
        client = node.client("org_23rb8YdGqMT0qIzpgGwdXfHirMu")
        assert client.get("/app/a").status_code == 200
        monkeypatch.setenv("MARKETBELL_URL", node.url)
        assert run(["application", "list"]) == 1, "a named server gets no token of this machine's"


@pytest.mark.parametrize("marketplace", ["ovoko", "sellercenter"])
def test_a_seller_of_a_marketplace_is_made_in_the_file(
    marketplace: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = [
        "application", "create", "Kaunas", "--marketplace", marketplace,
        "--db", f"sqlite:///{tmp_path}/node.db", "--json",
    ]  # fmt: skip
    assert run(line) == 2
    assert "MARKETBELL_URL" in capsys.readouterr().err
    monkeypatch.delenv("MARKETBELL_URL")
    made = json.loads(said(capsys, *line))
    assert made["marketplace"] == marketplace
    assert made["application"].startswith("app_")
    assert run([*line, "--rate-limit", "5"]) == 2


# -- who else


def test_a_token_of_an_application_works_on_its_own(
    scene: Scene, live: Any, organization: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKETBELL_TOKEN", live.token(organization, scene.application))
    assert said(capsys, "endpoint", "list", "shop").count("\n") == 2
    assert run(["message", "replay", "--since", "1h", "--endpoint", scene.endpoint]) == 2
    assert "this token may not look for an endpoint's application" in capsys.readouterr().err
    line = ["message", "replay", "--since", "1h", "--endpoint", "main", "--app", "shop"]
    assert run(line) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("qtask_")
    assert "may not look at background tasks" in printed.err


def test_the_owner_of_a_quiet_endpoint_is_found(api: httpx.Client, capsys: Capture) -> None:
    for number in range(3):
        api.post("/app", json={"name": "A", "uid": f"a{number}"})
    endpoint = api.post("/app/a1/endpoint", json={"url": "http://127.0.0.1:8099/"}).json()["id"]
    assert said(capsys, "attempt", "list", "--endpoint", endpoint) == ""
    line = ("message", "replay", "--since", "1h", "--endpoint", endpoint, "--missing", "--json")
    assert json.loads(said(capsys, *line))["task"] == "endpoint.replay"


def test_an_id_alone_is_found_with_whose_it_is_and_how_it_stands(
    scene: Scene, capsys: Capture
) -> None:
    attempt = scene.attempted()
    for thing, *shown in (
        (scene.application, "Shop", f"marketbell endpoint list {scene.application}"),
        (scene.endpoint, scene.application, "active", f"list --endpoint {scene.endpoint}"),
        (scene.message, scene.application, scene.endpoint, "success", "order.created"),
        (attempt, scene.application, "1/8", f"marketbell find {scene.endpoint}"),
    ):
        printed = said(capsys, "find", thing)
        assert all(text in printed for text in shown), printed
    found = json.loads(said(capsys, "find", scene.message, "--json"))
    assert (found["app"]["uid"], found["appId"]) == ("shop", scene.application)
    assert [one["statusText"] for one in found["deliveries"]] == ["success"]
    assert run(["endpoint", "delete", "shop", "main", "--yes"]) == 0
    assert run(["find", scene.endpoint]) != 0
    assert scene.application in capsys.readouterr().err
    assert run(["find", scene.message]) == 0
    assert "have been deleted" in "".join(capsys.readouterr())
    assert run(["find", "main"]) == 2


def test_other_peoples_text_does_not_reach_the_terminal(api: httpx.Client, capsys: Capture) -> None:
    api.post("/app", json={"name": "a\x1b[31mb\u009bc\nd", "uid": "evil"})
    for line in (("application", "get", "evil"), ("application", "list")):
        for more in ((), ("--json",)):
            printed = said(capsys, *line, *more)
            assert "\x1b" not in printed
            assert "\u009b" not in printed
            assert "a\\" in printed
