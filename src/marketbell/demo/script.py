"""What the demo sends, how the receiver answers, and what the marketplaces' documents ask for."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from marketbell.dialects.registry import default_registry
from marketbell.model import Millis


class Step(enum.StrEnum):
    """How the receiver meets one attempt."""

    ERROR = "500"
    HANG = "time-out"
    REFUSE = "refused"
    GOOD = "good"


SCRIPT: Final = (Step.ERROR, Step.HANG, Step.REFUSE, Step.GOOD)
"""The answers to the attempts of each delivery, in order."""

OCCURRED_AT: Final = "2023-01-12T14:17:20+02:00"
"""When the events happened: the moment in Ovoko's own example."""

TIMEOUT: Final[Millis] = 400
"""The sellers' `marketbell.timeout`: real time, so that the hanging receiver costs little."""


class Seller(msgspec.Struct, frozen=True, kw_only=True):
    """One seller of one marketplace, with the figures of that marketplace's document."""

    dialect: str
    title: str
    event_types: int
    """How many the document lists."""
    waits: tuple[Millis, ...]
    """Before the second, third and fourth attempt."""
    good_status: int
    """What this receiver answers when it is well; one that the document takes as success."""
    headers: dict[str, str]
    """The endpoint's own static headers."""
    body: Callable[[str, str, bytes], bytes]
    """The whole body on the wire, from event id, event type and payload."""

    def speed(self, fastest: float) -> float:
        """
        How much faster than real time its server's clock runs, if the fastest runs so.

        All sellers take equally long, so that even the shortest wait is long beside how late a
        busy machine is.
        """
        return fastest * sum(self.waits) / sum(SELLERCENTER.waits)


class Errand(msgspec.Struct, frozen=True, kw_only=True):
    """One event to one endpoint of one seller."""

    seller: Seller
    event_type: str
    event_id: str
    payload: bytes
    """The catalogue's own example."""
    body: bytes
    """What the receiver must get on every attempt, to the byte."""

    @property
    def attempts(self) -> int:
        """How many attempts the script takes."""
        return len(SCRIPT)


def _ovoko_body(event_id: str, event_type: str, payload: bytes) -> bytes:
    envelope = {
        "event_id": event_id,
        "event_type": event_type,
        "timestamp": OCCURRED_AT,
        "event_data": msgspec.Raw(payload),
    }
    return msgspec.json.encode(envelope)


def _sellercenter_body(_event_id: str, event_type: str, payload: bytes) -> bytes:
    return msgspec.json.encode({"event": event_type, "payload": msgspec.Raw(payload)})


OVOKO: Final = Seller(
    dialect="ovoko",
    title="Ovoko",
    event_types=5,
    waits=(7_000, 35_000, 175_000),
    good_status=204,
    headers={"X-Callback-Token": "demo-seller-1"},
    body=_ovoko_body,
)
"""Any 2xx is a success; three resends after 7, 35 and 175 s, so the fourth attempt is the last."""

SELLERCENTER: Final = Seller(
    dialect="sellercenter",
    title="Seller Center",
    event_types=9,
    waits=(60_000, 300_000, 600_000),
    good_status=200,
    headers={},
    body=_sellercenter_body,
)
"""Only 200 is a success; the table begins with 1, 5 and 10 minutes."""


def errands() -> Iterator[Errand]:
    """One errand for every event type of both documents."""
    number = 0
    for seller in (OVOKO, SELLERCENTER):
        for event_type in default_registry().dialect(seller.dialect).catalogue.values():
            number += 1
            event_id = f"00000000-0000-4000-8000-{number:012d}"
            payload = msgspec.json.encode(event_type.examples[0])
            yield Errand(
                seller=seller,
                event_type=event_type.name,
                event_id=event_id,
                payload=payload,
                body=seller.body(event_id, event_type.name, payload),
            )
