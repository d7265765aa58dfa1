"""The commands in the README and the quickstart, run as they stand against a real server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import needs
from support.ports import free_ports

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent

pytestmark = needs("curl")

PRELUDE = """\
set -euo pipefail
curl() { command curl --fail --max-time 60 "$@"; echo; }
"""
"""Any answer that is not 2xx ends the walk."""

WAITS = {
    "server": """
for _ in $(seq 2000); do
  command curl -sf http://127.0.0.1:8080/api/v1/health/ping > /dev/null && break
  sleep 0.05
done
""",
    "receiver": """
for _ in $(seq 2000); do
  (: < /dev/tcp/127.0.0.1/9000) 2> /dev/null && break
  sleep 0.05
done
""",
}
"""A reader is slower than the start of what these blocks start."""


NIGHT = f"""
MARKETBELL_ALLOW_NETWORKS=127.0.0.0/8 marketbell serve & {WAITS["server"]}
export MARKETBELL_URL=http://127.0.0.1:8080
export MARKETBELL_TOKEN=$(marketbell token create | tail -n 1)
call() {{
  curl -s -o /dev/null "$MARKETBELL_URL/api/v1/$1" -d "$2" -H "Authorization: Bearer $MARKETBELL_TOKEN"
}}
call app '{{"name": "Kaunas", "uid": "kaunas"}}'
call app/kaunas/endpoint '{{"url": "http://127.0.0.1:9000/hooks", "uid": "main"}}'
call app/kaunas/msg '{{"eventType": "order.created", "eventId": "order-4555", "payload": {{}}}}'
for _ in $(seq 1000); do
  attempts=$(marketbell attempt list --app kaunas)
  grep -q refused <<< "$attempts" && break
done
echo NIGHT
"""
"""A server, and a message whose receiver is not there."""

BEFORE = {"docs/operations.md": NIGHT}
"""What a page takes for granted."""


class Walk:
    """The blocks of a page that are marked to be run, as one session of a shell."""

    def __init__(self, page: Path, folder: Path, before: str = "") -> None:
        self.folder = folder
        self.ports = dict(zip((8080, 9000), free_ports(), strict=False))
        script = PRELUDE + before
        for kind, block in re.findall(
            r"<!-- walk: (\w+) -->\n```sh\n(.*?)```", page.read_text(), re.DOTALL
        ):
            if kind != "install":
                script += block + WAITS.get(kind, "")
        for written, free in self.ports.items():
            script = re.sub(rf"\b{written}\b", str(free), script)
        self.script = script
        self._shell: subprocess.Popen[str] | None = None

    def run(self, and_then: str = "", received: int = 0) -> str:
        """What the session printed, once it is through and the receiver has printed so many lines."""
        environment = {
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "MARKETBELL_PORT": str(self.ports[8080]),
            "MARKETBELL_LOG_LEVEL": "error",
        }
        self._shell = subprocess.Popen(
            ["bash", "-c", f"{self.script}{and_then}\necho WALKED\nwait"],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self._shell.stdout is not None
        printed = ""
        for line in self._shell.stdout:
            printed += line
            if "WALKED\n" in printed and len(requests(printed)) >= received:
                return printed
        raise AssertionError(f"the walk ended early:\n{printed}")

    def stop(self) -> None:
        """End all that the session started."""
        if self._shell is not None:
            os.killpg(self._shell.pid, signal.SIGTERM)
            self._shell.communicate(timeout=60)


def requests(printed: str) -> list[str]:
    """The bodies that the quickstart's receiver printed; a line may begin with curl's output."""
    return re.findall(r"/(?:ovoko|falabella\?seller=7) (\{.*\})$", printed, re.MULTILINE)


def answers(printed: str) -> list[dict[str, object]]:
    """Every JSON object that stands on a line of its own."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]


@pytest.fixture
def walk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Walk]:
    walk = Walk(ROOT / request.param, tmp_path, BEFORE.get(request.param, ""))
    try:
        yield walk
    finally:
        walk.stop()


@pytest.mark.parametrize("walk", ["README.md"], indirect=True)
def test_the_readme_brings_a_first_message_on_its_way(walk: Walk) -> None:
    """Nothing listens at the end of it, so the first attempt is on record as refused."""
    port, receiver = walk.ports[8080], walk.ports[9000]
    printed = walk.run(
        f"""
for _ in $(seq 1000); do
  attempts=$(curl -s http://127.0.0.1:{port}/api/v1/app/kaunas/attempt/msg/order-4555 \\
    -H "Authorization: Bearer $TOKEN")
  grep -q refused <<< "$attempts" && break
  sleep 0.05
done
echo "$attempts"
"""
    )
    application, endpoint, message, *_, attempts = answers(printed)
    assert application["uid"] == "kaunas"
    assert endpoint["url"] == f"http://127.0.0.1:{receiver}/hooks"
    assert message["eventId"] == "order-4555"
    assert "connect: refused" in json.dumps(attempts)


@pytest.mark.parametrize("walk", ["docs/quickstart.md"], indirect=True)
def test_the_quickstart_delivers_what_it_says(walk: Walk) -> None:
    program = re.search(
        r"```python\n(.*?)```", (ROOT / "docs/quickstart.md").read_text(), re.DOTALL
    )
    assert program is not None
    snippet = walk.folder / "snippet.py"
    snippet.write_text(
        "import os\ntoken = os.environ['TOKEN']\n"
        + program[1].replace("8080", str(walk.ports[8080]))
    )
    printed = walk.run(f"{sys.executable} -W error snippet.py", received=5)
    bodies = [json.loads(body) for body in requests(printed)]
    kinds = sorted(str(body.get("event_type", body.get("event"))) for body in bodies)
    assert kinds == ["onOrderCreated", "onOrderItemsStatusChanged", *["order.created"] * 3]
    first, *resent = (body for body in requests(printed) if '"4555"' in body)
    assert resent == [first], "a resend is the same to the byte"


@pytest.mark.parametrize("walk", ["docs/operations.md"], indirect=True)
def test_the_night_shows_what_happened_to_a_delivery(walk: Walk) -> None:
    printed = walk.run().split("NIGHT\n", 1)[1]
    message, *_ = printed.split("STATUS", 1)
    assert re.search(r"Event id +order-4555", message)
    assert (
        len(
            re.findall(
                r"^atmpt_\w+ +\d+/\d+ +fail +no_answer .* connect: refused$", printed, re.MULTILINE
            )
        )
        >= 2
    )
    assert "v1.endpoint.create" in printed
    assert "order-4555 is due at main again" in printed
    assert re.search(r"^Task +endpoint\.recover$", printed, re.MULTILINE)
    assert re.search(r"^Status +finished$", printed, re.MULTILINE)
