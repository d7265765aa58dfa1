"""A steady stream of things that happen: drawn by a seed, and always legal as things stand."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import structlog

from marketbell.errors import InvalidError, MarketbellError, MoveRefusedError
from marketbell.marketplace.decision import Event
from marketbell.sandbox import feeding, ovoko, sellercenter
from marketbell.sandbox.act import Act, Facts, Pick, do
from marketbell.sandbox.stage import Stage, feed_id
from marketbell.store.base import Entity

RATE_MAX: Final = 500.0
"""Acts a second."""

_RATE: Final = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(?:/([smh]))?")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600}
_log = structlog.get_logger("marketbell.sandbox")

_Draw = Callable[[random.Random], Act]


class Likely(msgspec.Struct, frozen=True):
    """One kind of act, and how often it is drawn beside the others."""

    weight: int
    draw: _Draw


def _feed(rng: random.Random) -> Act:
    action = rng.choice(("ProductCreate", "ProductUpdate", "ProductUpdate", "Image"))
    return feeding.Feed(
        action=action,  # type: ignore[arg-type]
        count=rng.randint(1, 3),
        seed=rng.getrandbits(16),
        feed=feed_id(rng),
    )


LIKELY: Final = (
    Likely(8, lambda rng: ovoko.Buy(count=rng.choice((1, 1, 1, 2, 3)))),
    Likely(3, lambda _rng: ovoko.Cancel()),
    Likely(6, lambda _rng: ovoko.Deliver()),
    Likely(3, lambda _rng: ovoko.Return()),
    Likely(1, lambda _rng: ovoko.CancelReturn()),
    Likely(3, lambda _rng: ovoko.Receive()),
    Likely(3, lambda _rng: ovoko.MovePart(move="accept")),
    Likely(1, lambda _rng: ovoko.MovePart(move="write-off")),
    Likely(2, lambda _rng: ovoko.MovePart(move="reserve")),
    Likely(2, lambda _rng: ovoko.MovePart(move="release")),
    Likely(1, lambda _rng: ovoko.MovePart(move="sell")),
    Likely(1, lambda _rng: ovoko.MovePart(move="sell-in-ebay")),
    Likely(1, lambda _rng: ovoko.MovePart(move="sell-in-allegro")),
    Likely(1, lambda _rng: ovoko.MovePart(move="lose-track")),
    Likely(1, lambda _rng: ovoko.MovePart(move="find")),
    Likely(8, lambda rng: ovoko.Import(seed=rng.getrandbits(16))),
    Likely(8, lambda rng: sellercenter.Buy(count=rng.choice((1, 1, 2, 3)))),
    Likely(1, lambda _rng: sellercenter.Process()),
    Likely(7, lambda _rng: sellercenter.Ready()),
    Likely(2, lambda _rng: sellercenter.Cancel()),
    Likely(6, lambda _rng: sellercenter.Ship()),
    Likely(5, lambda _rng: sellercenter.Deliver()),
    Likely(1, lambda _rng: sellercenter.FailDelivery()),
    Likely(2, lambda _rng: sellercenter.Return()),
    Likely(2, lambda _rng: sellercenter.Receive()),
    Likely(1, lambda _rng: sellercenter.Accept()),
    Likely(1, lambda _rng: sellercenter.Reject()),
    Likely(3, _feed),
    Likely(2, lambda _rng: feeding.FeedFinish()),
    Likely(1, lambda _rng: feeding.FeedFail()),
    Likely(1, lambda _rng: feeding.FeedCancel()),
    Likely(2, lambda rng: sellercenter.Qc(status=rng.choice(("approved", "rejected")))),
    Likely(1, lambda _rng: sellercenter.Statistics()),
    Likely(1, lambda _rng: sellercenter.Metrics()),
)


class Happened(msgspec.Struct, frozen=True, kw_only=True):
    """One act of the stream that came about."""

    act: Act
    facts: Facts
    events: tuple[Event, ...]


class Stream:
    """
    Acts drawn one after the other.

    With the same seed, on the same things, the sequence of acts and of events is the same - as
    long as nobody else acts and no rule of time comes in between.
    """

    def __init__(self, stage: Stage, seed: int) -> None:
        self._stage = stage
        self._rng = random.Random(f"stream {seed}")  # noqa: S311 - to be reproduced
        self.happened = 0
        """How many acts have come about."""

    async def step(self) -> Happened:
        """
        Let one thing happen that may happen now.

        What is drawn and has nothing to act on is passed over for the next. Raises what the
        store raises; then nothing has happened.
        """
        for draw in _drawn(self._rng):
            act = draw(self._rng)
            with contextlib.suppress(MoveRefusedError):
                done = await do(self._stage, act, self._pick)
                self.happened += 1
                return Happened(act=act, facts=done.facts, events=done.events)
        raise AssertionError("statistics are always possible")

    @property
    def _pick(self) -> Pick:
        def pick(things: Sequence[Entity]) -> Entity:
            return self._rng.choice(things)

        return pick

    async def run(self, rate: float) -> None:
        """Go on at so many acts a real second until cancelled; what the store refuses is skipped."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            try:
                await self.step()
            except MarketbellError as fault:
                _log.warning("an act of the stream failed", reason=fault.detail)
            # Who is late does not hurry afterwards.
            due = max(due + 1 / rate, loop.time())
            await asyncio.sleep(due - loop.time())


def _drawn(rng: random.Random) -> Iterator[_Draw]:
    """Every kind once, the likelier ones sooner."""
    left = list(LIKELY)
    while left:
        chosen = rng.choices(left, [one.weight for one in left])[0]
        left.remove(chosen)
        yield chosen.draw


def rate_of(text: str) -> float:
    """Acts a second, from `5/s`, `30/m`, `1/h` or a bare number. InvalidError."""
    found = _RATE.fullmatch(text.strip())
    if found is None:
        raise InvalidError(("rate",), f"{text[:40]!r} is no rate such as 5/s or 30/m")
    rate = float(found[1]) / _SECONDS[found[2] or "s"]
    if not 0 < rate <= RATE_MAX:
        raise InvalidError(("rate",), f"{text} is not above 0 and up to {RATE_MAX:g}/s")
    return rate
