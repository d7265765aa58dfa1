"""`marketbell demo`: all as the documents say, over HTTP, with the exit code to prove it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.alone

MARKETBELL = Path(sys.executable).parent / "marketbell"


def demo(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [MARKETBELL, "demo", *options],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def called(command: str, address: str) -> list[dict[str, Any]]:
    """What a command with curl is answered, that the demo gives to try."""
    _, _, header, url = shlex.split(command)
    assert url.startswith(address)
    name, _, value = header.partition(": ")
    answer = httpx.get(url, headers={name: value}, trust_env=False)
    assert answer.status_code == 200, answer.text
    listed: list[dict[str, Any]] = answer.json()["data"]
    return listed


def test_sigterm_leaves_nothing_behind(tmp_path: Path) -> None:
    with demo(tmp_path, "--json") as process:
        assert process.stdout is not None
        assert any('"accepted"' in line for line in process.stdout)
        assert list(tmp_path.iterdir()) != []
        process.terminate()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == ""
    assert list(tmp_path.iterdir()) == [], "the temporary folder is removed"


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_reader_who_has_enough_ends_it_quietly(tmp_path: Path, options: tuple[str, ...]) -> None:
    with demo(tmp_path, *options) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()
        process.stdout = None
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == ""
    assert list(tmp_path.iterdir()) == []


def test_every_event_of_both_marketplaces_is_as_documented(tmp_path: Path) -> None:
    """Once, as machines read it; with --keep the server then goes on until it is stopped."""
    process = demo(tmp_path, "--json", "--keep", "--speed", "60")
    assert process.stdout is not None
    said: list[dict[str, object]] = []
    try:
        for line in process.stdout:
            said.append(json.loads(line))
            if [one["event"] for one in said].count("kept") == 2:
                break
        for uid in ("sellercenter", "ovoko"):
            kept = said.pop()
            listed = called(str(kept["sellers"]), str(kept["address"]))
            assert [one["uid"] for one in listed] == [uid]
            assert {"eventType", "id"} <= called(str(kept["messages"]), str(kept["address"]))[
                0
            ].keys()
            attempts = called(str(kept["attempts"]), str(kept["address"]))
            assert [one["responseStatusCode"] for one in attempts][1:] == [0, 0, 500]
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    summary = said.pop()
    assert summary["event"] == "summary"
    assert summary["ok"] is True, summary
    findings = summary["findings"]
    assert isinstance(findings, list)
    assert len(findings) == 14
    for finding in findings:
        assert finding["accepted"]
        assert finding["delivered"]
        assert finding["attempts"] == 4
        assert finding["faults"] == []
    assert [one["event"] for one in said].count("attempt") == 14 * 4
    assert process.returncode == 0
    assert errors == ""
    assert list(tmp_path.iterdir()) == [], "the temporary folder is removed"
