"""`marketbell serve` as a process: its one line, its signals, what it refuses to start on."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

MARKETBELL = Path(sys.executable).parent / "marketbell"


class Served:
    """Servers that a test started; ended after it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes: list[subprocess.Popen[str]] = []

    def begin(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [MARKETBELL, "serve", *(() if "--port" in arguments else ("--port", "0")), *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def refused(self, *arguments: str, **environment: str) -> tuple[int, str]:
        """The exit code and what it said, of one that must not start."""
        process = self.begin(*arguments, **environment)
        said, error = process.communicate(timeout=60)
        assert said == ""
        assert "Traceback" not in error
        return process.returncode, error


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def address(process: subprocess.Popen[str]) -> str:
    found = re.fullmatch(
        r"marketbell serves (http://127\.0\.0\.1:\d+) from \S+\n", first_line(process)
    )
    assert found is not None
    return found[1]


def stop(process: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str]:
    """The exit code, and what it printed after its first line."""
    process.send_signal(number)
    rest, _ = process.communicate(timeout=60)
    return process.returncode, rest


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    for process in served.processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_serves_and_stops_with_0(
    served: Served, number: signal.Signals
) -> None:
    process = served.begin()
    url = address(process)
    assert httpx.get(f"{url}/api/v1/health", trust_env=False).status_code == 200
    assert httpx.get(f"{url}/metrics", trust_env=False).text.startswith("# ")
    assert stop(process, number) == (0, "")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/api/v1/health", trust_env=False)


def test_its_address_as_json(served: Served) -> None:
    process = served.begin("--json", "--db", "sqlite:///shop.db")
    facts = json.loads(first_line(process))
    assert facts["db"] == "shop.db"
    assert facts["pid"] == process.pid
    assert httpx.get(f"{facts['url']}/api/v1/health/ping", trust_env=False).status_code == 204
    assert stop(process, signal.SIGTERM)[0] == 0


def test_a_token_from_the_command_line_is_taken(served: Served) -> None:
    url = address(served.begin())
    made = subprocess.run(
        [MARKETBELL, "token", "create"],
        cwd=served.folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    token = made.stdout.splitlines()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{url}/api/v1/app", headers=headers, trust_env=False).status_code == 200
    assert httpx.get(f"{url}/api/v1/app", trust_env=False).status_code == 401


def test_settings_come_from_the_file_the_variables_and_the_flags(served: Served) -> None:
    (served.folder / "m.toml").write_text('db = "sqlite:///from-file.db"\nport = 1\n')
    process = served.begin("--json", MARKETBELL_CONFIG="m.toml")
    assert json.loads(first_line(process))["db"] == "from-file.db"


def test_a_second_server_on_the_same_file_is_refused_and_the_first_goes_on(served: Served) -> None:
    url = address(served.begin())
    code, error = served.refused()
    assert code == 3
    assert "Another process has marketbell.db open" in error
    assert httpx.get(f"{url}/api/v1/health", trust_env=False).status_code == 200


def test_a_taken_port_is_a_clear_sentence(served: Served) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, error = served.refused("--port", str(taken.getsockname()[1]))
    assert code == 3
    assert error.splitlines()[-1].startswith("marketbell: the address is taken by another program")


def test_a_folder_that_is_not_there_is_a_clear_sentence(served: Served) -> None:
    code, error = served.refused("--db", "sqlite:///none/shop.db")
    assert code == 2
    assert "No such file or directory" in error


def test_another_programs_file_is_left_alone(served: Served) -> None:
    other = served.folder / "other.db"
    other.write_bytes(b"this is no database, and longer than a header" * 100)
    key = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI="
    code, error = served.refused(
        "--db", "sqlite:///other.db", MARKETBELL_JWT_SECRET="j" * 32, MARKETBELL_SECRETS_KEY=key
    )
    assert code == 3
    assert "not an SQLite database" in error
    assert other.read_bytes().startswith(b"this is no database")


def test_too_few_open_files_are_a_clear_sentence(served: Served) -> None:
    process = subprocess.run(
        ["bash", "-c", f"ulimit -n 512 && exec {MARKETBELL} serve --port 0"],
        cwd=served.folder,
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 2
    assert "7320 open files are needed and this process may have 512" in process.stderr
