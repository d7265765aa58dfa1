"""Server and receiver on two hosts: packets are lost, the link goes down and comes back."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec

from support.needs import missing
from support.two_hosts import Evidence

TESTS: Final = Path(__file__).parents[1]
PROBE: Final = "ip link add near0 type veth peer name far0 && unshare --net true"
"""What it takes, in a namespace of its own."""


def own_network() -> tuple[str, ...]:
    """How a program is started in a network of its own; skips the test where none can be had."""
    for tool in ("ip", "unshare"):
        if shutil.which(tool) is None:
            missing(f"there are no network namespaces without the program {tool}")
    ways = (("unshare", "--net"), ("unshare", "--user", "--map-root-user", "--net"))
    works = next((way for way in ways if _works(way)), None)
    if works is None:
        missing("this machine allows no network namespaces with veth devices")
    return works


def _works(way: tuple[str, ...]) -> bool:
    return (
        subprocess.run([*way, "sh", "-c", PROBE], capture_output=True, check=False).returncode == 0
    )


def test_a_link_that_loses_packets_and_goes_down_loses_no_message(tmp_path: Path) -> None:
    ended = subprocess.run(
        [*own_network(), sys.executable, "-m", "support.two_hosts", str(tmp_path)],
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3_000:]
    evidence = msgspec.json.decode(ended.stdout, type=Evidence)
    accepted = [one for many in evidence.phases.values() for one in many]
    assert len(accepted) == len(set(accepted)) >= 60
    assert set(evidence.seen) == set(evidence.outcomes) == set(accepted)
    for one in accepted:
        outcomes = Counter(evidence.outcomes[one])
        assert outcomes["accepted"] == 1
        # Sent again only where an answer had not come.
        assert 1 <= evidence.seen[one] <= 1 + outcomes["no_answer"] + outcomes["closed"]
    # The runs of what is not there were such runs, and packets were lost where they should be.
    assert {"black hole", "down"} <= evidence.reasons.keys()
    assert evidence.lost or "lossy" not in evidence.phases
