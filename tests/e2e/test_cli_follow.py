"""Commands that go on for a while, as processes: in pipes, on terminals, while the server restarts."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from marketbell.cli import run
from marketbell.testing import Answer
from support.ports import free_ports

MARKETBELL = Path(sys.executable).parent / "marketbell"
LIMIT_S = 60.0


class Command:
    """A running `marketbell ...`, on a terminal of its own or between pipes."""

    def __init__(
        self, live: Any, organization: str, *arguments: str, terminal: bool = False, **env: str
    ) -> None:
        self.seen = ""
        environment = {
            "PATH": os.environ["PATH"],
            "MARKETBELL_URL": live.url,
            "MARKETBELL_TOKEN": live.token(organization),
            "TERM": "xterm",
            "COLUMNS": "200",
            **env,
        }
        if terminal:
            self._ours, theirs = pty.openpty()
            ends: tuple[int, ...] = (theirs, theirs, theirs)
        else:
            self._ours, theirs = os.pipe()
            ends = (subprocess.DEVNULL, theirs, theirs)
        self.process = subprocess.Popen(
            [MARKETBELL, *arguments], stdin=ends[0], stdout=ends[1], stderr=ends[2], env=environment
        )
        os.close(theirs)

    def until(self, pattern: str) -> str:
        """Everything it has printed once that has the pattern."""
        while not re.search(pattern, self.seen):
            assert self._read(), f"it ended without {pattern!r}:\n{self.seen}"
        return self.seen

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> int:
        """Its exit code, once it has printed everything."""
        while self._read():
            pass
        return self.process.wait(LIMIT_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._ours], [], [], LIMIT_S)
        assert ready, f"it is silent:\n{self.seen}"
        try:
            read = os.read(self._ours, 65_536)
        except OSError:  # What a terminal says whose other side is gone.
            read = b""
        self.seen += read.decode()
        return bool(read)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(LIMIT_S)
        os.close(self._ours)


@pytest.fixture
def command(live: Any, organization: str) -> Iterator[Callable[..., Command]]:
    """Starts a command; ended with the test."""
    with contextlib.ExitStack() as running:

        def start(*arguments: str, at: Any = None, terminal: bool = False, **env: str) -> Command:
            made = Command(at or live, organization, *arguments, terminal=terminal, **env)
            running.callback(made.close)
            return made

        yield start


@pytest.fixture
def shop(api: httpx.Client, receiver_of: Callable[..., Any]) -> str:
    """The application `shop`, with an endpoint that takes everything; the endpoint's id."""
    api.post("/app", json={"name": "Shop", "uid": "shop"})
    endpoint: str = api.post("/app/shop/endpoint", json={"url": receiver_of().url}).json()["id"]
    return endpoint


def publish(api: httpx.Client, count: int, app: str = "shop") -> None:
    for begin in range(0, count, 100):
        messages = [
            {"eventType": "a.b", "payload": {"n": number}}
            for number in range(begin, min(count, begin + 100))
        ]
        assert api.post(f"/app/{app}/msg/batch", json={"messages": messages}).status_code == 202


def attempts(api: httpx.Client, **query: Any) -> list[str]:
    """The ids of all attempts, in the order in which they were recorded."""
    found: list[str] = []
    page: dict[str, Any] = {"done": False, "iterator": None}
    while not page["done"]:
        more = {} if page["iterator"] is None else {"iterator": page["iterator"]}
        page = api.get("/attempt", params={"limit": 250, **query, **more}).json()
        found += [one["id"] for one in page["data"]]
    return found[::-1]


def ids_in(lines: str) -> list[str]:
    return [json.loads(line)["id"] for line in lines.splitlines() if line.startswith("{")]


# -- tail


def test_every_attempt_is_shown_once_and_within_a_second(
    command: Callable[..., Command], shop: str, api: httpx.Client, settle: Callable[[], None]
) -> None:
    publish(api, 3)
    settle()
    tail = command("message", "tail", "--since", "1h", "--json")
    tail.until(r"(?s)(atmpt_.*){3}")
    late = []
    for count in (600, 10, 10, 10):  # the best of them, as the machine may stand still
        publish(api, count)
        settle()
        begun = time.monotonic()
        tail.until(attempts(api)[-1])
        late.append(time.monotonic() - begun)
    print(f"the last attempt was shown {min(late):.2f} s after it was recorded")
    assert min(late) < 3.0, "within 1 s on an idle machine"
    assert tail.interrupt() == 130
    assert ids_in(tail.seen) == attempts(api)
    assert "Traceback" not in tail.seen


def test_only_what_is_asked_for_is_shown(
    command: Callable[..., Command],
    shop: str,
    api: httpx.Client,
    receiver_of: Callable[..., Any],
    settle: Callable[[], None],
) -> None:
    once = {"marketbell.retry-schedule": "1h"}
    refusing = {"url": receiver_of(Answer(status=500)).url, "uid": "bad", "metadata": once}
    api.post("/app/shop/endpoint", json=refusing)
    api.post("/app", json={"name": "Other", "uid": "other"})
    api.post("/app/other/endpoint", json={"url": refusing["url"], "metadata": once})
    publish(api, 1)
    settle()
    tails = {
        "fail": command("message", "tail", "--status", "fail", "--since", "1h", "--json"),
        "bad": command(
            "message", "tail", "--app", "shop", "--endpoint", "bad", "--since", "1h", "--json"
        ),
        "good": command("message", "tail", "--endpoint", shop, "--since", "1h", "--json"),
    }
    for tail in tails.values():
        tail.until("atmpt_")
    publish(api, 2)
    publish(api, 2, "other")
    settle()
    assert len(attempts(api)) == 8
    for name, count in {"fail": 5, "bad": 3, "good": 3}.items():
        tails[name].until(rf'(?s)("id": "atmpt_.*){{{count}}}')
        assert tails[name].interrupt() == 130
        assert len(set(ids_in(tails[name].seen))) == len(ids_in(tails[name].seen)) == count


def test_a_server_that_restarts_is_waited_for(
    command: Callable[..., Command],
    own_node: Callable[..., contextlib.AbstractContextManager[Any]],
    receiver_of: Callable[..., Any],
    tmp_path: Path,
    organization: str,
) -> None:
    port, receiver = next(free_ports()), receiver_of()
    with own_node(tmp_path, port=port) as node:
        api = node.client(organization)
        api.post("/app", json={"name": "Shop", "uid": "shop"})
        api.post("/app/shop/endpoint", json={"url": receiver.url})
        tail = command("message", "tail", "--since", "1h", "--json", at=node)
        publish(api, 30)
        tail.until("atmpt_")
        publish(api, 30)
    tail.until(r"marketbell: http://127.0.0.1:\d+ cannot be reached .* Trying on.")
    with own_node(tmp_path, port=port) as node:
        api = node.client(organization)
        publish(api, 30)
        tail.until("marketbell: The server is back.")
        node.settle()
        tail.until(attempts(api)[-1])
        assert tail.interrupt() == 130
        shown = ids_in(tail.seen)
        recorded = attempts(api)
    assert shown == recorded[: len(shown)]
    assert len(shown) >= 90
    assert tail.seen.count("Trying on") == 1


def test_a_quiet_filter_does_not_walk_the_same_again_and_misses_nothing(
    shop: str, api: httpx.Client, settle: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    from marketbell.cli import trail
    from marketbell.cli.trail import Trail

    asked: list[dict[str, Any]] = []

    class Asking:
        def get(self, path: str, query: dict[str, Any]) -> Any:
            given = {name: value for name, value in query.items() if value is not None}
            asked.append(given)
            return api.get(path, params=given).json()

    follower = Trail(Asking(), "/attempt", {"status": 2})  # type: ignore[arg-type]
    assert list(follower.begin(None)) == []
    publish(api, 3)
    settle()
    assert list(follower.new()) == []
    monkeypatch.setattr(trail, "_QUIET_S", 0.0)
    assert list(follower.new()) == []
    assert list(follower.new()) == []
    assert asked[-1]["iterator"] == f"-{attempts(api)[-1]}"
    api.patch(f"/app/shop/endpoint/{shop}", json={"url": "http://127.0.0.1:8099/"})
    publish(api, 2)
    settle()
    assert [one["id"] for one in follower.new()] == attempts(api)[-2:]
    assert list(follower.new()) == []


def test_a_tail_on_a_terminal_has_colours_and_in_a_pipe_none(
    command: Callable[..., Command], shop: str, api: httpx.Client, settle: Callable[[], None]
) -> None:
    publish(api, 1)
    settle()
    line = ("message", "tail", "--since", "1h")
    row = r"\d\d:\d\d:\d\d\.\d{3}  1/\d+ +success  200 .* a\.b .* msg_\w{27} .*\n"
    coloured = command(*line, terminal=True)
    assert "\x1b[32m" in coloured.until(row)
    for plain in (command(*line, terminal=True, NO_COLOR="1"), command(*line)):
        assert not re.search(r"\x1b\[[\d;]*3\d", plain.until(row))
        assert plain.interrupt() == 130
    assert "\x1b" not in plain.seen
    assert coloured.interrupt() == 130


# -- replays


def test_a_replay_tells_how_far_it_is_in_a_pipe(
    command: Callable[..., Command], shop: str, api: httpx.Client, settle: Callable[[], None]
) -> None:
    publish(api, 300)
    settle()
    replay = command("message", "replay", "--since", "2h", "--endpoint", shop)
    assert replay.end() == 0
    assert "\x1b" not in replay.seen
    assert re.search(r"marketbell: qtask_\w{27}: \d+%, looked at \d+, made \d+", replay.seen)
    assert "100%, looked at 300, made 300, skipped 0" in replay.seen
    assert re.search(r"Status +finished", replay.seen)
    settle()
    assert len(attempts(api)) == 600


def test_a_replay_has_a_bar_on_a_terminal(
    command: Callable[..., Command], shop: str, api: httpx.Client, settle: Callable[[], None]
) -> None:
    publish(api, 5)
    settle()
    line = ("message", "replay", "--since", "2h", "--endpoint", shop)
    replay = command(*line, terminal=True)
    assert replay.end() == 0
    assert re.search("━+.*100%", replay.seen)
    assert "looked at 5, made 5, skipped 0" in replay.seen


def test_ctrl_c_leaves_the_task_running_and_says_how_to_go_on(
    command: Callable[..., Command], shop: str, api: httpx.Client, settle: Callable[[], None]
) -> None:
    """A paused endpoint with more than enough before it: the task waits."""
    publish(api, 10)
    settle()
    api.post(f"/app/shop/endpoint/{shop}/pause")
    publish(api, 600)
    replay = command("message", "replay", "--since", "2h", "--endpoint", shop)
    replay.until("qtask_")
    assert replay.interrupt() == 130
    (task,) = api.get("/background-task").json()["data"]
    assert task["status"] == "running"
    assert f"`marketbell task wait {task['id']}`" in replay.seen
    waiting = command("task", "wait", task["id"])
    waiting.until(task["id"])
    assert command("task", "cancel", task["id"], "--json").end() == 0
    assert waiting.end() == 1
    assert "The task was cancelled." in waiting.seen


def test_a_recovery_sends_what_failed(
    command: Callable[..., Command],
    api: httpx.Client,
    receiver_of: Callable[..., Any],
    settle: Callable[[], None],
) -> None:
    api.post("/app", json={"name": "Shop", "uid": "shop"})
    once = {"marketbell.retry-schedule": "1ms"}
    refusing = {"url": "http://127.0.0.1:8099/", "uid": "main", "metadata": once}
    assert api.post("/app/shop/endpoint", json=refusing).status_code == 201
    publish(api, 2)
    settle()
    api.patch("/app/shop/endpoint/main", json={"url": receiver_of().url})
    recovery = command("endpoint", "recover", "shop", "main", "--since", "1h", "--json")
    assert recovery.end() == 0
    task = json.loads(recovery.seen)
    assert (task["task"], task["status"], task["data"]["made"]) == (
        "endpoint.recover",
        "finished",
        2,
    )


# -- asking


def test_on_a_terminal_it_asks_before_it_removes(
    command: Callable[..., Command], shop: str, api: httpx.Client
) -> None:
    for answer, code in (("\n", 1), ("y\n", 0)):
        assert api.get("/app/shop").status_code == 200
        asking = command("application", "delete", "shop", terminal=True)
        asking.until(re.escape("Delete the application shop with all its endpoints? [y/N]"))
        asking.type(answer)
        assert asking.end() == code
        assert ("nothing was done" in asking.seen) is (code == 1)
    assert api.get("/app/shop").status_code == 404


def test_a_list_on_a_terminal_is_a_table(command: Callable[..., Command], shop: str) -> None:
    listing = command("application", "list", terminal=True)
    assert listing.end() == 0
    assert "\x1b[1m" in listing.seen
    assert "Rate limit" in listing.seen


@pytest.mark.parametrize("width", ["40", "80", "200"])
def test_a_table_on_a_narrow_terminal_cuts_no_id(
    width: str,
    shop: str,
    api: httpx.Client,
    settle: Callable[[], None],
    live: Any,
    organization: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    publish(api, 1)
    settle()
    monkeypatch.setenv("MARKETBELL_URL", live.url)
    monkeypatch.setenv("MARKETBELL_TOKEN", live.token(organization))
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert run(["attempt", "list"]) == 0
    printed = capsys.readouterr().out
    (attempt,) = api.get("/attempt").json()["data"]
    for name in ("id", "msgId", "endpointId", "statusText"):
        assert attempt[name] in printed
    assert attempt["endpointId"] == shop


def test_a_reader_that_has_enough_is_no_error(
    live: Any, shop: str, organization: str, api: httpx.Client
) -> None:
    publish(api, 300)
    environment = {
        **os.environ, "MARKETBELL_URL": live.url, "MARKETBELL_TOKEN": live.token(organization)
    }  # fmt: skip
    line = f"set -o pipefail; {MARKETBELL} message list --all --json | head -n 2"
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")


# -- completion


def test_completion_works_in_a_real_bash(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", "bash"]) == 0
    script = tmp_path / "marketbell.bash"
    script.write_text(capsys.readouterr().out)

    def completed(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("marketbell", *words))
        ask = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _marketbell"
        done = subprocess.run(
            ["bash", "-c", f'{ask}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
            capture_output=True, text=True, timeout=LIMIT_S, check=True, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        return done.stdout.split()

    done = subprocess.run(
        ["bash", "-c", f"source <(cat {script}); complete -p marketbell"],
        capture_output=True, text=True, timeout=LIMIT_S, check=True,
    )  # fmt: skip
    assert done.stdout == "complete -F _marketbell marketbell\n"
    assert {"application", "message", "task", "serve"} <= set(completed(""))
    assert completed("message", "t") == ["tail"]
    assert completed("message", "tail", "--st") == ["--status"]
    assert completed("message", "tail", "--status", "s") == ["success"]


@pytest.mark.parametrize("shell", ["zsh", "fish", "powershell"])
def test_other_shells_get_every_command_too(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["shell"] == shell
    for word in ("rotate-secret", "precheck", "resend", "idempotency-key"):
        assert word in printed["script"]
