"""The way to one endpoint: what all of its requests need, worked out before the first. Pure."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from marketbell.delivery.exchange import Limits
from marketbell.delivery.flight import Way
from marketbell.delivery.netguard import Target
from marketbell.delivery.plan import Plan
from marketbell.delivery.wire import HeadOf, heads_of
from marketbell.dialects.base import Formed
from marketbell.model import Millis

_NOWHERE: Final = Target(tls=True, host="", port=0, host_header="", target="")


class Route(Way):
    """
    The way to the endpoint of one plan.

    It holds what signs, and so the endpoint's secrets: whoever drops the plan drops it too.
    """

    __slots__ = ("head_of", "plan", "within")

    def __init__(self, plan: Plan, limits: Limits, within: Millis) -> None:
        super().__init__(plan.target or _NOWHERE, limits)
        self.plan = plan
        self.within = within
        """Within so long a request that is begun now has surely ended, on the axis of leases."""
        self.head_of: HeadOf | None = None
        """Writes heads, of messages without headers of their own; None where the dialect must render each."""
        dialect = plan.dialect
        if plan.target is not None and isinstance(dialect, Formed):
            with suppress(Exception):  # rendering tells what is wrong
                self.head_of = heads_of(plan.target, dialect.request_form(plan.endpoint))
