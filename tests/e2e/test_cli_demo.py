"""`marketbell demo`: all as the documents say, over HTTP, with the exit code to prove it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.alone

MARKETBELL = Path(sys.executable).parent / "marketbell"


def test_every_event_of_both_marketplaces_is_as_documented(tmp_path: Path) -> None:
    """Once, as machines read it; with --keep the server then goes on until it is stopped."""
    process = subprocess.Popen(
        [MARKETBELL, "demo", "--json", "--keep", "--speed", "60"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    said: list[dict[str, object]] = []
    try:
        for line in process.stdout:
            said.append(json.loads(line))
            if said[-1]["event"] == "kept":
                break
        kept = said.pop()
        listed = httpx.get(
            f"{kept['address']}/api/v1/app",
            headers={"Authorization": f"Bearer {kept['token']}"},
            trust_env=False,
        )
        assert {one["uid"] for one in listed.json()["data"]} == {"ovoko", "sellercenter"}
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
