"""Under steady load with short retention, memory, file and descriptors stay as they are."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from pathlib import Path
from typing import Final

import msgspec
import pytest

from marketbell.clock import SystemClock
from marketbell.model import Policy
from marketbell.store.base import Ages, Published
from marketbell.testing import OK, Answer, Received, TestReceiver
from support.ledger import Show, shower, table
from support.plane import ORGANIZATION, Knobs, Plane

pytestmark = pytest.mark.alone

KNOBS: Final = Knobs(
    ages=Ages(payloads=1_000, attempts=1_500, messages=2_000),
    breaker_failures=10_000,
    idle_s=0.2,
)
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


@pytest.fixture
def show(request: pytest.FixtureRequest) -> Show:
    return shower(request.config)


class Sample(msgspec.Struct, frozen=True):
    """What the process and its file take at one moment."""

    memory: int
    file: int
    descriptors: int


def sample(plane: Plane) -> Sample:
    gc.collect()
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE
    files = plane.path.parent.glob(plane.path.name + "*")
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return Sample(memory, sum(file.stat().st_size for file in files), descriptors)


async def soak(folder: Path, seconds: float, rate: int) -> list[Sample]:
    """A steady load with failures among it; a sample for every twentieth of the time."""
    count = 0

    def answer(request: Received) -> Answer:
        nonlocal count
        count += 1
        return Answer(status=500) if count % 50 == 0 else OK

    samples: list[Sample] = []
    async with TestReceiver(answer) as shop, Plane(folder, SystemClock(), KNOBS) as plane:
        application = await plane.application(Policy(retry_schedule=(50,) * 10, max_in_flight=4))
        for number in range(4):
            await plane.endpoint(application, shop.url + str(number))
        subscribers = await plane.store.subscribers(ORGANIZATION, application.public_id)
        plane.janitor.start()
        begun = time.monotonic()
        number = 0
        while (past := time.monotonic() - begun) < seconds:
            burst = [
                plane.acceptance(subscribers, b'{"n":%d,"fill":"%s"}' % (number, b"x" * 500))
                for number in range(number, max(number, int(past * rate)))
            ]
            number += len(burst)
            verdicts = await plane.dispatcher.accept(burst)
            assert all(isinstance(verdict, Published) for verdict in verdicts)
            if past > len(samples) * seconds / 20:
                # What the test itself keeps is not the server's.
                shop.requests.clear()
                plane.told.attempts.clear()
                samples.append(sample(plane))
            await asyncio.sleep(0.02)
        await plane.settled()
        await plane.janitor.stop()
        assert count >= 4 * number
    return samples


def judge(samples: list[Sample], seconds: float, show: Show) -> None:
    """Hold the end against the middle, once retention has caught up with the load."""
    middle, end = samples[8:13], samples[14:]

    memory = [max(one.memory for one in part) for part in (middle, end)]
    file = [max(one.file for one in part) for part in (middle, end)]
    # Connections come and go; the least of them is what stays.
    descriptors = [min(one.descriptors for one in part) for part in (middle, end)]
    show(
        table(
            f"{seconds:.0f} s of steady load, in the middle and at the end",
            [
                ("memory, MB", " ".join(f"{one / 1e6:.1f}" for one in memory)),
                ("file and log, MB", " ".join(f"{one / 1e6:.1f}" for one in file)),
                ("descriptors", " ".join(map(str, descriptors))),
            ],
        )
    )
    assert memory[1] <= memory[0] + 8_000_000
    assert file[1] <= 1.15 * file[0] + 1_000_000
    assert descriptors[1] <= descriptors[0] + 4


async def test_ten_seconds_leave_no_trace(tmp_path: Path, show: Show) -> None:
    judge(await soak(tmp_path, 10.0, 250), 10.0, show)


@pytest.mark.slow
@pytest.mark.timeout(2_400)
async def test_half_an_hour_leaves_no_trace(tmp_path: Path, show: Show) -> None:
    judge(await soak(tmp_path, 1_800.0, 250), 1_800.0, show)
