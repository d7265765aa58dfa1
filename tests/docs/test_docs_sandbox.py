"""The page on the sandbox: its commands run as they stand, and its tables are those of the code."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import msgspec

from marketbell.sandbox import chaos
from marketbell.sandbox.acts import ACTS
from marketbell.sandbox.ovoko import MOVES
from marketbell.sandbox.scenarios import SCENARIOS
from marketbell.testing import TestReceiver
from support.needs import needs

PAGE = (Path(__file__).parents[2] / "docs/marketplaces/sandbox.md").read_text()
BIN = Path(sys.executable).parent
PRELUDE = """\
set -euo pipefail
curl() { command curl --fail --max-time 60 "$@"; echo; }
"""
UP = """
for _ in $(seq 2000); do
  grep -q 'MARKETPLACE/sandbox' sandbox.txt && break
  sleep 0.05
done
"""


def rows(heading: str) -> list[list[str]]:
    """The cells of the rows of the first table whose head begins so."""
    table = PAGE.split(f"\n| {heading}", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip(" `") for cell in row.split("|")[1:-1]] for row in table.splitlines()[2:]]


def test_every_act_is_there() -> None:
    shown = {(row[0], row[1]): row[2:] for row in rows("marketplace |")}
    assert list(shown) == list(ACTS)
    for key, (takes, does) in shown.items():
        fields = [field.name for field in msgspec.structs.fields(ACTS[key])]
        assert re.findall(r"\w+", takes) == fields
        assert does == (ACTS[key].__doc__ or "").strip()
    assert all(f"`{move}`" in PAGE for move in MOVES)


def test_every_scenario_is_there() -> None:
    assert rows("scenario |") == [[one.name, one.title] for one in SCENARIOS]


def test_the_odds_and_bounds_of_chaos_are_those_of_the_code() -> None:
    shown = {row[0]: (row[1], row[2]) for row in rows("what |")}
    assert {name: odds for name, (odds, _) in shown.items()} == {
        name: f"{getattr(chaos.DEFAULT, name) * 100:.0f} %" for name in chaos.Odds.__struct_fields__
    }
    assert chaos.LATE_MAX == 1_800_000
    assert "half an hour" in shown["late"][1]
    assert f"{chaos.OVERTAKEN_MAX // 1000} seconds" in shown["overtaken"][1]
    assert chaos.AGAIN_MAX == 120_000
    assert "two minutes" in shown["twice"][1]


@needs("curl", "openssl")
async def test_its_commands_run_as_they_stand(tmp_path: Path) -> None:
    script = PRELUDE
    for kind, block in re.findall(r"<!-- walk: (\w+) -->\n```sh\n(.*?)```", PAGE, re.DOTALL):
        script += block + (UP if kind == "sandbox" else "")
    environment = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "MARKETBELL_PORT": "0",
        "MARKETBELL_MARKETPLACE_PORT": "0",
    }
    async with TestReceiver() as receiver:
        script = script.replace("127.0.0.1:9000", f"127.0.0.1:{receiver.port}")
        shell = subprocess.Popen(  # noqa: ASYNC220 - awaited in a thread below
            ["bash", "-c", f"{script}\nkill -INT %1; wait"],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            printed, _ = await asyncio.to_thread(shell.communicate, timeout=60)
        finally:
            if shell.poll() is None:
                os.killpg(shell.pid, signal.SIGTERM)
        assert "all-events: as it must be" in printed, printed
        assert "sold-and-returned: as it must be" in printed
        assert "5 acts a second from the seed 7" in printed
        kinds = {
            str(body.get("event_type", body.get("event")))
            for body in (json.loads(request.body) for request in receiver.requests)
        }
    assert kinds == {
        "part.status.changed",
        "order.created",
        "order.cancelled",
        "order.return.created",
        "order.return.updated",
        "onOrderCreated",
        "onOrderItemsStatusChanged",
    }
